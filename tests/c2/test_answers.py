"""The answers of one stream: how many may be owed, and how fast one who is refused without end is read."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from signalfire.v1 import c2_pb2, report_pb2

from gateway.c2.feed import Feed, Runs
from gateway.c2.grants import PushGrant
from gateway.c2.limits import C2Limits
from gateway.c2.quotas import READ_IN_VAIN, REFUSALS_S, Quota, QuotaLimits
from gateway.c2.server import C2Servicer
from gateway.c2.submitting import ANSWERS, TURN_S, VIOLATIONS
from gateway.identity.errors import PeerError, Refusal
from gateway.identity.spiffe import Role, SpiffeId
from gateway.release.errors import RefusedReport
from gateway.release.sequencer import Sequencer, SequencerLimits
from gateway.release.watch import Watch
from gateway.reports.violations import Violation
from gateway.telemetry import Telemetry
from tests.patience import PATIENCE_S
from tests.release.world import LIMITS, Site, rulebook_of, signatory_of
from tests.reports.examples import NOW

IN_FLIGHT = 4
SYSTEM = SpiffeId.of("JPN", Role.C2, "sensors")
NOTHING = PushGrant(frozenset(), frozenset(), frozenset(), frozenset(), report_pb2.CLASSIFICATION_UNCLASSIFIED)
"""What is malformed is refused before the grant is asked."""


class Clock:
    """A clock that goes on by `step` seconds whenever it is asked; it stands at first."""

    def __init__(self) -> None:
        self.now = self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def servicer(tmp_path: Path, clock: Clock) -> Iterator[C2Servicer]:
    """A service that refuses what is malformed; it makes nothing durable."""
    site = Site("JPN", tmp_path / "jpn.sqlite")
    sequencer = Sequencer(
        lambda: site.store,
        signatory_of("JPN"),
        dict,
        now_ns=lambda: NOW,
        limits=SequencerLimits(),
        listener=lambda _: None,
        monotonic=lambda: 0.0,
        rulebook=lambda _: rulebook_of(),
    )
    feed = Feed("JPN", Runs((("0" * 16, 1),)), lambda: site.store, Watch(), site.opener, site.signatory.storage)
    yield C2Servicer(
        node="JPN",
        authorities=lambda: {},
        grants={},
        sequencer=sequencer,
        feed=feed,
        status=c2_pb2.GetStatusResponse,
        telemetry=Telemetry(),
        limits=C2Limits(in_flight=IN_FLIGHT),
        quotas=QuotaLimits(),
        report_limits=LIMITS,
        now=lambda: datetime(2026, 5, 1, tzinfo=UTC),
        now_ns=lambda: NOW,
        monotonic=clock,
        clock_trusted=lambda: True,
    )
    site.close()


def stands() -> None:
    """The caller is believed."""


async def turns() -> None:
    """Some for everybody."""
    for _ in range(50):
        await asyncio.sleep(0)


def bad(count: int) -> bytes:
    """A request of so many reports, none of which can be read."""
    return b"\x0a\x01\xff" * count


async def test_what_is_known_together_is_answered_together_at_positions_that_count_reports(
    servicer: C2Servicer,
) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield bad(3)
        yield b"garbage"
        yield bad(1)

    async with asyncio.timeout(PATIENCE_S):
        answers = servicer._submitting.answers(SYSTEM, NOTHING, Quota(QuotaLimits(), 0.0), requests(), stands)
        responses = [response async for response in answers]
    said = [answer for response in responses for answer in response.answers]
    assert [answer.position for answer in said] == [0, 1, 2, 3, 4]
    assert {answer.refused.code for answer in said} == {c2_pb2.REFUSAL_CODE_MALFORMED}
    assert len(responses[0].answers) >= 3


async def test_a_message_holds_no_more_answers_than_others_can_wait_for(servicer: C2Servicer) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield bad(ANSWERS + 1)

    async with asyncio.timeout(PATIENCE_S):
        answers = servicer._submitting.answers(SYSTEM, NOTHING, Quota(QuotaLimits(), 0.0), requests(), stands)
        assert [len(response.answers) async for response in answers] == [ANSWERS, 1]


async def test_while_a_request_is_judged_others_have_their_turn_after_some_time(
    servicer: C2Servicer, clock: Clock
) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield bad(12)

    clock.step = TURN_S
    asked: list[None] = []
    async with asyncio.timeout(PATIENCE_S):
        quota = Quota(QuotaLimits(), 0.0)
        answers = servicer._submitting.answers(SYSTEM, NOTHING, quota, requests(), lambda: asked.append(None))
        assert sum([len(response.answers) async for response in answers]) == 12
    # And the caller's standing is asked each time.
    assert len(asked) >= 12


async def test_an_idle_stream_keeps_nothing_of_its_last_request(servicer: C2Servicer) -> None:
    none = b"\x0a\x00" * (C2Limits().request_reports + 1)
    before = sys.getrefcount(none)

    async def requests() -> AsyncIterator[bytes]:
        yield none
        await asyncio.Event().wait()

    answers = servicer._submitting.answers(SYSTEM, NOTHING, Quota(QuotaLimits(), 0.0), requests(), stands)
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(answers):
        await anext(answers)
        await turns()
        assert sys.getrefcount(none) == before


@pytest.mark.parametrize("most", [1, IN_FLIGHT])
async def test_of_one_who_is_believed_no_more_nothing_is_taken_though_he_reads_no_answers(
    servicer: C2Servicer, most: int
) -> None:
    believed = True

    def judged() -> float:
        registry = servicer._telemetry.registry
        return registry.get_sample_value("signalfire_reports_total", {"result": "malformed"}) or 0.0

    def ask() -> None:
        if not believed:
            raise PeerError(Refusal.REVOKED, "it is revoked", where="test", mend="Get another one.")

    async def requests() -> AsyncIterator[bytes]:
        while True:
            yield bad(1)
            if judged() == most:
                await asyncio.sleep(0)

    answers = servicer._submitting.answers(SYSTEM, NOTHING, Quota(QuotaLimits(), 0.0), requests(), ask)
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(answers):
        await anext(answers)
        if most == IN_FLIGHT:
            # The next request is read, and waits for room.
            await turns()
        assert judged() == most
        believed = False
        await turns()
        assert judged() == most
        with pytest.raises(PeerError, match="it is revoked"):
            _ = [response async for response in answers]
        assert judged() == most


async def test_bytes_that_belong_to_no_report_are_paid_for(servicer: C2Servicer) -> None:
    beside = b"\x12\x80\x80\x3c" + bytes(60 << 14)
    large = b"\x0a\x80\x80\x3c" + bytes(60 << 14)

    async def requests() -> AsyncIterator[bytes]:
        yield bad(1) + beside
        yield large

    quota = Quota(QuotaLimits(), 0.0)
    async with asyncio.timeout(PATIENCE_S):
        answers = servicer._submitting.answers(SYSTEM, NOTHING, quota, requests(), stands)
        assert sum([len(response.answers) async for response in answers]) == 2
    assert quota.pause_s(0.0) >= 2 * (60 << 14) / READ_IN_VAIN / REFUSALS_S


async def test_of_very_many_violations_the_first_are_told_and_how_many_there_are(servicer: C2Servicer) -> None:
    error = RefusedReport(c2_pb2.REFUSAL_CODE_INVALID, [Violation(f"a[{n}]", "is wrong", "mend it") for n in range(99)])
    told = servicer._submitting.refused(SYSTEM, "an id", None, error).violations
    assert [each.field for each in told] == [*(f"a[{n}]" for n in range(VIOLATIONS)), ""]
    assert told[-1].problem == f"has {99 - VIOLATIONS} more such problems"


@pytest.mark.parametrize("reports", [1, 2, 4])
async def test_of_one_who_reads_no_answers_no_more_is_read_than_may_wait_for_them(
    servicer: C2Servicer, reports: int
) -> None:
    read = 0

    async def garbage() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += reports
            yield bad(reports)

    answers = servicer._submitting.answers(SYSTEM, NOTHING, Quota(QuotaLimits(), 0.0), garbage(), stands)
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(answers):
        taken = 0
        for _ in range(4):
            given = len((await anext(answers)).answers)
            await turns()
            # Those whose answers nobody has taken, and the next request, which waits for room.
            assert read == taken + IN_FLIGHT + reports
            taken += given


async def test_a_request_of_more_reports_than_may_wait_is_taken_alone(servicer: C2Servicer) -> None:
    async def requests() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield bad(IN_FLIGHT + 2)

    async with asyncio.timeout(PATIENCE_S):
        answers = servicer._submitting.answers(SYSTEM, NOTHING, Quota(QuotaLimits(), 0.0), requests(), stands)
        assert [len(response.answers) async for response in answers] == [IN_FLIGHT + 2, IN_FLIGHT + 2]


async def test_one_who_was_refused_without_end_is_read_no_faster_than_the_quota_of_refusals(
    servicer: C2Servicer,
) -> None:
    quota = Quota(QuotaLimits(), 0.0)
    for _ in range(int(REFUSALS_S / 4)):
        quota.refused(0.0)

    async def garbage() -> AsyncIterator[bytes]:
        yield b"garbage"

    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(PATIENCE_S):
        responses = [each async for each in servicer._submitting.answers(SYSTEM, NOTHING, quota, garbage(), stands)]
    assert [[answer.refused.code for answer in each.answers] for each in responses] == [[c2_pb2.REFUSAL_CODE_MALFORMED]]
    assert loop.time() - began >= 0.249
