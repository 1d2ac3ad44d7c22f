"""Courses that are known to be hard, in the words of the model; and gateways that do one thing wrong in one of them.

The true gateway comes through every course. Each broken one has to be found out in its own, or the model would show
nothing of the true one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from signalfire.v1 import report_pb2

from gateway.ledger.cosignature import cosign
from gateway.ledger.note import Note
from gateway.ledger.origin import Lane, Origin
from gateway.release.batch import IncomingBatch
from gateway.release.claims import Claim
from gateway.release.plan import Plan
from tests.model.exchange import ORIGIN, RECIPIENT, Crash, Crashed, Exchange
from tests.release.world import Site
from tests.reports.examples import NOW, SECOND

TRACKS: Final = Lane.IMMEDIATE
Course = Callable[[Exchange], None]


def _works(exchange: Exchange, way: str = "direct") -> None:
    exchange.dial(way, TRACKS)
    while exchange.send(way, TRACKS) or exchange.take(way, TRACKS) or exchange.hear(way, TRACKS):
        pass


def dies_while_it_takes_a_batch(exchange: Exchange) -> None:
    """The recipient is killed between the batch and its commit."""
    exchange.submit(exchange.new_report(TRACKS))
    exchange.dial("direct", TRACKS)
    exchange.send("direct", TRACKS)
    try:
        exchange.take("direct", TRACKS, Crash.BEFORE)
    except Crashed:
        return


def dies_while_it_accepts(exchange: Exchange) -> None:
    """The origin is killed between the report and its commit."""
    try:
        exchange.submit(exchange.new_report(TRACKS), crash=Crash.BEFORE)
    except Crashed:
        return


def loses_a_batch_with_its_stream(exchange: Exchange) -> None:
    """What was sent and not received is sent again."""
    exchange.submit(exchange.new_report(TRACKS))
    exchange.dial("direct", TRACKS)
    exchange.send("direct", TRACKS)
    exchange.dial("direct", TRACKS)


def is_set_back(exchange: Exchange) -> None:
    """The origin's store is an old one, and the recipient has more."""
    exchange.back_up(ORIGIN)
    exchange.submit(exchange.new_report(TRACKS))
    _works(exchange)
    exchange.restore(ORIGIN)


def is_set_back_twice(exchange: Exchange) -> None:
    """The same old store is put in place again, and the recipient has ended a ledger that is open in it."""
    is_set_back(exchange)
    exchange.dial("direct", TRACKS)
    exchange.take("direct", TRACKS)
    exchange.restore(ORIGIN)


def is_set_back_to_a_better_copy(exchange: Exchange) -> None:
    """The second copy has all that the recipient has: there is nothing that the recipient could prove."""
    first = exchange.copy_of(ORIGIN)
    exchange.submit(exchange.new_report(TRACKS))
    _works(exchange)
    better = exchange.copy_of(ORIGIN)
    exchange.restore(ORIGIN, first)
    exchange.dial("direct", TRACKS)
    exchange.take("direct", TRACKS)
    exchange.restore(ORIGIN, better)


def hands_on_what_was_never_confirmed(exchange: Exchange) -> None:
    """What stands again in a successor is had already by the recipient, whose receipt was lost."""
    exchange.submit(exchange.new_report(TRACKS))
    exchange.back_up(ORIGIN)
    exchange.submit(exchange.new_report(TRACKS))
    exchange.dial("direct", TRACKS)
    while exchange.send("direct", TRACKS) or exchange.take("direct", TRACKS):
        pass
    exchange.restore(ORIGIN)


def writes_before_it_notices(exchange: Exchange) -> None:
    """The origin's old store goes on in another way before the recipient dials."""
    exchange.back_up(ORIGIN)
    exchange.submit(exchange.new_report(TRACKS))
    _works(exchange)
    exchange.restore(ORIGIN)
    exchange.submit(exchange.new_report(TRACKS), exchange.new_report(TRACKS))


