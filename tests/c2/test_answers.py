"""The answers of one stream: how many may be owed, and how fast one who is refused without end is read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from signalfire.v1 import c2_pb2, report_pb2

from gateway.c2.feed import Feed, Runs
from gateway.c2.grants import PushGrant
from gateway.c2.limits import C2Limits
from gateway.c2.quotas import REFUSALS_S, Quota, QuotaLimits
from gateway.c2.server import C2Servicer
from gateway.identity.spiffe import Role, SpiffeId
from gateway.release.sequencer import Sequencer, SequencerLimits
from gateway.release.watch import Watch
from gateway.telemetry import Telemetry
from tests.release.world import LIMITS, Site, rulebook_of, signatory_of
from tests.reports.examples import NOW

PATIENCE_S = 20.0
IN_FLIGHT = 4
SYSTEM = SpiffeId.of("JPN", Role.C2, "sensors")
NOTHING = PushGrant(frozenset(), frozenset(), frozenset(), frozenset(), report_pb2.CLASSIFICATION_UNCLASSIFIED)
"""What is malformed is refused before the grant is asked."""


@pytest.fixture
def servicer(tmp_path: Path) -> Iterator[C2Servicer]:
    """A service that refuses what is malformed; it makes nothing durable. Its clock stands."""
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
        monotonic=lambda: 0.0,
        clock_trusted=lambda: True,
    )
    site.close()


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
        answers = servicer._submitting.answers(SYSTEM, NOTHING, Quota(QuotaLimits(), 0.0), requests())
        responses = [response async for response in answers]
    said = [answer for response in responses for answer in response.answers]
    assert [answer.position for answer in said] == [0, 1, 2, 3, 4]
    assert {answer.refused.code for answer in said} == {c2_pb2.REFUSAL_CODE_MALFORMED}
    assert len(responses[0].answers) >= 3


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

    async def turns() -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    answers = servicer._submitting.answers(SYSTEM, NOTHING, Quota(QuotaLimits(), 0.0), garbage())
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
        answers = servicer._submitting.answers(SYSTEM, NOTHING, Quota(QuotaLimits(), 0.0), requests())
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
        responses = [each async for each in servicer._submitting.answers(SYSTEM, NOTHING, quota, garbage())]
    assert [[answer.refused.code for answer in each.answers] for each in responses] == [[c2_pb2.REFUSAL_CODE_MALFORMED]]
    assert loop.time() - began >= 0.249
