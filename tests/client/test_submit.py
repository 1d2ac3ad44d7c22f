"""Pushing: every report is answered once, whatever the connection does."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from signalfire.v1 import c2_pb2, report_pb2

from gateway.client import Client, ClientError, Result
from gateway.client.sending import REQUEST_REPORTS
from gateway.identity import issuing
from tests.client.steered import Answers, Context, Home, Reports, Steered, Submitting
from tests.patience import PATIENCE_S
from tests.reports.examples import report_id


def reports(count: int) -> list[report_pb2.Report]:
    return [report_pb2.Report(report_id=report_id(number)) for number in range(count)]


def ids(count: int) -> list[str]:
    return [report_id(number) for number in range(count)]


async def submitted(home: Home, address: str, given: object, in_flight: int = 1024) -> list[Result]:
    async with asyncio.timeout(PATIENCE_S):
        return [result async for result in home.dial(address).submit(given, in_flight=in_flight)]  # type: ignore[arg-type]  # iterables of both kinds


async def pushed(client: Client, given: list[report_pb2.Report]) -> list[Result]:
    return [result async for result in client.submit(given)]


async def answer_all(service: Steered, reports: Reports, context: Context) -> Answers:
    position = 0
    async for report in reports:
        yield service.take(position, report.report_id)
        position += 1


def lost_after(answers: int, unacknowledged: int, code: grpc.StatusCode | None, details: str = "gone") -> Submitting:
    """Answers some, makes some more durable without an answer, and is gone; with no code it ends without an error."""

    async def behave(service: Steered, reports: Reports, context: Context) -> Answers:
        position = 0
        async for report in reports:
            if position >= answers + unacknowledged:
                if code is not None:
                    await context.abort(code, details)
                return
            response = service.take(position, report.report_id)
            if position < answers:
                yield response
            position += 1

    return behave


async def test_what_there_is_goes_together_within_the_bounds_of_a_request_and_one_alone_goes_alone(home: Home) -> None:
    async def given() -> AsyncIterator[report_pb2.Report]:
        for report in reports(2 * REQUEST_REPORTS + 10):
            yield report

    service = Steered([answer_all])
    async with home.serving(service) as address:
        results = await submitted(home, address, given())
        assert Counter(result.report_id for result in results) == Counter(ids(2 * REQUEST_REPORTS + 10))
        assert service.requests == [REQUEST_REPORTS, REQUEST_REPORTS, 10]
        await submitted(home, address, reports(1))
    assert service.requests[3:] == [1]


async def test_a_request_is_no_larger_than_an_alert_may_wait_for(home: Home) -> None:
    async def given() -> AsyncIterator[report_pb2.Report]:
        for report in reports(100):
            report.threat.launch_area = "x" * 2000
            yield report

    service = Steered([answer_all])
    async with home.serving(service) as address:
        results = await submitted(home, address, given())
    assert Counter(result.report_id for result in results) == Counter(ids(100))
    # Of a little more than 2,000 bytes each.
    assert service.requests == [31, 31, 31, 7]


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, None])
@pytest.mark.parametrize(("answers", "unacknowledged"), [(0, 0), (0, 3), (4, 0), (3, 5)])
async def test_after_a_lost_connection_what_was_not_answered_is_sent_again_and_nothing_is_doubled(
    home: Home, answers: int, unacknowledged: int, code: grpc.StatusCode | None
) -> None:
    service = Steered([lost_after(answers, unacknowledged, code), answer_all])
    async with home.serving(service) as address:
        results = await submitted(home, address, reports(10))
    assert Counter(result.report_id for result in results) == Counter(ids(10))
    assert all(result.accepted for result in results)
    assert service.accepted == dict.fromkeys(ids(10), 1)
    # An answer that was on its way when the connection broke may be among them.
    assert unacknowledged <= sum(result.duplicate for result in results) <= unacknowledged + answers


async def test_what_was_answered_is_not_sent_again(home: Home) -> None:
    answered = asyncio.Event()

    async def lost_when_answers_were_read(service: Steered, reports: Reports, context: Context) -> Answers:
        for position in range(5):
            report = await anext(reports)
            if position < 3:
                yield service.take(position, report.report_id)
        await answered.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    service = Steered([lost_when_answers_were_read, answer_all])
    got = []
    async with asyncio.timeout(PATIENCE_S), home.serving(service) as address:
        async for result in home.dial(address).submit(reports(5)):
            got.append(result.report_id)
            if len(got) == 3:
                answered.set()
    assert got == ids(5)
    assert service.seen == [*ids(5), *ids(5)[3:]]


async def test_a_connection_that_is_lost_again_and_again_is_made_again(home: Home) -> None:
    service = Steered([*[lost_after(1, 1, grpc.StatusCode.UNAVAILABLE)] * 4, answer_all])
    trouble: list[str] = []
    async with asyncio.timeout(PATIENCE_S), home.serving(service) as address:
        client = home.dial(address, trouble.append)
        results = [result async for result in client.submit(reports(10))]
    assert Counter(result.report_id for result in results) == Counter(ids(10))
    assert service.accepted == dict.fromkeys(ids(10), 1)
    assert len(trouble) == 4
    assert all(words.startswith(address) for words in trouble)


async def test_a_gateway_that_is_not_there_yet_is_waited_for(home: Home) -> None:
    service = Steered([answer_all])
    async with home.serving(Steered([answer_all])) as address:
        port = int(address.rpartition(":")[2])
    refused = asyncio.Event()
    async with asyncio.timeout(PATIENCE_S):
        client = home.dial(address, lambda _: refused.set())
        submitting = asyncio.create_task(pushed(client, reports(1)))
        await refused.wait()
        async with home.serving(service, port):
            assert [result.accepted for result in await submitting] == [True]


async def test_answers_out_of_order_are_given_to_the_reports_that_they_are_about(home: Home) -> None:
    async def backwards(service: Steered, reports: Reports, context: Context) -> Answers:
        held: list[c2_pb2.Answer] = []
        async for report in reports:
            held.append(service.take(len(held), report.report_id))
            if len(held) == 5:
                held[1].refused.code = c2_pb2.REFUSAL_CODE_INVALID
                for response in reversed(held):
                    yield response

    async with home.serving(Steered([backwards])) as address:
        results = await submitted(home, address, reports(5))
    assert [result.report_id for result in results] == ids(5)[::-1]
    assert [result.accepted for result in results] == [True, True, True, False, True]


async def test_a_refused_report_comes_with_every_reason_and_is_not_sent_again(home: Home) -> None:
    async def refuse(service: Steered, reports: Reports, context: Context) -> Answers:
        async for report in reports:
            found = [c2_pb2.Violation(field=field, problem="is wrong", remedy="mend it") for field in ("a", "b")]
            refused = c2_pb2.Refused(code=c2_pb2.REFUSAL_CODE_CONFLICT, violations=found)
            yield c2_pb2.Answer(report_id=report.report_id, refused=refused)

    service = Steered([refuse])
    async with home.serving(service) as address:
        (result,) = await submitted(home, address, reports(1))
    assert (result.accepted, result.code) == (False, c2_pb2.REFUSAL_CODE_CONFLICT)
    assert [violation.field for violation in result.violations] == ["a", "b"]
    assert service.seen == ids(1)


async def test_a_report_that_the_node_cannot_take_now_is_sent_again_no_sooner_than_it_says(home: Home) -> None:
    came: dict[str, list[float]] = {}

    async def not_now(service: Steered, reports: Reports, context: Context) -> Answers:
        position = 0
        async for report in reports:
            times = came.setdefault(report.report_id, [])
            times.append(asyncio.get_running_loop().time())
            if len(times) < 3:
                refused = c2_pb2.Refused(code=c2_pb2.REFUSAL_CODE_UNAVAILABLE, retry_after_ms=40)
                yield c2_pb2.Answer(position=position, report_id=report.report_id, refused=refused)
            else:
                yield service.take(position, report.report_id)
            position += 1

    async with home.serving(Steered([not_now])) as address:
        results = await submitted(home, address, reports(4))
    assert Counter(result.report_id for result in results) == Counter(ids(4))
    assert all(result.accepted for result in results)
    assert all(len(times) == 3 for times in came.values())
    assert all(later - earlier >= 0.039 for times in came.values() for earlier, later in pairwise(times))


@pytest.mark.parametrize("in_flight", [1, 4])
async def test_no_more_reports_are_taken_than_may_wait_for_their_answer(home: Home, in_flight: int) -> None:
    waiting = 0
    most = 0
    total = 10

    def given() -> Iterator[report_pb2.Report]:
        nonlocal waiting, most
        for report in reports(total):
            waiting += 1
            most = max(most, waiting)
            yield report

    async def in_batches(service: Steered, reports: Reports, context: Context) -> Answers:
        nonlocal waiting
        position = 0
        held = []
        async for report in reports:
            held.append(service.take(position, report.report_id))
            position += 1
            if len(held) == in_flight or position == total:
                # Counted before the answer goes, so that the count here is never above the client's own.
                for response in held:
                    waiting -= 1
                    yield response
                held.clear()

    async with home.serving(Steered([in_batches])) as address:
        results = await submitted(home, address, given(), in_flight)
    assert len(results) == total
    assert most == in_flight


async def test_reports_may_come_from_an_iterable_or_an_async_iterable_that_takes_its_time(home: Home) -> None:
    answered = asyncio.Event()

    async def one_after_the_other() -> AsyncIterator[report_pb2.Report]:
        for report in reports(3):
            yield report
            await answered.wait()
            answered.clear()

    async with asyncio.timeout(PATIENCE_S), home.serving(Steered([answer_all])) as address:
        assert [result.report_id for result in await submitted(home, address, iter(reports(3)))] == ids(3)
        got = []
        async for result in home.dial(address).submit(one_after_the_other()):
            got.append(result.report_id)
            answered.set()
        assert got == ids(3)
        assert await submitted(home, address, []) == []


async def test_an_error_of_the_caller_s_own_iterable_reaches_him_when_all_before_it_is_answered(home: Home) -> None:
    def broken() -> Iterator[report_pb2.Report]:
        yield from reports(3)
        raise LookupError("the sensor's file is damaged")

    service = Steered([lost_after(1, 1, grpc.StatusCode.UNAVAILABLE), answer_all])
    got = []

    async def push(address: str) -> None:
        async for result in home.dial(address).submit(broken()):
            got.append(result.report_id)

    async with asyncio.timeout(PATIENCE_S), home.serving(service) as address:
        with pytest.raises(LookupError, match="the sensor's file is damaged"):
            await push(address)
    assert Counter(got) == Counter(ids(3))
    assert service.accepted == dict.fromkeys(ids(3), 1)


@pytest.mark.parametrize("wrong", ["not a report", None, {"report_id": report_id(2)}])
async def test_an_item_that_is_no_report_is_an_error_for_the_caller_when_all_before_it_is_answered(
    home: Home, wrong: object
) -> None:
    got = []

    async def push(address: str) -> None:
        async for result in home.dial(address).submit([*reports(2), wrong, *reports(3)]):  # type: ignore[list-item]
            got.append(result.report_id)

    async with asyncio.timeout(PATIENCE_S), home.serving(Steered([answer_all])) as address:
        with pytest.raises(TypeError, match="was given to be pushed; give"):
            await push(address)
    assert got == ids(2)


async def test_what_is_sent_again_is_what_was_given_though_the_caller_has_changed_it_since(home: Home) -> None:
    def reusing() -> Iterator[report_pb2.Report]:
        one = report_pb2.Report()
        for each in ids(5):
            one.report_id = each
            yield one

    service = Steered([lost_after(0, 3, grpc.StatusCode.UNAVAILABLE), answer_all])
    async with home.serving(service) as address:
        results = await submitted(home, address, reusing())
    assert [result.report_id for result in results] == ids(5)
    assert service.accepted == dict.fromkeys(ids(5), 1)


async def test_a_call_that_outlived_its_certificate_goes_on_with_the_one_that_is_on_disk_by_then(
    home: Home, tmp_path: Path
) -> None:
    renewing = Home(home.node, home.keys, tmp_path / "c2")
    shutil.copytree(home.client, renewing.client)

    async def expire(service: Steered, reports: Reports, context: Context) -> Answers:
        report = await anext(reports)
        yield service.take(0, report.report_id)
        issuing.issue_c2(home.keys.parent / "pki", "sensors", tmp_path / "new", now=datetime.now(UTC))
        for name in ("c2.key.pem", "c2.crt.pem"):
            (tmp_path / "new" / name).replace(renewing.client / name)
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "it expired")

    service = Steered([expire, answer_all])
    async with home.serving(service) as address:
        results = await submitted(renewing, address, reports(5))
    assert Counter(result.report_id for result in results) == Counter(ids(5))


@pytest.mark.parametrize(
    "code",
    [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED],
)
async def test_a_refused_caller_is_told_why_and_does_not_try_for_ever(home: Home, code: grpc.StatusCode) -> None:
    service = Steered([lost_after(0, 0, code, "declare a grant under `clients`")])
    async with home.serving(service) as address:
        with pytest.raises(ClientError, match=f"{code.name}: declare a grant"):
            await submitted(home, address, reports(2))


async def test_an_answer_to_what_was_never_asked_is_an_error_and_not_a_guess(home: Home) -> None:
    async def confused(service: Steered, reports: Reports, context: Context) -> Answers:
        async for report in reports:
            yield service.take(7, report.report_id)

    async with home.serving(Steered([confused])) as address:
        with pytest.raises(ClientError, match="answered report 7"):
            await submitted(home, address, reports(2))


@pytest.mark.parametrize("name", [report_id(1), "", "x" * 1000])
@pytest.mark.parametrize("result", ["accepted", "invalid", "unavailable"])
async def test_an_answer_with_another_identifier_than_that_of_its_report_is_an_error_and_nothing_is_forgotten(
    home: Home, name: str, result: str
) -> None:
    async def one_off(service: Steered, reports: Reports, context: Context) -> Answers:
        async for _ in reports:
            answer = c2_pb2.Answer(report_id=name)
            match result:
                case "accepted":
                    answer.accepted.duplicate = False
                case "invalid":
                    answer.refused.code = c2_pb2.REFUSAL_CODE_INVALID
                case _:
                    answer.refused.code = c2_pb2.REFUSAL_CODE_UNAVAILABLE
            yield answer

    async with home.serving(Steered([one_off])) as address:
        with pytest.raises(ClientError, match=f"as '{name[:64]}', but what was sent there is '{report_id(0)}'"):
            await submitted(home, address, reports(1))


async def test_what_a_gateway_cannot_read_is_refused_without_an_identifier(home: Home) -> None:
    async def unreadable(service: Steered, reports: Reports, context: Context) -> Answers:
        async for _ in reports:
            yield c2_pb2.Answer(refused=c2_pb2.Refused(code=c2_pb2.REFUSAL_CODE_MALFORMED))

    async with home.serving(Steered([unreadable])) as address:
        (result,) = await submitted(home, address, reports(1))
    assert (result.report_id, result.accepted, result.code) == (report_id(0), False, c2_pb2.REFUSAL_CODE_MALFORMED)


async def test_a_caller_who_goes_away_leaves_no_task_behind(home: Home) -> None:
    before = asyncio.all_tasks()
    async with asyncio.timeout(PATIENCE_S), home.serving(Steered([answer_all])) as address:
        results = home.dial(address).submit(reports(100))
        await anext(results)
        await results.aclose()  # type: ignore[attr-defined]  # it is an async generator
    # gRPC's own tasks of the call end in their own time; one that were left behind would never end.
    async with asyncio.timeout(PATIENCE_S):
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)
