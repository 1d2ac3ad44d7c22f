"""What one C2 system may push, what happens beyond it, and that another one never notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import c2_pb2, c2_pb2_grpc, report_pb2

from gateway.c2.quotas import EXHAUSTED, LATEST_S, READ_IN_VAIN, REFUSALS_S, Bucket, Quota, QuotaLimits
from gateway.c2.server import PUSHBACK
from gateway.client import CaughtUp, Client, Result
from gateway.demo.deployment import PUSHER, READER
from gateway.release.ranks import Rank
from gateway.reports.kinds import Kind
from tests.node.connecting import as_system
from tests.node.nations import NARROW, World, report, running, settle
from tests.node.waiting import until
from tests.patience import PATIENCE_S

BURST, RATE = 20, 1
LITTLE = {
    "reports_s": RATE,
    "reports_burst": BURST,
    "alerts_s": 1,
    "alerts_burst": 5,
    "streams": 2,
    "bytes_burst": 1 << 20,
}


# --- the buckets


@given(st.floats(0.1, 1000), st.floats(1, 1000), st.lists(st.tuples(st.floats(0, 10), st.floats(0, 200)), max_size=50))
def test_a_bucket_gives_no_more_than_its_burst_and_what_has_flowed_in(
    rate: float, burst: float, asked: list[tuple[float, float]]
) -> None:
    bucket, now, taken = Bucket(rate, burst, 0.0), 0.0, 0.0
    for pause, cost in asked:
        now += pause
        missing = bucket.missing_s(cost, now)
        if missing == 0:
            bucket.take(cost)
            taken += min(cost, burst)
            continue
        # As long as it says, and no shorter.
        assert bucket.missing_s(cost, now + missing * 0.99) > 0
        assert bucket.missing_s(cost, now + missing * 1.000001 + 1e-6) == 0
        now += missing * 1.000001 + 1e-6
    assert taken <= burst + rate * now + 1e-6


def test_a_clock_that_goes_back_fills_no_bucket() -> None:
    bucket = Bucket(1.0, 10.0, 100.0)
    bucket.take(10)
    assert bucket.missing_s(1, 50.0) == pytest.approx(1.0)
    assert bucket.missing_s(1, 100.5) == pytest.approx(0.5)


def test_tracks_never_use_up_what_alerts_have_and_alerts_fall_back_on_what_tracks_have() -> None:
    quota = Quota(QuotaLimits(reports_s=1, reports_burst=10, alerts_s=1, alerts_burst=3), 0.0)
    assert [quota.take(Rank.ROUTINE, 100, 0.0).wait_s > 0 for _ in range(12)] == [False] * 10 + [True] * 2
    assert [quota.take(Rank.FLASH, 100, 0.0).wait_s > 0 for _ in range(4)] == [False] * 3 + [True]
    fresh = Quota(QuotaLimits(reports_s=1, reports_burst=10, alerts_s=1, alerts_burst=3), 0.0)
    assert [fresh.take(Rank.FLASH, 100, 0.0).wait_s > 0 for _ in range(14)] == [False] * 13 + [True]


def test_bytes_are_counted_as_well_as_reports() -> None:
    quota = Quota(QuotaLimits(bytes_s=1000, bytes_burst=10_000), 0.0)
    assert quota.take(Rank.ROUTINE, 9_000, 0.0).wait_s == 0
    assert quota.take(Rank.ROUTINE, 2_000, 0.0).wait_s == pytest.approx(2.0)
    assert quota.take(Rank.ROUTINE, 1_000, 0.0).wait_s == 0


def test_those_who_are_refused_together_are_told_to_come_one_after_another() -> None:
    quota = Quota(QuotaLimits(reports_s=10, reports_burst=1), 0.0)
    assert quota.take(Rank.ROUTINE, 1, 0.0).wait_s == 0
    told = [quota.take(Rank.ROUTINE, 1, 0.0).wait_s for _ in range(100)]
    assert told[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert max(told) == LATEST_S
    # Each who comes when told is taken.
    assert [quota.take(Rank.ROUTINE, 1, when * 1.001).wait_s for when in told[:40]] == [0.0] * 40


def test_what_was_charged_and_found_no_room_is_given_back() -> None:
    quota = Quota(QuotaLimits(reports_s=1, reports_burst=1, alerts_s=1, alerts_burst=1), 0.0)
    for rank in (Rank.ROUTINE, Rank.FLASH):
        charge = quota.take(rank, 10, 0.0)
        assert charge.wait_s == 0
        quota.give_back(charge)
        assert quota.take(rank, 10, 0.0).wait_s == 0


def test_an_alert_that_was_charged_as_any_other_report_is_given_back_as_one() -> None:
    quota = Quota(QuotaLimits(reports_s=1, reports_burst=3, bytes_s=1, bytes_burst=30, alerts_s=1, alerts_burst=1), 0.0)
    assert quota.take(Rank.FLASH, 10, 0.0).as_alert
    for _ in range(10):
        charge = quota.take(Rank.FLASH, 10, 0.0)
        assert (charge.wait_s, charge.as_alert) == (0, False)
        quota.give_back(charge)
    # All that others have is there still, and no alert more than there was.
    assert [quota.take(Rank.ROUTINE, 10, 0.0).wait_s > 0 for _ in range(4)] == [False] * 3 + [True]
    assert quota.take(Rank.FLASH, 10, 0.0).wait_s > 0


def test_who_is_refused_without_end_is_read_more_slowly() -> None:
    quota = Quota(QuotaLimits(), 0.0)
    for _ in range(int(REFUSALS_S / 10) - 1):
        quota.refused(0.0)
    assert quota.pause_s(0.0) == 0
    for _ in range(int(REFUSALS_S)):
        quota.refused(0.0)
    assert quota.pause_s(0.0) == pytest.approx(1.1, abs=0.001)
    assert quota.pause_s(1.05) == 0


def test_who_is_told_that_he_pushes_too_much_is_read_longer() -> None:
    quota = Quota(QuotaLimits(), 0.0)
    for _ in range(int(REFUSALS_S)):
        quota.refused(0.0, exhausted=True)
    assert quota.pause_s(0.0) == pytest.approx(EXHAUSTED)


def test_who_sends_large_requests_that_are_none_is_read_more_slowly() -> None:
    quota = Quota(QuotaLimits(), 0.0)
    quota.read_in_vain(READ_IN_VAIN, 0.0)
    assert quota.pause_s(0.0) == 0
    for _ in range(4):
        quota.read_in_vain(1 << 20, 0.0)
    assert quota.pause_s(0.0) == pytest.approx(4 * (1 << 20) / READ_IN_VAIN / REFUSALS_S, rel=0.01)


# --- a gateway


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One nation, whose C2 systems may push little."""
    async with running(settle(tmp_path, "JPN", limits={"quotas": LITTLE}), linked=False) as running_world:
        yield running_world


