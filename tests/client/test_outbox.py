"""The order in which a client's reports go, and when they go again."""

from __future__ import annotations

import asyncio

import pytest
from signalfire.v1 import c2_pb2, report_pb2

from gateway.client.errors import ClientError
from gateway.client.outbox import FRAME_BYTES, Outbox
from gateway.client.sending import _Pushing, _take, _write
from tests.client.steered import Answers, Context, Home, Reports, Steered
from tests.client.test_submit import submitted
from tests.patience import PATIENCE_S
from tests.reports.examples import all_clear, cancellation, correction, launch_detection, report_id, track

ROUTINE = report_pb2.PRECEDENCE_ROUTINE


def outbox(*reports: report_pb2.Report, in_flight: int = 1024, held_back: int = 1024) -> Outbox:
    made = Outbox(in_flight, held_back)
    for report in reports:
        made.add(report)
    return made


async def going(made: Outbox, count: int) -> list[int]:
    async with asyncio.timeout(PATIENCE_S):
        return [await made.next() for _ in range(count)]


async def nothing_goes(made: Outbox) -> None:
    task = asyncio.create_task(made.next())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def pass_time(seconds: float) -> None:
    """Sets the clock of the loop ahead: what waits for it is due at once."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds  # type: ignore[method-assign]


async def test_the_higher_precedence_goes_first_and_within_one_the_order_stays() -> None:
    made = outbox(
        track(0, precedence=ROUTINE), track(1), track(2, precedence=ROUTINE), launch_detection(3), track(4)
    )  # fmt: skip
    assert await going(made, 5) == [3, 1, 4, 0, 2]
    await nothing_goes(made)


async def test_what_goes_together_keeps_that_order_and_waits_for_nothing() -> None:
    made = outbox(*(track(number, precedence=ROUTINE) for number in range(4)), launch_detection(4))
    most = 3
    assert await made.together(most, 1 << 20) == [4, 0, 1]
    assert await made.together(most, 1 << 20) == [2, 3]
    await nothing_goes(made)
    made.add(launch_detection(5))
    assert await made.together(most, 1 << 20) == [5]


async def test_what_goes_together_is_bounded_in_bytes_and_one_goes_however_large() -> None:
    made = outbox(*(track(number) for number in range(5)))
    two = 2 * (track(0).ByteSize() + FRAME_BYTES)
    assert await made.together(256, two) == [0, 1]
    assert await made.together(256, two - 1) == [2]
    assert await made.together(256, 1) == [3]
    assert await made.together(256, 1) == [4]


async def test_what_is_held_back_or_waits_for_another_s_answer_goes_not_together_with_it() -> None:
    made = outbox(track(0, precedence=ROUTINE), cancellation(1, cancellation__report_ids=[report_id(0)]), track(2))
    assert await made.together(256, 1 << 20) == [0, 2]
    made.refused_for_now(2, 60_000, exhausted=True)
    made.add(track(3))
    made.add(launch_detection(4))
    assert await made.together(256, 1 << 20) == [4]
    made.answered(0)
    assert await made.together(256, 1 << 20) == [1]


async def test_what_recalls_goes_once_what_it_recalls_is_answered_which_goes_first() -> None:
    made = outbox(
        *(track(number, precedence=ROUTINE) for number in range(3)),
        cancellation(3, precedence=ROUTINE, cancellation__report_ids=[report_id(2)]),
        launch_detection(4),
    )
    assert await going(made, 2) == [2, 4]
    made.answered(2)
    assert await going(made, 3) == [3, 0, 1]


async def test_what_recalls_something_answered_before_goes_ahead_of_everything_else() -> None:
    made = outbox(
        track(0, precedence=ROUTINE), correction(1, precedence=ROUTINE, correction__report_ids=[report_id(9)])
    )
    assert await going(made, 2) == [1, 0]


async def test_an_all_clear_waits_for_its_own_event_alone() -> None:
    here, elsewhere = "JPN-2026-0001", "JPN-2026-0002"
    made = outbox(
        track(0, precedence=ROUTINE, event_id=elsewhere),
        track(1, precedence=ROUTINE, event_id=here),
        all_clear(2, precedence=ROUTINE, event_id=here),
        track(3, precedence=ROUTINE, event_id=here),
    )
    assert await going(made, 3) == [1, 0, 3]
    await nothing_goes(made)
    made.answered(1)
    assert await going(made, 1) == [2]


async def test_after_exhaustion_nothing_of_that_precedence_or_lower_goes_before_its_time_and_alerts_go_on() -> None:
    made = outbox(track(0), track(1), track(2, precedence=ROUTINE))
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 120_000, exhausted=True)
    await nothing_goes(made)
    made.add(launch_detection(3))
    assert await going(made, 1) == [3]
    # What the node said is not over yet; then it is, and up to half as long again.
    pass_time(90.0)
    await nothing_goes(made)
    pass_time(91.0)
    assert sorted(await going(made, 3)) == [0, 1, 2]


async def test_unavailable_holds_back_nothing_but_the_report() -> None:
    made = outbox(track(0), track(1))
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=False)
    assert await going(made, 1) == [1]
    await nothing_goes(made)
    pass_time(91.0)
    assert await going(made, 1) == [0]


async def test_a_new_connection_sends_everything_once_more_and_nothing_twice() -> None:
    made = outbox(*(track(number) for number in range(4)), cancellation(4, cancellation__report_ids=[report_id(1)]))
    assert await going(made, 2) == [1, 0]
    made.refused_for_now(0, 60_000, exhausted=False)
    made.answered(1)
    made.send_all_again()
    assert await going(made, 4) == [4, 0, 2, 3]
    # The time that the node had given passes: what was sent on the new connection does not go again.
    pass_time(91.0)
    await nothing_goes(made)


@pytest.mark.parametrize("most", [1, 3])
async def test_a_client_heeds_a_node_that_has_no_room_and_every_report_is_taken_once(
    home: Home, most: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that takes `most` reports in each twentieth of a second, and refuses the others until then."""
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    refused = 0

    async def little_room(service: Steered, reports: Reports, context: Context) -> Answers:
        nonlocal refused
        position = 0
        async for report in reports:
            now = loop.time()
            if sum(now - each < 0.05 for each in taken) >= most:
                refused += 1
                answer = c2_pb2.Refused(code=c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED, retry_after_ms=50)
                yield c2_pb2.Answer(position=position, report_id=report.report_id, refused=answer)
            else:
                taken.append(now)
                yield service.take(position, report.report_id)
            position += 1

    service = Steered([little_room])
    given = [track(number) for number in range(8)]
    async with home.serving(service) as address:
        results = await submitted(home, address, given)
    assert sorted(result.report_id for result in results) == sorted(report.report_id for report in given)
    assert all(result.accepted and not result.duplicate for result in results)
    # One that heeds what it is told does not come back by the hundred.
    assert refused <= len(given) ** 2
    assert caplog.text.count("the gateway holds reports back, which go again by themselves") == 1