def is_set_back_as_recipient(exchange: Exchange) -> None:
    """The recipient's store is an old one, and the origin holds a receipt for more."""
    exchange.back_up(RECIPIENT)
    exchange.submit(exchange.new_report(TRACKS))
    _works(exchange)
    exchange.restore(RECIPIENT)


def goes_by_both_ways(exchange: Exchange) -> None:
    """The same batches come by both ways, the second time in other pieces."""
    for _ in range(3):
        exchange.submit(exchange.new_report(TRACKS))
    for way in ("direct", "carried"):
        exchange.dial(way, TRACKS)
    while exchange.send("carried", TRACKS, 1):
        pass
    exchange.send("direct", TRACKS)
    exchange.take("carried", TRACKS)
    exchange.take("direct", TRACKS)
    while exchange.take("carried", TRACKS):
        pass


COURSES: Final[tuple[Course, ...]] = (
    dies_while_it_takes_a_batch,
    dies_while_it_accepts,
    loses_a_batch_with_its_stream,
    is_set_back,
    is_set_back_twice,
    is_set_back_to_a_better_copy,
    hands_on_what_was_never_confirmed,
    writes_before_it_notices,
    is_set_back_as_recipient,
    goes_by_both_ways,
)


# --- one thing wrong


class ReceiptsBeforeDurable(Exchange):
    """The recipient gives its receipt for a batch before it has kept it."""

    def take(self, way: str, lane: Lane, crash: Crash = Crash.NONE) -> bool:
        stream = self.streams.get((way, lane))
        if stream is not None and stream.to_recipient and isinstance(stream.to_recipient[0], IncomingBatch):
            text = Note.parse(stream.to_recipient[0].checkpoint).text
            early = Note(text, (cosign(text, self.kor.signatory.receipt, NOW // SECOND),)).encode()
            self.commit(ORIGIN, self.receipt_step(stream.origin, early))
        return super().take(way, lane, crash)


class AcknowledgesBeforeDurable(Exchange):
    """The origin acknowledges reports before the commit that holds them."""

    def submit(self, *reports: report_pb2.Report, crash: Crash = Crash.NONE) -> list[Any]:
        self.acknowledged |= {report.report_id for report in reports}
        return super().submit(*reports, crash=crash)


class SkipsWhatWasCut(Exchange):
    """The origin goes on behind what it has sent, whatever the recipient says that it has."""

    def dial(self, way: str, lane: Lane, crash: Crash = Crash.NONE) -> bool:
        before = self.streams.get((way, lane))
        opened = super().dial(way, lane, crash)
        stream = self.streams.get((way, lane))
        if before is not None and stream is not None and stream.origin == before.origin:
            stream.position = max(stream.position, before.position)
        return opened


class NeverShowsWhatWasSigned(Exchange):
    """The recipient does not show what the origin has signed, so a store that was set back never notices."""

    def claim(self, origin: Origin) -> Claim:
        return dataclasses.replace(super().claim(origin), checkpoint=b"")


class StaysWithWhatIsNotOpen(Exchange):
    """The recipient never goes back from a generation that the origin does not know."""

    def goes_back(self, origin: Origin) -> None:
        return


class DeliversWhatItHas(Exchange):
    """The recipient does not ask whether it has a report already."""

    def plan(self, site: Site) -> Plan:
        plan = super().plan(site)
        if site.node == RECIPIENT:
            plan.arrivals.known = lambda originator, report_id: None  # type: ignore[method-assign]
            plan.arrivals.copies = lambda originator, report_id: {}  # type: ignore[method-assign]
        return plan


BROKEN: Final[tuple[tuple[type[Exchange], Course], ...]] = (
    (ReceiptsBeforeDurable, dies_while_it_takes_a_batch),
    (AcknowledgesBeforeDurable, dies_while_it_accepts),
    (SkipsWhatWasCut, loses_a_batch_with_its_stream),
    (NeverShowsWhatWasSigned, is_set_back),
    (StaysWithWhatIsNotOpen, is_set_back_twice),
    (DeliversWhatItHas, hands_on_what_was_never_confirmed),
)