def point() -> report_pb2.Report:
    return report(Kind.TRACK, precedence=report_pb2.PRECEDENCE_ROUTINE)


async def pushed(world: World, reports: Iterable[report_pb2.Report]) -> list[c2_pb2.Answer]:
    """The bare answers to one request, in the order of the reports: nothing is sent again.

    One request is judged in one go, so that a quota fills and room is made while that is done, and not while a busy
    machine gets around to writing the next.
    """
    async with as_system(world.places["JPN"], PUSHER) as channel:
        call = c2_pb2_grpc.C2ServiceStub(channel).Submit()
        await call.write(c2_pb2.SubmitRequest(reports=reports))
        await call.done_writing()
        async with asyncio.timeout(PATIENCE_S):
            answers = [answer async for response in call for answer in response.answers]
    return sorted(answers, key=lambda answer: answer.position)


async def first_of(client: Client, pushed: report_pb2.Report) -> Result:
    (result,) = [result async for result in client.submit([pushed])]
    return result


def exhausted(answer: c2_pb2.Answer) -> bool:
    return answer.refused.code == c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED


async def test_beyond_the_quota_reports_are_refused_with_a_time_and_alerts_still_taken(world: World) -> None:
    given, alerts = [point() for _ in range(4 * BURST)], [report() for _ in range(5)]
    began = time.monotonic()
    answers = await pushed(world, [*given, *alerts])
    took_s = time.monotonic() - began
    tracks, flash = answers[: len(given)], answers[len(given) :]
    taken = [answer for answer in tracks if answer.HasField("accepted")]
    refused = [answer for answer in tracks if exhausted(answer)]
    assert len(taken) + len(refused) == len(given)
    assert refused
    # What flows in while it is judged is some more.
    assert BURST <= len(taken) <= BURST + RATE * took_s
    for answer in refused:
        assert 10 <= answer.refused.retry_after_ms <= 5000
        assert answer.refused.violations[0].remedy == "send it again after retry_after_ms"
        assert answer.report_id
    assert all(answer.HasField("accepted") for answer in flash)
    assert world.metric("JPN", "signalfire_reports_total", result="resource_exhausted") == len(refused)
    # Nothing of them was kept: sent again, each is new.
    assert world.nodes["JPN"].status().reports_accepted == len(taken) + len(alerts)


async def test_the_client_library_sends_again_what_was_refused_until_all_is_taken_once(tmp_path: Path) -> None:
    # However long a machine stands still, no more than two are there afterwards.
    limits = {"quotas": {"reports_s": 20, "reports_burst": 2}}
    async with running(settle(tmp_path, "JPN", limits=limits), linked=False) as world:
        given = [point() for _ in range(26)]
        async with asyncio.timeout(PATIENCE_S):
            results = [result async for result in world.places["JPN"].client(PUSHER).submit(given)]
        assert sorted(result.report_id for result in results) == sorted(each.report_id for each in given)
        assert all(result.accepted and not result.duplicate for result in results)
        assert world.metric("JPN", "signalfire_reports_total", result="resource_exhausted") >= 1