# --- what is recalled while there is no room


async def test_a_recalled_report_that_finds_no_room_holds_back_its_own_precedence_and_no_alert() -> None:
    made = outbox(
        *(track(number, precedence=ROUTINE) for number in range(3)),
        cancellation(3, precedence=ROUTINE, cancellation__report_ids=[report_id(0), report_id(1)]),
    )
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    made.add(launch_detection(4))
    # The other that is recalled is of the precedence that has no room, though it goes as its recall.
    assert await going(made, 1) == [4]
    await nothing_goes(made)
    pass_time(91.0)
    assert sorted(await going(made, 3)) == [0, 1, 2]
    assert made.answered(0) == made.answered(1) == []
    assert await going(made, 1) == [3]


async def test_an_all_clear_goes_without_the_warnings_for_which_there_is_no_room_and_supersedes_them() -> None:
    made = outbox(*(track(number, precedence=ROUTINE) for number in range(3)), all_clear(3, precedence=ROUTINE))
    assert await going(made, 2) == [0, 1]
    made.refused_for_now(0, 60_000, exhausted=True)
    # One of them is under way still.
    await nothing_goes(made)
    made.answered(1)
    assert await going(made, 1) == [3]
    # The time that the node had given passes: the warnings do not go behind their recall.
    pass_time(91.0)
    await nothing_goes(made)
    made.send_all_again()
    assert await going(made, 1) == [3]
    assert sorted(made.answered(3)) == [0, 2]


async def test_an_all_clear_that_comes_while_there_is_no_room_goes_at_once() -> None:
    made = outbox(track(0, precedence=ROUTINE))
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    made.add(all_clear(1))
    made.add(all_clear(2))
    assert await going(made, 2) == [1, 2]
    assert made.answered(1, accepted=False) == []
    assert made.answered(2) == [0]


async def test_warnings_go_after_all_where_the_all_clear_is_refused_for_good() -> None:
    made = outbox(track(0, precedence=ROUTINE), all_clear(1))
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    assert await going(made, 1) == [1]
    assert made.answered(1, accepted=False) == []
    await nothing_goes(made)
    pass_time(91.0)
    assert await going(made, 1) == [0]
    made.answered(0)
    assert not made.unanswered


