"""What the gateway has no room for holds up nothing that is put in behind it; and which warnings an all-clear ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from signalfire.v1 import c2_pb2, report_pb2

from gateway.demo.deployment import PUSHER
from gateway.reports.kinds import Kind
from tests.client.steered import Answers, Context, Home, Reports, Steered
from tests.client.test_outbox import going, nothing_goes, outbox, pass_time
from tests.client.test_reserve import FLASH_ALONE
from tests.node.nations import report, running, settle
from tests.patience import PATIENCE_S
from tests.reports.examples import all_clear, cancellation, launch_detection, report_id, track

ROUTINE = report_pb2.PRECEDENCE_ROUTINE


async def test_an_alert_and_an_all_clear_behind_more_tracks_than_are_in_flight_go_while_flash_alone_is_taken(
    tmp_path: Path,
) -> None:
    """One of the tracks is later than the all-clear by its clock. It was put in before it, and does not stand."""
    ended = asyncio.Event()
    tracks = [report(Kind.TRACK, event_id="over", precedence=ROUTINE) for _ in range(20)]
    clear, launch = report(Kind.ALL_CLEAR, event_id="over"), report()
    tracks[-1].report_time.seconds += 2

    async def given() -> AsyncIterator[report_pb2.Report]:
        for each in (*tracks, launch, clear):
            yield each
        # A call that stays open.
        await ended.wait()

    async with running(settle(tmp_path, "JPN", limits=FLASH_ALONE), linked=False) as world:
        results = {}
        async with asyncio.timeout(PATIENCE_S):
            async for result in world.places["JPN"].client(PUSHER).submit(given(), in_flight=4):
                results[result.report_id] = result
                if len(results) == len(tracks) + 2:
                    ended.set()
    assert results.pop(launch.report_id).accepted
    assert results.pop(clear.report_id).accepted
    assert {each: result.superseded_by for each, result in results.items()} == {
        each.report_id: clear.report_id for each in tracks
    }


async def test_what_is_held_back_is_taken_once_there_is_room_and_every_report_has_one_answer(home: Home) -> None:
    alert = launch_detection(90)
    tracks = [track(seed, precedence=ROUTINE) for seed in range(40)]

    async def full_until_the_alert(service: Steered, reports: Reports, context: Context) -> Answers:
        position = 0
        async for each in reports:
            if each.report_id == alert.report_id or alert.report_id in service.accepted:
                yield service.take(position, each.report_id)
            else:
                full = c2_pb2.Refused(code=c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED, retry_after_ms=20)
                yield c2_pb2.Answer(position=position, report_id=each.report_id, refused=full)
            position += 1

    service = Steered([full_until_the_alert])
    async with home.serving(service) as address, asyncio.timeout(PATIENCE_S):
        results = [result async for result in home.dial(address).submit([*tracks, alert], in_flight=3)]
    assert Counter(result.report_id for result in results) == Counter(each.report_id for each in (*tracks, alert))
    assert all(result.accepted and not result.duplicate for result in results)
    assert next(iter(service.accepted)) == alert.report_id


async def test_it_is_said_where_so_much_is_held_back_that_nothing_further_is_taken(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    given = [track(seed, precedence=ROUTINE) for seed in range(9)]
    taken = 0
    enough = asyncio.Event()

    async def reports() -> AsyncIterator[report_pb2.Report]:
        nonlocal taken
        for each in given:
            taken += 1
            yield each

    async def full(service: Steered, reports: Reports, context: Context) -> Answers:
        position = 0
        async for each in reports:
            if enough.is_set():
                yield service.take(position, each.report_id)
            else:
                refused = c2_pb2.Refused(code=c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED, retry_after_ms=10)
                yield c2_pb2.Answer(position=position, report_id=each.report_id, refused=refused)
            if service.seen.count(given[0].report_id) == 3:
                enough.set()
            position += 1

    async with home.serving(Steered([full])) as address, asyncio.timeout(PATIENCE_S):
        async for _ in home.dial(address).submit(reports(), in_flight=2, held_back=3):
            assert enough.is_set()
    assert taken == len(given)
    assert "5 reports wait: nothing further is taken" in caplog.text


# --- room


async def test_what_is_held_back_has_a_place_besides_within_its_bound_and_keeps_it_until_it_is_answered() -> None:
    made = outbox(in_flight=2, held_back=3)
    for number in range(2):
        assert not made.is_full()
        made.add(track(number, precedence=ROUTINE))
    assert made.is_full()
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    for number in range(2, 5):
        assert not made.is_full()
        made.add(track(number, precedence=ROUTINE))
    assert made.is_full()
    pass_time(91.0)
    assert made.is_full()
    (number,) = await going(made, 1)
    made.answered(number)
    assert not made.is_full()


async def test_all_that_a_refusal_holds_back_has_a_place_besides_and_not_the_refused_one_alone() -> None:
    made = outbox(*(track(number, precedence=ROUTINE) for number in range(3)), in_flight=3)
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    for number in range(3, 6):
        assert not made.is_full()
        made.add(launch_detection(number))
    assert made.is_full()
    assert not made.is_full_of_held_back()


async def test_no_more_than_are_in_flight_go_of_what_was_held_back_and_alerts_go_beside_them() -> None:
    made = outbox(in_flight=2)
    made.add(track(0, precedence=ROUTINE))
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    for number in range(1, 5):
        made.add(track(number, precedence=ROUTINE))
    pass_time(91.0)
    one, other = await made.together(256, 1 << 20)
    await nothing_goes(made)
    made.add(launch_detection(5))
    made.add(track(6))
    assert await going(made, 1) == [5]
    await nothing_goes(made)
    made.answered(one)
    await nothing_goes(made)
    made.refused_for_now(other, 60_000, exhausted=False)
    assert await going(made, 1) == [6], "one place was the alert's"
    await nothing_goes(made)


async def test_recalls_that_wait_for_what_is_held_back_have_a_place_besides_as_well() -> None:
    def recall(seed: int, named: int) -> report_pb2.Report:
        return cancellation(seed, cancellation__report_ids=[report_id(named)])

    made = outbox(track(0, precedence=ROUTINE), recall(1, 0), recall(2, 1), in_flight=3)
    assert made.is_full()
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    for seed in range(3, 9):
        made.add(recall(seed, seed - 1))
    assert not made.is_full()
    made.add(all_clear(9))
    assert await going(made, 1) == [9]
    superseded = made.answered(9)
    assert superseded == list(range(9))
    for each in superseded:
        made.answered(each, accepted=False)
    for number in range(3):
        assert not made.is_full()
        made.add(track(number))
    assert made.is_full(), "nothing is left of those places"


async def test_who_waits_for_room_has_it_with_a_refusal_for_room_as_with_an_answer() -> None:
    made = outbox(track(0, precedence=ROUTINE), in_flight=1)
    for ends in (
        lambda: made.refused_for_now(0, 60_000, exhausted=True),
        lambda: made.answered(1),
    ):
        waiting = asyncio.create_task(made.room())
        number = (await going(made, 1))[0]
        assert not waiting.done()
        ends()
        async with asyncio.timeout(PATIENCE_S):
            await waiting
        made.add(launch_detection(number + 1))


# --- which warnings an all-clear ends


@pytest.mark.parametrize("later_s", [-1, 0, 1, 30])
async def test_a_warning_that_was_put_in_before_its_all_clear_is_superseded_whatever_its_time(later_s: int) -> None:
    """As it would be recalled had there been room."""
    warning, clear = track(0, precedence=ROUTINE), all_clear(1)
    warning.report_time.seconds = clear.report_time.seconds + later_s
    made = outbox(warning, clear)
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    assert await going(made, 1) == [1]
    assert made.answered(1) == [0]


async def test_a_loss_that_is_told_while_the_all_clear_is_under_way_counts() -> None:
    warning, clear = track(0, precedence=ROUTINE), all_clear(1)
    warning.report_time.seconds = clear.report_time.seconds + 1
    made = outbox(warning, clear)
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    assert await going(made, 1) == [1]
    made.has_lost = True
    assert made.answered(1) == []
    pass_time(91.0)
    assert await going(made, 1) == [0]


async def test_an_all_clear_goes_without_a_warning_that_the_gateway_cannot_take_now_and_supersedes_it() -> None:
    """Such as one whose station's clock is ahead: the gateway takes it when that time has come."""
    for comes_later in (False, True):
        warning, clear = track(0), all_clear(1)
        made = outbox(warning) if comes_later else outbox(warning, clear)
        assert await going(made, 1) == [0]
        await nothing_goes(made)
        made.refused_for_now(0, 60_000, exhausted=False)
        if comes_later:
            made.add(clear)
        assert await going(made, 1) == [1]
        pass_time(91.0)
        await nothing_goes(made)
        assert made.answered(1) == [0]
        made.answered(0, accepted=False)
        assert not made.unanswered


async def test_a_warning_that_one_all_clear_has_superseded_is_no_more_for_another_that_went_without_it() -> None:
    made = outbox(track(0, precedence=ROUTINE))
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    made.add(all_clear(1))
    made.add(all_clear(2))
    assert await going(made, 2) == [1, 2]
    assert made.answered(1) == [0]
    made.answered(0, accepted=False)
    assert made.answered(2) == []
    assert not made.unanswered
