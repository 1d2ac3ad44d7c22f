"""What a gateway has lost goes again first, and what recalls it after it; also in one run of `signalfire submit`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from google.protobuf import json_format
from signalfire.v1 import c2_pb2, report_pb2

from gateway.cli import main
from tests.client.steered import Answers, Context, Home, Reports, Steered
from tests.client.test_outbox import going, nothing_goes, outbox, pass_time
from tests.patience import PATIENCE_S
from tests.reports.examples import all_clear, cancellation, launch_detection, report_id, track

RECALL = cancellation(9, cancellation__report_ids=[report_id(0)])


def wish(until: int) -> c2_pb2.Resubmit:
    told = c2_pb2.Resubmit(reason="the store was lost")
    told.until.seconds = until
    return told


def answer(service: Steered, position: int, report: report_pb2.Report) -> c2_pb2.Answer:
    """As a gateway that asks for what it has lost: a recall of what it does not know goes again."""
    if any(each not in service.accepted for each in report.cancellation.report_ids):
        later = c2_pb2.Refused(code=c2_pb2.REFUSAL_CODE_UNAVAILABLE, retry_after_ms=20)
        return c2_pb2.Answer(position=position, report_id=report.report_id, refused=later)
    return service.take(position, report.report_id)


async def test_a_recall_that_was_refused_for_now_goes_after_the_report_that_is_put_in_for_it() -> None:
    made = outbox(RECALL)
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=False)
    made.add(track(0, precedence=report_pb2.PRECEDENCE_ROUTINE))
    made.add(track(1))
    assert await going(made, 2) == [1, 2], "what it recalls goes as it would"
    pass_time(91.0)
    await nothing_goes(made)
    made.answered(1)
    assert await going(made, 1) == [0]
    made.answered(0)
    assert not made.unanswered or list(made.unanswered) == [2]


async def test_a_recall_that_is_under_way_when_its_report_is_put_in_is_answered_once() -> None:
    made = outbox(RECALL)
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 0, exhausted=False)
    assert await going(made, 1) == [0]
    made.add(launch_detection(0))
    assert await going(made, 1) == [1]
    made.answered(0)
    made.answered(1)
    assert not made.unanswered
    await nothing_goes(made)


async def test_a_lost_warning_that_is_later_than_its_all_clear_reaches_the_gateway_and_its_recall_after_it(
    home: Home,
) -> None:
    """Partners may have it, and the gateway lets it stand beside that all-clear: none but the recall ends it."""
    clear = all_clear(2)
    early, late = (track(seed, precedence=report_pb2.PRECEDENCE_ROUTINE) for seed in (0, 1))
    late.report_time.seconds += 1
    recall = cancellation(9, cancellation__report_ids=[late.report_id])

    async def full_at_first(service: Steered, reports: Reports, context: Context) -> Answers:
        yield wish(1)
        position = 0
        async for report in reports:
            if report.WhichOneof("content") == "track" and clear.report_id not in service.accepted:
                full = c2_pb2.Refused(code=c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED, retry_after_ms=20)
                yield c2_pb2.Answer(position=position, report_id=report.report_id, refused=full)
            else:
                yield answer(service, position, report)
            position += 1

    service = Steered([full_at_first])
    async with home.serving(service) as address, asyncio.timeout(PATIENCE_S):
        client = home.dial(address)
        results = [result async for result in client.submit([early, late, recall, clear])]
    assert {result.report_id: result.superseded_by for result in results} == {
        early.report_id: clear.report_id, late.report_id: "", recall.report_id: "", clear.report_id: "",
    }  # fmt: skip
    assert list(service.accepted) == [clear.report_id, late.report_id, recall.report_id]


@pytest.mark.parametrize("in_flight", [1, 2])
async def test_recalls_that_wait_for_lost_reports_leave_room_for_them(home: Home, in_flight: int) -> None:
    asked = asyncio.Event()

    async def losing(service: Steered, reports: Reports, context: Context) -> Answers:
        yield wish(1)
        position = 0
        async for report in reports:
            yield answer(service, position, report)
            position += 1

    async def given() -> AsyncIterator[report_pb2.Report]:
        yield RECALL
        await asked.wait()
        yield launch_detection(0)

    service = Steered([losing])
    async with home.serving(service) as address, asyncio.timeout(PATIENCE_S):
        client = home.dial(address)
        results = [
            result async for result in client.submit(given(), in_flight=in_flight, on_resubmit=lambda _: asked.set())
        ]
    assert {result.report_id: result.accepted for result in results} == {report_id(0): True, report_id(9): True}
    assert service.seen[-1] == RECALL.report_id, "after what it recalls"


async def test_more_recalls_than_have_a_place_hold_up_what_comes_after_them_until_the_asking_ends(home: Home) -> None:
    """As docs/c2.md says: twice `in_flight` of them, and no longer than that."""
    first, second = (cancellation(seed, cancellation__report_ids=[report_id(0)]) for seed in (1, 2))
    refused: Counter[str] = Counter()
    seen_while_asked: set[str] = set()

    async def asking(service: Steered, reports: Reports, context: Context) -> Answers:
        yield wish(1)
        position = 0
        async for report in reports:
            asks = min(refused[first.report_id], refused[second.report_id]) < 2
            if asks:
                seen_while_asked.add(report.report_id)
            if report.report_id == report_id(0):
                yield service.take(position, report.report_id)
            else:
                refused[report.report_id] += 1
                code = c2_pb2.REFUSAL_CODE_UNAVAILABLE if asks else c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR
                answered = c2_pb2.Refused(code=code, retry_after_ms=10)
                yield c2_pb2.Answer(position=position, report_id=report.report_id, refused=answered)
            position += 1

    service = Steered([asking])
    async with home.serving(service) as address, asyncio.timeout(PATIENCE_S):
        client = home.dial(address)
        results = [result async for result in client.submit([first, second, launch_detection(0)], in_flight=1)]
    assert {result.report_id: result.accepted for result in results} == {
        first.report_id: False, second.report_id: False, report_id(0): True,
    }  # fmt: skip
    assert seen_while_asked == {first.report_id, second.report_id}


def reports_file(directory: Path, *reports: report_pb2.Report) -> Path:
    path = directory / "reports.jsonl"
    path.write_text("".join(json_format.MessageToJson(report, indent=None) + "\n" for report in reports))
    return path


async def run_submit(home: Home, address: str, file: Path) -> tuple[int, str]:
    arguments = [
        "submit", "--credentials", str(home.client), "--gateway", address, str(file),
    ]  # fmt: skip
    async with asyncio.timeout(PATIENCE_S):
        result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize("wishes", [1, 2])
async def test_submit_pushes_its_file_again_in_the_same_run_as_often_as_the_gateway_loses_something(
    home: Home, tmp_path: Path, wishes: int
) -> None:
    """The gateway loses everything when the recall comes, which it then cannot take until it has the rest again."""
    left = list(range(1, wishes + 1))

    async def losing(service: Steered, reports: Reports, context: Context) -> Answers:
        position = 0
        async for report in reports:
            if left and report.report_id == RECALL.report_id and report_id(0) in service.accepted:
                service.accepted.clear()
                yield wish(left.pop(0))
            yield answer(service, position, report)
            position += 1

    service = Steered([losing])
    file = reports_file(tmp_path, launch_detection(0), track(1), RECALL)
    async with home.serving(service) as address:
        code, said = await run_submit(home, address, file)
    assert code == 0, said
    assert said.count("the gateway asks for") == wishes
    assert set(service.accepted) == {report_id(0), report_id(1), report_id(9)}
    assert service.seen.count(report_id(0)) == wishes + 1


async def test_a_wish_that_stands_when_submit_begins_costs_no_second_pass(home: Home, tmp_path: Path) -> None:
    async def asking(service: Steered, reports: Reports, context: Context) -> Answers:
        yield wish(1)
        position = 0
        async for report in reports:
            yield answer(service, position, report)
            position += 1

    service = Steered([asking])
    async with home.serving(service) as address:
        code, said = await run_submit(home, address, reports_file(tmp_path, launch_detection(0), track(1)))
    assert code == 0, said
    assert sorted(service.seen) == sorted([report_id(0), report_id(1)])