async def test_an_all_clear_supersedes_nothing_that_it_does_not_recall() -> None:
    exercise = report_pb2.TRAFFIC_CLASS_EXERCISE
    made = outbox(
        track(0, precedence=ROUTINE),
        track(1, precedence=ROUTINE, traffic_class=exercise),
        track(2, precedence=ROUTINE, event_id="another"),
        all_clear(3),
    )
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    assert await going(made, 1) == [3]
    assert made.answered(3) == [0]
    pass_time(91.0)
    assert await going(made, 2) == [1, 2]


@pytest.mark.parametrize("comes_later", [False, True])
@pytest.mark.parametrize(("later_ns", "superseded"), [(-1, [0, 1]), (0, [0, 1]), (1, []), (2_000_000_000, [])])
async def test_after_a_loss_a_warning_that_is_later_than_the_all_clear_goes_after_it_and_what_recalls_it_after_that(
    later_ns: int, superseded: list[int], comes_later: bool
) -> None:
    clear = all_clear(2)
    warning = track(0, precedence=ROUTINE)
    warning.report_time.FromNanoseconds(clear.report_time.ToNanoseconds() + later_ns)
    recall = cancellation(1, cancellation__report_ids=[warning.report_id])
    made = outbox(warning, recall) if comes_later else outbox(warning, recall, clear)
    made.has_lost = True
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    if comes_later:
        made.add(clear)
    assert await going(made, 1) == [2], "it waits for no warning that finds no room"
    assert made.answered(2) == superseded
    for each in superseded:
        made.answered(each, accepted=False)
    await nothing_goes(made)
    pass_time(91.0)
    if not superseded:
        assert await going(made, 1) == [0]
        made.answered(0)
        assert await going(made, 1) == [1]
        made.answered(1)
    assert not made.unanswered


async def test_after_a_loss_of_two_all_clears_the_one_that_is_no_earlier_than_a_warning_supersedes_it() -> None:
    later = all_clear(2)
    later.report_time.seconds += 2
    warning = track(0, precedence=ROUTINE)
    warning.report_time.seconds += 1
    made = outbox(warning, all_clear(1), later)
    made.has_lost = True
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    assert await going(made, 2) == [1, 2]
    assert made.answered(1) == []
    pass_time(91.0)
    await nothing_goes(made)
    assert made.answered(2) == [0]


# --- recalls that name what was superseded, or each other


async def test_a_recall_of_nothing_but_what_was_superseded_is_superseded_with_it() -> None:
    made = outbox(
        track(0, precedence=ROUTINE),
        track(1, precedence=ROUTINE),
        cancellation(2, cancellation__report_ids=[report_id(0), report_id(1)]),
        correction(3, correction__report_ids=[report_id(2)]),
        all_clear(4),
    )
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    assert await going(made, 1) == [4]
    superseded = made.answered(4)
    assert superseded == [0, 1, 2, 3], "what recalls the recall as well"
    for each in superseded:
        assert made.answered(each, accepted=False) == []
    assert not made.unanswered
    await nothing_goes(made)


async def test_a_recall_goes_where_it_names_anything_that_was_not_superseded() -> None:
    made = outbox(
        track(0, precedence=ROUTINE),
        track(1, precedence=ROUTINE, event_id="another"),
        cancellation(2, cancellation__report_ids=[report_id(0), report_id(1)]),
        cancellation(3, cancellation__report_ids=[report_id(0), report_id(9)]),
        all_clear(4),
    )
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    assert await going(made, 1) == [4]
    assert made.answered(4) == [0]
    made.answered(0, accepted=False)
    assert await going(made, 1) == [3], "the node may know the other"
    pass_time(91.0)
    assert await going(made, 1) == [1]
    made.answered(1)
    assert await going(made, 1) == [2]


async def test_a_recall_of_two_events_is_superseded_once_the_all_clears_of_both_are_accepted() -> None:
    made = outbox(
        track(0, precedence=ROUTINE),
        track(1, precedence=ROUTINE, event_id="another"),
        cancellation(2, cancellation__report_ids=[report_id(0), report_id(1)]),
        all_clear(3),
        all_clear(4, event_id="another"),
    )
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    assert await going(made, 2) == [3, 4]
    assert made.answered(3) == [0]
    made.answered(0, accepted=False)
    assert made.answered(4) == [1, 2]


