"""What is old and what comes from a clock that is a little ahead: a recall is taken however old it is, and a warning is
never lost for some seconds.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from signalfire.v1 import c2_pb2, report_pb2

from gateway.reports.kinds import Kind
from tests.node.connecting import request_of, submit_bytes
from tests.node.nations import World, cancellation, report, running, settle

DAY_S = 86_400

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Two nations, for all tests here."""
    async with running(settle(Path(tmp_path_factory.mktemp("nations")), "JPN", "KOR")) as running_world:
        yield running_world


def made(pushed: report_pb2.Report, seconds: float) -> report_pb2.Report:
    """The same, made so many seconds from now."""
    pushed.report_time.FromNanoseconds(time.time_ns() + int(seconds * 1e9))
    pushed.valid_time.CopyFrom(pushed.report_time)
    return pushed


def correction(report_id: str) -> report_pb2.Report:
    return report(Kind.CORRECTION, correction__report_ids=[report_id])


@pytest.mark.parametrize("recall", [cancellation, correction])
async def test_a_correction_or_cancellation_that_waited_for_a_day_still_withdraws_what_it_names(
    world: World, recall: Callable[[str], report_pb2.Report]
) -> None:
    stands = await world.carries("JPN", "KOR")
    assert (await world.push_one("JPN", made(recall(stands.report_id), -DAY_S))).accepted
    await world.inboxes["KOR"].withdrawal(stands.report_id)


async def test_an_all_clear_that_waited_for_a_day_is_refused_for_it_would_end_warnings_that_came_since(
    world: World,
) -> None:
    stands = await world.carries("JPN", "KOR")
    old = made(report(Kind.ALL_CLEAR, event_id=stands.event_id), -DAY_S)
    result = await world.push_one("JPN", old)
    assert (result.accepted, result.code) == (False, c2_pb2.REFUSAL_CODE_INVALID)
    assert [violation.field for violation in result.violations] == ["report_time"]


@pytest.mark.parametrize("kind", [Kind.LAUNCH_DETECTION, Kind.ALL_CLEAR])
async def test_what_comes_from_a_clock_that_is_ahead_is_asked_for_again_and_then_taken(
    world: World, kind: Kind
) -> None:
    ahead = made(report(kind), 30)
    (answer,) = await submit_bytes(world.places["JPN"], request_of(ahead))
    assert answer.refused.code == c2_pb2.REFUSAL_CODE_UNAVAILABLE
    assert 0 < answer.refused.retry_after_ms <= 25_000, "when it is 5 s ahead, as it may be"
    (violation,) = answer.refused.violations
    assert (violation.field, violation.remedy) == (
        "report_time",
        "synchronise the clock of the system that made the report",
    )

    # The same report, handed in again when it says, is taken.
    ahead = made(report(kind), 5.5)
    assert (await world.push_one("JPN", ahead)).accepted
    await world.inboxes["KOR"].report(ahead.report_id)


async def test_what_is_wrong_besides_or_not_granted_or_far_ahead_is_refused_for_good(world: World) -> None:
    wrong = made(report(precedence=17), 30)
    (answer,) = await submit_bytes(world.places["JPN"], request_of(wrong))
    assert answer.refused.code == c2_pb2.REFUSAL_CODE_INVALID
    assert [violation.field for violation in answer.refused.violations] == ["precedence", "report_time"]

    not_granted = made(report(), 30)
    (answer,) = await submit_bytes(world.places["JPN"], request_of(not_granted), system="narrow")
    assert answer.refused.code == c2_pb2.REFUSAL_CODE_NOT_GRANTED

    far = made(report(), 90)
    (answer,) = await submit_bytes(world.places["JPN"], request_of(far))
    assert (answer.refused.code, answer.refused.retry_after_ms) == (c2_pb2.REFUSAL_CODE_INVALID, 0)
