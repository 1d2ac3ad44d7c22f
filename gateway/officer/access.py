"""Who looks at the record of decisions, and how much of the node that may take.

Rules, in order, for every call by which decisions, reports or proofs are looked at:

1. TLS 1.3, and a certificate that this nation's own officer authority issued.
2. What is asked for is well-formed: whoever asks for what makes no sense learns what is wrong, and nothing else.
3. Of each officer's calls only so many go on at once, and his looks fill only so much of the record
   (`OfficerLimits`, `gateway.officer.budget`).
4. An event `audit-access` says who looked, by which call, and at what; it is durable before anything is answered. Its
   words may be cut; its evidence is the request itself, whole, as the contract serialises it. What is too long for that
   is refused.
5. A stream lasts no longer than its caller is believed (`gateway.identity.standing`).

The record holds what was asked for and never what was found: who may read the one may not be told of the other.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NoReturn, TypeVar

import grpc
from google.protobuf.message import Message
from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.identity.errors import IdentityError
from gateway.identity.peer import Authorities
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.standing import Standing, while_believed
from gateway.identity.tls import peer_from_context
from gateway.ledger.errors import LedgerError
from gateway.officer.budget import LEAST, Budget
from gateway.release.errors import Unavailable
from gateway.release.sequencer import Sequencer
from gateway.release.steps import RecordEvent
from gateway.reports.fields import quoted
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

T = TypeVar("T")

PUSHBACK: Final = "grpc-retry-pushback-ms"
"""Trailing metadata that says how long to wait before a call is tried again (gRFC A6)."""

ACCESS: Final = "audit-access"
"""Kind of the event that says who looked at what."""

RECORDED_CHARS: Final = 2_000
"""Characters of the words that are recorded of one look."""

MAX_ASKED: Final = 16_384
"""Bytes of the longest request, without its page token: what was asked for goes on record whole, and has to fit an
entry."""

_SHOWN_VALUES: Final = 16
"""Values of one list of a filter that are recorded by name; of more, how many."""


class Call(StrEnum):
    """What an officer may ask for, as it is recorded and counted."""

    WATCH = "watch"
    SEARCH = "search"
    EXPORT = "export"
    EXPLAIN = "explain"
    PROOF = "proof"
    RECONCILE = "reconcile"
    RECOVER = "recover"


@dataclass(frozen=True, slots=True)
class OfficerLimits:
    """Bounds of what one officer may have going on at once, and may fill of the record."""

    searches: int = 4
    """Searches, explanations and proofs of one officer: each takes a place in the one queue of what officers read."""
    exports: int = 2
    """Exports and reconciliations of one officer: each reads for as long as the ledger is long."""
    watches: int = 16
    """Watches of one officer: one for each of his screens, and for his nation's SIEM."""
    record_bytes_per_s: float = 1024.0
    """Bytes of records of one officer's looks in the long run, and as many of his refused orders: a look every four
    seconds for ever, and 88 MB a day at the most."""
    record_burst_bytes: int = 1 << 20
    """Bytes of them at once: 256 looks, the work of an hour before a hearing."""

    def of(self, call: Call) -> tuple[str, int]:
        """The group of calls that this one counts among, and how many of them may go on."""
        match call:
            case Call.WATCH:
                return "watches", self.watches
            case Call.EXPORT | Call.RECONCILE:
                return "exports or reconciliations", self.exports
            case _:
                return "searches, explanations or proofs", self.searches


