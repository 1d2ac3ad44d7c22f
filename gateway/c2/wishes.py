"""What C2 systems are asked to submit again: told first on each of their streams, and on open ones when it arises.

Nobody is asked while no policy is in force: what came then would be decided, and withheld from everybody for good.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from signalfire.v1 import c2_pb2, report_pb2

from gateway.ledger.errors import LedgerError
from gateway.ledger.stores import StoreReader
from gateway.release.recovery.wish import standing

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""Seconds between looks at whether there is something to ask for: one look serves all streams."""

NAMED: Final = 1000
"""Reports of one client that are named, of those that are known to be lost: 40 kB."""


class Wishes:
    """Belongs to the event loop's thread, as its `reader` does."""

    def __init__(
        self,
        reader: Callable[[], StoreReader],
        monotonic: Callable[[], float],
        has_policy: Callable[[], bool] = lambda: True,
    ) -> None:
        self._reader = reader
        self._has_policy = has_policy
        self._monotonic = monotonic
        self._looked: float | None = None
        self._wish: c2_pb2.Resubmit | None = None

    def current(self) -> c2_pb2.Resubmit | None:
        """The wish that stands, without identifiers; None where there is none. Not older than LOOK_S."""
        now = self._monotonic()
        if self._looked is None or now >= self._looked + LOOK_S:
            try:
                self._wish = standing(self._reader())
            except LedgerError as error:
                log.error("whether C2 systems are asked for anything cannot be read: %s", error)
            self._looked = now
        return self._wish

    def asked(self) -> c2_pb2.Resubmit | None:
        """The wish that C2 systems are told now."""
        return self.current() if self._has_policy() else None

    def of(self, client: str) -> c2_pb2.Resubmit | None:
        """The wish as one client is told it: with its own reports that are known to be lost."""
        wish = self.asked()
        if wish is None:
            return None
        told = c2_pb2.Resubmit()
        told.CopyFrom(wish)
        try:
            told.report_ids.extend(self._reader().without_content(client, NAMED))
        except LedgerError as error:
            log.error("which reports of %s are lost cannot be read: %s", client, error)
        return told

    async def next(self, told: c2_pb2.Resubmit | None) -> c2_pb2.Resubmit:
        """The wish that is told, once it is another one than `told`, which is what `asked` gave before."""
        # Nothing rings when it arises: it is rare, and a look costs little.
        while (wish := self.asked()) is None or wish == told:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        return wish

    def judged_at(self, report: report_pb2.Report, now_ns: int) -> int:
        """As of which time a report is judged: one that was made while what was accepted may be lost is not too old."""
        wish = self.current()
        if wish is None or not report.HasField("report_time"):
            return now_ns
        try:
            made_ns = report.report_time.ToNanoseconds()
        except ValueError:
            return now_ns
        if wish.since.ToNanoseconds() <= made_ns <= min(wish.until.ToNanoseconds(), now_ns):
            return made_ns
        return now_ns