async def test_one_client_s_quota_is_none_of_another_s(world: World) -> None:
    assert any(exhausted(answer) for answer in await pushed(world, (point() for _ in range(4 * BURST))))
    granted = report(
        originator_station="radar-1",
        traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE,
        marking__classification=report_pb2.CLASSIFICATION_RESTRICTED,
    )
    (result,) = [result async for result in world.places["JPN"].client(NARROW).submit([granted])]
    assert result.accepted


async def test_a_stream_too_many_is_refused_with_a_time_and_the_library_waits_for_its_turn(world: World) -> None:
    async with as_system(world.places["JPN"], PUSHER) as channel:
        stub = c2_pb2_grpc.C2ServiceStub(channel)
        calls = [stub.Submit() for _ in range(2)]
        for call in calls:
            await call.write(c2_pb2.SubmitRequest(reports=[report()]))
            response = await call.read()
            assert isinstance(response, c2_pb2.SubmitResponse)
            assert [answer.WhichOneof("result") for answer in response.answers] == ["accepted"]
        third = stub.Submit()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await third.read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 streams already" in (refused.value.details() or "")
        assert dict(refused.value.trailing_metadata() or ())[PUSHBACK] == "1000"
        trouble: asyncio.Queue[str] = asyncio.Queue()
        client = world.places["JPN"].client(PUSHER)
        client._connector._on_trouble = trouble.put_nowait
        pushing = asyncio.create_task(first_of(client, report()))
        async with asyncio.timeout(PATIENCE_S):
            assert "2 streams already" in await trouble.get()
            await calls[0].done_writing()
            assert await calls[0].read() is grpc.aio.EOF
            assert (await pushing).accepted


async def test_a_subscription_too_many_is_refused_with_a_time(tmp_path: Path) -> None:
    async with running(settle(tmp_path, "JPN", limits={"c2": {"subscriptions": 2}}), linked=False) as world:
        # The inbox of the world is the first.
        inbox = world.inboxes["JPN"]
        await inbox.holds(lambda: any(isinstance(item, CaughtUp) for item in inbox.items), "its subscription")
        async with as_system(world.places["JPN"], READER) as channel:
            stub = c2_pb2_grpc.C2ServiceStub(channel)
            request = c2_pb2.SubscribeRequest(traffic_classes=[report_pb2.TRAFFIC_CLASS_LIVE])
            second = stub.Subscribe(request)
            response = await second.read()
            assert isinstance(response, c2_pb2.SubscribeResponse)
            assert response.items[-1].HasField("caught_up")
            third = stub.Subscribe(request)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await third.read()
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(refused.value.trailing_metadata() or ())[PUSHBACK] == "1000"


async def test_where_there_is_no_room_lower_precedence_is_refused_first_and_what_is_sent_again_is_taken(
    tmp_path: Path,
) -> None:
    limits = {"commits": {"queue": 8, "steps": 1}}
    async with running(settle(tmp_path, "JPN", limits=limits), linked=False) as world:
        immediate = [report(Kind.TRACK) for _ in range(40)]
        answers = await pushed(world, [*(point() for _ in range(60)), *immediate, report()])
        refused = [sum(map(exhausted, part)) for part in (answers[:60], answers[60:100], answers[100:])]
        assert refused[0] > 0
        assert refused[2] == 0
        assert all(answer.refused.retry_after_ms >= 50 for answer in answers if exhausted(answer))
        assert all(answer.HasField("accepted") or exhausted(answer) for answer in answers)
        async with asyncio.timeout(PATIENCE_S):
            results = [each async for each in world.places["JPN"].client(PUSHER).submit(immediate)]
        assert len(results) == 40
        assert all(result.accepted for result in results)


async def test_what_finds_no_room_uses_up_no_quota(tmp_path: Path) -> None:
    limits = {"store": {"reserve_bytes": 1 << 50, "least_bytes": 1 << 20}, "quotas": LITTLE}
    async with running(settle(tmp_path, "JPN", limits=limits), linked=False) as world:
        answers = await pushed(world, (point() for _ in range(60)))
        assert all(exhausted(answer) for answer in answers)
        problems = {answer.refused.violations[0].problem for answer in answers}
        assert all("disk of the store is nearly full" in problem for problem in problems), problems


async def test_connections_are_bounded(tmp_path: Path) -> None:
    async with running(settle(tmp_path, "JPN", limits={"c2": {"connections": 16}}), linked=False) as world:
        host, _, port = world.places["JPN"].national.rpartition(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(40)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in opened]
        order: list[int] = []
        for number, task in enumerate(ended):
            task.add_done_callback(lambda _, number=number: order.append(number))  # type: ignore[misc]
        # One that is beyond the bound is closed at once; the others may take their time over TLS.
        await until(lambda: len(order) >= 20, "those beyond the bound are closed")
        first = order[:20]
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*ended, return_exceptions=True)
        # Had they had their time as well, those that came first would have ended first.
        assert min(first) >= 10