class Access:
    """Admits officers and records their looks. Belongs to the event loop's thread."""

    def __init__(
        self,
        *,
        authorities: Callable[[], Authorities],
        sequencer: Sequencer,
        telemetry: Telemetry,
        limits: OfficerLimits,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._authorities = authorities
        self._sequencer = sequencer
        self._telemetry = telemetry
        self._limits = limits
        self._now = now
        self._looks = Budget(limits.record_bytes_per_s, limits.record_burst_bytes, monotonic)
        self._refused_orders = Budget(limits.record_bytes_per_s, limits.record_burst_bytes, monotonic)
        self._going_on: Counter[tuple[SpiffeId, str]] = Counter()

    async def admit(self, context: grpc.aio.ServicerContext) -> SpiffeId:  # type: ignore[type-arg]
        """The officer who calls; anybody else's call ends here (rule 1)."""
        try:
            return peer_from_context(
                context.auth_context(), self._authorities(), allowed_roles=(Role.OFFICER,), now=self._now()
            )
        except IdentityError as refused:
            await self._refuse(context, refused)

    @contextlib.asynccontextmanager
    async def look(
        self,
        call: Call,
        officer: SpiffeId,
        words: str,
        request: Message,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncIterator[None]:
        """Within, the call has its place (rule 3) and is on record (rule 4); otherwise it ends here. `request` is what
        was asked for, without a page token.
        """
        asked = request.SerializeToString(deterministic=True)
        if len(asked) > MAX_ASKED:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the request has {len(asked)} bytes, and what was asked for goes on record whole, up to {MAX_ASKED}"
                " bytes; name fewer or shorter values, or search in turns",
            )
        group, most = self._limits.of(call)
        if self._going_on[officer, group] >= most:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{officer} has {most} {group} going on, the most that one officer may; wait until one has ended",
            )
        detail = _cut(f"{officer}: {call}: {words}")
        wait_s = self._looks.wait_s(officer, len(detail.encode()) + len(asked))
        if wait_s:
            self._pause(context, wait_s)
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{officer} has looked so often that the records of it would fill the disk; {_again_in(wait_s)}",
            )
        self._going_on[officer, group] += 1
        try:
            try:
                await self._sequencer.do(RecordEvent(ACCESS, detail, (asked,)))
            except (Unavailable, LedgerError) as error:
                log.error("%s: %s is refused, for it could not be put on record: %s", officer, call, error)
                await context.abort(
                    grpc.StatusCode.UNAVAILABLE,
                    f"who looks at the record is recorded first, and that cannot be done now: {error}; try again",
                )
            self._telemetry.audit_calls.labels(call=call.value).inc()
            log.info("%s: %s: %s", officer, call, words)
            yield
        finally:
            self._going_on[officer, group] -= 1
            if not self._going_on[officer, group]:
                del self._going_on[officer, group]

    def may_record_refusal(self, officer: SpiffeId, size: int) -> bool:
        """Whether the record of a refused order of an officer, of `size` bytes, still fits what he may fill."""
        return not self._refused_orders.wait_s(officer, size)

    async def refuse_order(
        self,
        officer: SpiffeId,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> NoReturn:
        """Ends a call that brought an order which was refused, where that fits the record no more."""
        wait_s = LEAST / self._limits.record_bytes_per_s
        self._pause(context, wait_s)
        await context.abort(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the order was refused, as so many of {officer} that the records of it would fill the disk; the reasons"
            f" are not told, and what was in force stays; {_again_in(wait_s)}",
        )

    @staticmethod
    def _pause(context: grpc.aio.ServicerContext, wait_s: float) -> None:  # type: ignore[type-arg]
        context.set_trailing_metadata(((PUSHBACK, str(math.ceil(wait_s * 1000))),))

    async def while_believed(
        self,
        items: AsyncGenerator[T, None],
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncGenerator[T, None]:
        """Gives `items` for as long as the caller is believed (rule 5); then the call ends here."""
        try:
            standing = Standing(context.auth_context(), self._authorities, allowed_roles=(Role.OFFICER,), now=self._now)
            async with aclosing(while_believed(items, standing.judge)) as believed:
                async for item in believed:
                    yield item
        except IdentityError as refused:
            await self._refuse(context, refused)

    async def _refuse(self, context: grpc.aio.ServicerContext, refused: IdentityError) -> NoReturn:  # type: ignore[type-arg]
        self._telemetry.refused_streams.labels(reason=refused.code.value).inc()
        log.warning("officer's side: %s refused: %s", context.peer(), refused)
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(refused))


def _again_in(wait_s: float) -> str:
    return f"try again in {math.ceil(wait_s)} s"


def _cut(words: str) -> str:
    return words if len(words) <= RECORDED_CHARS else f"{words[: RECORDED_CHARS - 4]} ..."


# --- in words


def filter_in_words(wanted: officer_pb2.DecisionFilter) -> str:
    """What a well-formed filter wants, for the record: "decisions for KOR, withheld, since 2026-11-21T00:00:00Z"."""
    told = ["events" if wanted.events or wanted.event_kinds else "decisions"]
    # First what names one thing: no list, however long, pushes it out of the words.
    if wanted.report_id:
        told.append(f"about the report {_plain(wanted.report_id)}")
    if wanted.event_id:
        told.append(f"about the event {_plain(wanted.event_id)}")
    if wanted.HasField("since"):
        told.append(f"since {wanted.since.ToJsonString()}")
    if wanted.HasField("until"):
        told.append(f"until {wanted.until.ToJsonString()}")
    if wanted.originator_node:
        told.append(f"originated by {_plain(wanted.originator_node)}")
    if wanted.event_kinds:
        told.append(f"of the kinds {_listed(wanted.event_kinds)}")
    if wanted.partners:
        told.append(f"for {_listed(wanted.partners)}")
    if wanted.outcomes:
        names = [ledger_pb2.Outcome.Name(value).removeprefix("OUTCOME_").lower() for value in wanted.outcomes]
        told.append(f"{_listed(names)}")
    if wanted.rules:
        told.append(f"by the rules {_listed(wanted.rules)}")
    if wanted.agreements:
        told.append(f"under the agreements {_listed(wanted.agreements)}")
    if wanted.kinds:
        told.append(f"about reports of the kinds {_listed(wanted.kinds)}")
    if wanted.traffic_classes:
        names = [report_pb2.TrafficClass.Name(value) for value in wanted.traffic_classes]
        told.append(f"of {_listed(name.removeprefix('TRAFFIC_CLASS_') for name in names)}")
    if wanted.precedences:
        names = [report_pb2.Precedence.Name(value) for value in wanted.precedences]
        told.append(f"of {_listed(name.removeprefix('PRECEDENCE_') for name in names)}")
    return ", ".join(told)


def _listed(values: Iterable[str]) -> str:
    each = [_plain(value) for value in values]
    more = len(each) - _SHOWN_VALUES
    return " or ".join(each) if more <= 0 else f"{' or '.join(each[:_SHOWN_VALUES])} or {more} more"


def _plain(value: str) -> str:
    """A value as it is where it can be mistaken for nothing else, otherwise quoted."""
    return value if value.isascii() and value.replace("-", "").replace("_", "").isalnum() else quoted(value)
