"""Whether partners have shown since the start that this store is no older copy of what they know.

Each of them shows it as it begins to follow: what it holds of each ledger of this node is judged then
(`gateway.exchange.serving`), and only where this node has it too does the stream go on. A store that was set back is
noticed by that, and C2 systems are then asked for what was lost. Until all have shown it, what this node does not know
may be what it has lost; but not for ever, since a partner may be away for weeks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gateway.exchange.partners import Link
from gateway.ledger.origin import WITNESS, Lane

WAITED_S: Final = 600.0
"""Seconds after the start for which partners are waited for: those that run are heard within seconds."""


class Shown:
    """Of all partners. May be asked in any thread."""

    def __init__(self, links: Mapping[str, Link], monotonic: Callable[[], float]) -> None:
        self._links = links
        self._monotonic = monotonic
        self._began = monotonic()
        self._all = False

    def by_all(self) -> bool:
        """Whether all have, in every lane, or have had the time to. Once it is so, it stays so."""
        if not self._all:
            late = self._monotonic() - self._began >= WAITED_S
            self._all = late or all(map(_has_shown, self._links.values()))
        return self._all


def _has_shown(link: Link) -> bool:
    """Whether the partner has followed every lane, by whatever way; it need not do so now."""
    # Copied at once: the event loop adds to both meanwhile.
    lanes = {stream.partition(" ")[0] for stream in list(link.followed) + list(link.carried)}
    return lanes.issuperset((*Lane, WITNESS))
