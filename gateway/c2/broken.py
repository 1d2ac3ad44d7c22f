"""Reports on which this gateway itself failed, and how often each of them may come again.

What nobody foresaw may pass: another policy, another partner, another moment. So a client is asked to send such a
report again, each time later. But a report on which the gateway fails every time would be sent for ever, and would cost
every other report of its commit a second try: after `TRIES` failures the client is told to give it up, and people to
look.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

TRIES: Final = 4
"""Failures after which a report is refused for good: after some ten seconds, by the pauses."""

GROWTH: Final = 4
"""By which factor each pause is longer than the one before."""

KEPT: Final = 4096
"""Reports that are remembered, of all clients; of more the oldest is forgotten, and may come as often again."""


class Broken:
    """Counts failures by report."""

    def __init__(self) -> None:
        self._failures: OrderedDict[tuple[str, bytes], int] = OrderedDict()

    def failed(self, client: str, digest: bytes) -> int | None:
        """Counts a failure on a report of that digest. Returns by what factor the usual pause is to be longer; None: it
        is not to be sent again.
        """
        key = (client, digest)
        failures = self._failures.pop(key, 0) + 1
        self._failures[key] = failures
        if len(self._failures) > KEPT:
            self._failures.popitem(last=False)
        return None if failures >= TRIES else GROWTH ** (failures - 1)
