"""Many reports in one request: each is judged and answered by itself, and by its own precedence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from signalfire.v1 import c2_pb2, report_pb2

from gateway.c2.limits import C2Limits
from gateway.demo.deployment import PUSHER, Deployed
from gateway.release import pipeline, taking
from gateway.reports.kinds import Kind
from tests.node.connecting import as_system, request_of
from tests.node.nations import World, cancellation, report, running, settle
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST = C2Limits().request_reports
MALFORMED = c2_pb2.REFUSAL_CODE_MALFORMED


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Two nations, for all tests here."""
    async with running(settle(Path(tmp_path_factory.mktemp("nations")), "JPN", "KOR")) as running_world:
        yield running_world


async def said(place: Deployed, *requests: bytes) -> list[c2_pb2.SubmitResponse]:
    """Sends requests in one stream; all that is answered, as it came."""
    async with as_system(place, PUSHER) as opened, asyncio.timeout(PATIENCE_S):
        submit: grpc.aio.StreamStreamMultiCallable[bytes, c2_pb2.SubmitResponse] = opened.stream_stream(
            "/signalfire.v1.C2Service/Submit",
            request_serializer=None,
            response_deserializer=c2_pb2.SubmitResponse.FromString,
        )
        call = submit()
        for request in requests:
            await call.write(request)
        await call.done_writing()
        return [response async for response in call]


def answers(responses: Sequence[c2_pb2.SubmitResponse]) -> list[c2_pb2.Answer]:
    """The answers in the order in which they came."""
    return [answer for response in responses for answer in response.answers]


def point(**changes: str) -> report_pb2.Report:
    return report(Kind.TRACK, precedence=report_pb2.PRECEDENCE_ROUTINE, **changes)


async def test_each_report_of_a_request_is_answered_and_what_is_durable_together_in_one_message(world: World) -> None:
    first, second = [point() for _ in range(MOST)], [point() for _ in range(3)]
    responses = await said(world.places["JPN"], request_of(*first), request_of(*second))
    got = answers(responses)
    assert {answer.position: answer.report_id for answer in got} == {
        position: each.report_id for position, each in enumerate([*first, *second])
    }
    assert len(got) == MOST + 3
    assert all(answer.HasField("accepted") for answer in got)
    assert len(responses) < len(got) / 2
    for each in (first[0], second[-1]):
        await world.inboxes["KOR"].report(each.report_id)


async def test_an_alert_behind_a_message_full_of_tracks_is_answered_before_them(world: World) -> None:
    alert = report()
    got = answers(await said(world.places["JPN"], request_of(*(point() for _ in range(MOST - 1)), alert)))
    assert all(answer.HasField("accepted") for answer in got)
    place = [answer.report_id for answer in got].index(alert.report_id)
    # Of those before it in the message some were on record before it was read; those beside it wait for it.
    assert {answer.position for answer in got[place + 1 :]} >= {MOST - 2, MOST - 3}


async def test_what_is_wrong_with_one_report_is_its_own_affair(world: World) -> None:
    good, invalid, large = point(), point(report_id="42"), point()
    large.threat.launch_area = "x" * 17_000
    unreadable = b"\x0a\x03\xff\xff\xff"
    whole = request_of(good) + unreadable + request_of(invalid, large) + b"\x0a\x00" + request_of(report())
    got = sorted(answers(await said(world.places["JPN"], whole)), key=lambda answer: answer.position)
    codes = [answer.refused.code for answer in got]
    invalid_code = c2_pb2.REFUSAL_CODE_INVALID
    assert codes == [0, MALFORMED, invalid_code, MALFORMED, invalid_code, 0]
    assert [answer.HasField("accepted") for answer in got] == [code == 0 for code in codes]
    assert "than the 16384 that are taken" in got[3].refused.violations[0].problem


@pytest.mark.parametrize(
    ("request_", "setting"),
    [
        pytest.param(b"\x0a\x00" * (MOST + 1), "request_reports", id="too many reports"),
        pytest.param(b"\x0a\x00" + b"\x12\x80\x80\x40" + b"x" * (1 << 20), "request_bytes", id="too many bytes"),
        pytest.param(b"\x12\x03abc", "reports", id="no report"),
        pytest.param(b"\x0a\x7f", "published schema", id="cut short"),
    ],
)
async def test_a_request_that_is_none_counts_as_one_report(world: World, request_: bytes, setting: str) -> None:
    good = point()
    got = answers(await said(world.places["JPN"], request_, request_of(good)))
    by_position = {answer.position: answer for answer in got}
    assert set(by_position) == {0, 1}
    assert by_position[0].refused.code == MALFORMED
    assert setting in by_position[0].refused.violations[0].remedy
    assert (by_position[1].report_id, by_position[1].HasField("accepted")) == (good.report_id, True)


async def test_a_recall_in_the_message_of_what_it_recalls_finds_it(world: World) -> None:
    warning = point()
    got = answers(await said(world.places["JPN"], request_of(warning, cancellation(warning.report_id))))
    assert [answer.HasField("accepted") for answer in got] == [True, True]
    await world.inboxes["KOR"].withdrawal(warning.report_id)


async def test_an_all_clear_that_has_to_look_at_many_warnings_is_answered_as_well(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (pipeline, taking):
        monkeypatch.setattr(module, "LOOKED_AT_A_STEP", 4)
    warnings = [point(event_id="batches-looked-at") for _ in range(11)]
    clear = report(Kind.ALL_CLEAR, event_id="batches-looked-at")
    place = world.places["JPN"]
    assert all(answer.HasField("accepted") for answer in answers(await said(place, request_of(*warnings))))
    assert [answer.HasField("accepted") for answer in answers(await said(place, request_of(clear)))] == [True]
    for each in warnings:
        await world.inboxes["KOR"].withdrawal(each.report_id)