async def test_a_recall_goes_where_what_was_superseded_is_put_in_again_and_accepted() -> None:
    made = outbox(
        track(0, precedence=ROUTINE),
        track(1, precedence=ROUTINE, event_id="another"),
        cancellation(2, cancellation__report_ids=[report_id(0), report_id(1)]),
        all_clear(3),
        all_clear(4, event_id="another"),
    )
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=True)
    assert await going(made, 2) == [3, 4]
    assert made.answered(3) == [0]
    made.answered(0, accepted=False)
    made.add(track(0, precedence=ROUTINE))
    pass_time(91.0)
    assert await going(made, 1) == [5]
    made.answered(5)
    assert made.answered(4) == [1]
    made.answered(1, accepted=False)
    assert await going(made, 1) == [2]


async def test_a_recall_that_is_under_way_is_answered_by_the_node_whatever_it_names() -> None:
    made = outbox(cancellation(0, cancellation__report_ids=[report_id(1)]))
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 0, exhausted=False)
    assert await going(made, 1) == [0]
    made.add(track(1, precedence=ROUTINE))
    made.add(all_clear(2))
    assert await going(made, 1) == [1]
    made.refused_for_now(1, 60_000, exhausted=True)
    assert await going(made, 1) == [2]
    assert made.answered(2) == [1]
    made.answered(1, accepted=False)
    assert list(made.unanswered) == [0]


async def test_a_client_gives_back_a_recall_with_what_was_superseded_and_does_not_send_it(home: Home) -> None:
    warning = track(0, precedence=ROUTINE)
    recall = cancellation(1, cancellation__report_ids=[warning.report_id])
    clear = all_clear(2)

    async def flash_alone(service: Steered, reports: Reports, context: Context) -> Answers:
        position = 0
        async for report in reports:
            if report.report_id == warning.report_id:
                full = c2_pb2.Refused(code=c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED, retry_after_ms=60_000)
                yield c2_pb2.Answer(position=position, report_id=report.report_id, refused=full)
            else:
                yield service.take(position, report.report_id)
            position += 1

    service = Steered([flash_alone])
    async with home.serving(service) as address:
        results = await submitted(home, address, [warning, recall, clear])
    assert {result.report_id: (result.accepted, result.superseded_by) for result in results} == {
        warning.report_id: (False, clear.report_id),
        recall.report_id: (False, clear.report_id),
        clear.report_id: (True, ""),
    }
    assert recall.report_id not in service.seen


@pytest.mark.parametrize("ring", [2, 3, 5])
async def test_recalls_that_name_each_other_in_a_ring_do_not_wait_for_ever(ring: int) -> None:
    """While the node asks for what it has lost: the first names the last, and each other one the one before it."""
    made = outbox(cancellation(0, cancellation__report_ids=[report_id(ring - 1)]))
    assert await going(made, 1) == [0]
    made.refused_for_now(0, 60_000, exhausted=False)
    for number in range(1, ring):
        named = [report_id(number - 1)]
        made.add(correction(number, correction__report_ids=named))
    await nothing_goes(made)
    for _ in range(2):
        pass_time(91.0)
        assert await going(made, 1) == [0]
        made.refused_for_now(0, 60_000, exhausted=False)
    pass_time(91.0)
    assert await going(made, 1) == [0]
    for number in range(ring):
        made.answered(number, accepted=False)
        assert await going(made, 1) == [number + 1] if number + 1 < ring else not made.unanswered


async def test_what_was_answered_is_not_kept_however_long_a_stream_lasts() -> None:
    """Kept is which report stands at which position, until its answer."""
    made = outbox(*(track(number) for number in range(50)))
    sent: dict[int, int] = {}
    pushing = _Pushing(100, None)
    pushing.outbox = made

    written: asyncio.Queue[report_pb2.Report] = asyncio.Queue()

    class Call:
        async def write(self, request: c2_pb2.SubmitRequest) -> None:
            """Takes it."""
            for report in request.reports:
                written.put_nowait(report)

    writing = asyncio.create_task(_write(Call(), made, sent))
    for position in range(50):
        async with asyncio.timeout(PATIENCE_S):
            report = await written.get()
        answer = c2_pb2.Answer(position=position, report_id=report.report_id)
        if position % 2:
            answer.refused.code = c2_pb2.REFUSAL_CODE_UNAVAILABLE
            answer.refused.retry_after_ms = 60_000
        else:
            answer.accepted.duplicate = False
        _take(c2_pb2.SubmitResponse(answers=[answer]), pushing, sent)
    assert not sent
    with pytest.raises(ClientError, match="answered report 7"):
        _take(c2_pb2.SubmitResponse(answers=[c2_pb2.Answer(position=7)]), pushing, sent)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
