"""What a subscriber receives: all of it, once, in order, and nothing that he did not ask for or may not read."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from signalfire.v1 import c2_pb2, report_pb2

from gateway.client import CaughtUp, Client, ClientError, Credentials, Picture, Received, Withdrawn
from gateway.demo.deployment import GATEWAY_NAME
from gateway.identity.spiffe import Role, SpiffeId, dns_name
from gateway.reports.kinds import Kind
from tests.node.nations import NARROW, World, cancellation, report, running, settle
from tests.node.waiting import EVERY_CLASS
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIVE, EXERCISE, TEST = EVERY_CLASS


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Two nations, for all tests here."""
    places = settle(Path(tmp_path_factory.mktemp("nations")), "JPN", "KOR")
    async with running(places) as running_world:
        yield running_world


async def position(world: World, name: str = "KOR") -> str:
    """The cursor of the end of the feed as it is now."""
    return (await world.collect(name))[-1].cursor


def named(items: list[Received | Withdrawn | CaughtUp]) -> list[str]:
    """Identifiers of the reports and withdrawals, in order."""
    return [
        item.report.report_id if isinstance(item, Received) else f"-{item.report_id}"
        for item in items
        if not isinstance(item, CaughtUp)
    ]


async def released(world: World, *reports: report_pb2.Report) -> list[str]:
    """Pushes reports at JPN, and returns their identifiers once KOR has them all."""
    results = await world.push("JPN", *reports)
    assert all(result.accepted for result in results.values())
    for each in reports:
        await world.inboxes["KOR"].report(each.report_id)
    return [each.report_id for each in reports]


async def take(world: World, count: int, cursor: str, **options: Any) -> list[Received | Withdrawn | CaughtUp]:
    """The first `count` reports and withdrawals after a cursor; then the subscription is cut off."""
    taken: list[Received | Withdrawn | CaughtUp] = []
    subscription = world.places["KOR"].client("command").subscribe(EVERY_CLASS, cursor=cursor, **options)
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(subscription) as items:  # type: ignore[type-var]
        async for item in items:
            if isinstance(item, CaughtUp):
                continue
            taken.append(item)
            if len(taken) == count:
                break
    return taken


# --- cursors


async def test_a_subscription_cut_off_anywhere_and_resumed_gives_everything_once_and_in_order(world: World) -> None:
    start = await position(world)
    reports = [report(kind) for kind in (Kind.LAUNCH_DETECTION, Kind.TRACK, Kind.IMPACT_PREDICTION) for _ in range(6)]
    ids = await released(world, *reports)
    recall = cancellation(ids[3], ids[8])
    await released(world, recall)
    await world.inboxes["KOR"].withdrawal(ids[8])
    whole = named(await world.collect("KOR", cursor=start))
    assert len(set(whole)) == len(whole) == 21
    assert set(whole) == {*ids, recall.report_id, f"-{ids[3]}", f"-{ids[8]}"}

    for stop in range(1, len(whole)):
        begun = await take(world, stop, start)
        rest = await world.collect("KOR", cursor=begun[-1].cursor)
        assert named(begun) + named(rest) == whole, f"cut off after {stop}"

    chance = random.Random(20)
    for _ in range(5):
        pieces: list[str] = []
        cursor = start
        while len(pieces) < len(whole):
            piece = await take(world, chance.randint(1, min(6, len(whole) - len(pieces))), cursor)
            pieces += named(piece)
            cursor = piece[-1].cursor
        assert pieces == whole


async def test_a_filtered_subscription_resumes_as_exactly(world: World) -> None:
    start = await position(world)
    await released(world, *(report(kind) for _ in range(5) for kind in (Kind.TRACK, Kind.LAUNCH_DETECTION)))
    wanted = {"kinds": [c2_pb2.REPORT_KIND_TRACK]}
    whole = named(await world.collect("KOR", cursor=start, **wanted))
    assert len(whole) == 5
    for stop in range(1, 5):
        begun = await take(world, stop, start, **wanted)
        assert named(begun) + named(await world.collect("KOR", cursor=begun[-1].cursor, **wanted)) == whole


async def test_the_cursor_of_caught_up_resumes_after_all_that_came_before(world: World) -> None:
    await released(world, report())
    end = await position(world)
    assert named(await world.collect("KOR", cursor=end)) == []
    after = await released(world, report())
    assert named(await world.collect("KOR", cursor=end)) == after


async def test_a_cursor_that_is_none_of_this_store_is_refused_with_what_to_do(world: World) -> None:
    store, _, number = (await position(world)).partition(":")
    foreign = await position(world, "JPN")
    for cursor, problem in {
        "nonsense": "is none",
        f"{store}:-1": "is none",
        f"{store}:007": "is none",
        f"{store}:": "is none",
        f"{store.upper()}:{number} ": "is none",
        f"{store}:{10**18}": "ahead of this gateway's store",
        f"{'0' * 16}:1": "no run that",
        foreign: "no run that",
    }.items():
        with pytest.raises(ClientError, match=problem):
            await world.collect("KOR", cursor=cursor)
    await world.carries("JPN", "KOR")


# --- what is asked for, and what is granted


async def test_whoever_names_no_traffic_class_receives_nothing_but_the_reason(world: World) -> None:
    with pytest.raises(ClientError, match="traffic_classes is empty"):
        await world.collect("KOR", [])


async def test_a_traffic_class_that_is_not_granted_is_refused_by_name(world: World) -> None:
    with pytest.raises(ClientError, match="no grant to read TRAFFIC_CLASS_TEST"):
        await world.collect("KOR", [LIVE, TEST], system=NARROW)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"classes": [7]}, "traffic_classes: 7"),
        ({"kinds": [0]}, "kinds: 0"),
        ({"kinds": [99]}, "kinds: 99"),
        ({"minimum_precedence": 9}, "minimum_precedence: 9"),
        ({"originator_nodes": ["Japan"]}, "originator_nodes: 'Japan'"),
    ],
)
async def test_a_filter_that_the_contract_does_not_define_is_refused(
    world: World, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ClientError, match=problem):
        await world.collect("KOR", **options)


async def test_live_exercise_and_test_never_cross(world: World) -> None:
    starts = {name: await position(world, name) for name in ("JPN", "KOR")}
    made = {each: report(traffic_class=each) for each in EVERY_CLASS}
    await released(world, made[LIVE], made[EXERCISE])
    assert (await world.push_one("JPN", made[TEST])).accepted  # the policy withholds tests: it stays at home
    for each, own in made.items():
        abroad = [] if each == TEST else [own.report_id]
        assert named(await world.collect("KOR", [each], cursor=starts["KOR"])) == abroad
        home = await world.collect("JPN", [each], cursor=starts["JPN"], include_own=True)
        assert named(home) == [own.report_id]

    # A report is recalled within its own class alone, and its withdrawal goes with that class.
    crossing = await world.push_one("JPN", cancellation(made[EXERCISE].report_id, traffic_class=LIVE))
    assert crossing.code == c2_pb2.REFUSAL_CODE_NOT_GRANTED
    await world.push_one("JPN", cancellation(made[EXERCISE].report_id, traffic_class=EXERCISE))
    await world.inboxes["KOR"].withdrawal(made[EXERCISE].report_id)
    assert f"-{made[EXERCISE].report_id}" in named(await world.collect("KOR", [EXERCISE], cursor=starts["KOR"]))
    assert f"-{made[EXERCISE].report_id}" not in named(await world.collect("KOR", [LIVE], cursor=starts["KOR"]))


async def test_kinds_originators_and_precedence_are_filters(world: World) -> None:
    start = await position(world)
    flash, track, routine = report(), report(Kind.TRACK), report(Kind.TRACK, precedence=report_pb2.PRECEDENCE_ROUTINE)
    await released(world, flash, track, routine)
    own = report(node="KOR")
    await world.push_one("KOR", own)

    async def receives(**options: Any) -> set[str]:
        return set(named(await world.collect("KOR", cursor=start, **options)))

    theirs = {flash.report_id, track.report_id, routine.report_id}
    assert await receives() == theirs
    assert await receives(include_own=True) == theirs | {own.report_id}
    assert await receives(kinds=[c2_pb2.REPORT_KIND_TRACK]) == {track.report_id, routine.report_id}
    assert await receives(minimum_precedence=report_pb2.PRECEDENCE_IMMEDIATE) == {flash.report_id, track.report_id}
    assert await receives(minimum_precedence=report_pb2.PRECEDENCE_FLASH) == {flash.report_id}
    assert await receives(originator_nodes=["JPN"], include_own=True) == theirs
    assert await receives(originator_nodes=["KOR"], include_own=True) == {own.report_id}
    assert await receives(originator_nodes=["KOR"]) == set()
    assert await receives(originator_nodes=["USA"]) == set()

    await world.push_one("JPN", cancellation(track.report_id))
    await world.inboxes["KOR"].withdrawal(track.report_id)
    # A withdrawal comes whatever kinds are wanted.
    assert f"-{track.report_id}" in await receives(kinds=[c2_pb2.REPORT_KIND_LAUNCH_DETECTION])


async def test_whoever_filters_learns_of_the_recall_of_own_reports_nevertheless(world: World) -> None:
    start = await position(world)
    routine = report_pb2.PRECEDENCE_ROUTINE
    launch, track = (report(kind, "KOR", event_id="KOR-recalled") for kind in (Kind.LAUNCH_DETECTION, Kind.TRACK))
    over = report(Kind.ALL_CLEAR, "KOR", event_id="KOR-recalled", precedence=routine)
    for each in (launch, track, over):
        assert (await world.push_one("KOR", each)).accepted
    wanted: dict[str, Any] = {
        "kinds": [c2_pb2.REPORT_KIND_LAUNCH_DETECTION],
        "minimum_precedence": report_pb2.PRECEDENCE_FLASH,
    }
    items = await world.collect("KOR", cursor=start, include_own=True, **wanted)
    assert named(items) == [launch.report_id, over.report_id]
    picture = Picture()
    for item in items:
        picture.take(item)
    shown = picture.get("KOR", launch.report_id)
    assert shown is not None
    assert shown.withdrawn
    assert named(await world.collect("KOR", cursor=start, **wanted)) == []


async def test_what_lies_above_the_ceiling_or_bears_other_caveats_is_hidden_with_its_withdrawal(world: World) -> None:
    confidential = report_pb2.CLASSIFICATION_CONFIDENTIAL
    start = await position(world)
    shown = report(marking__classification=confidential)
    with_caveat = report(marking__classification=confidential, marking__caveats=["SPACE-DERIVED"])
    too_high = report(marking__classification=report_pb2.CLASSIFICATION_SECRET)
    other_caveat = report(marking__classification=confidential, marking__caveats=["SPACE-DERIVED", "KOR-USA ONLY"])
    everything = await released(world, shown, with_caveat, too_high, other_caveat)
    await world.push_one("JPN", cancellation(*everything))
    for report_id in everything:
        await world.inboxes["KOR"].withdrawal(report_id)

    seen = set(named(await world.collect("KOR", [LIVE], cursor=start, system=NARROW)))
    # The cancellation itself is SECRET, as reports made here are unless they say otherwise.
    assert seen == {
        *(shown.report_id, with_caveat.report_id),
        *(f"-{shown.report_id}", f"-{with_caveat.report_id}"),
    }
    full = named(await world.collect("KOR", [LIVE], cursor=start))
    assert {*everything, *(f"-{each}" for each in everything)} <= set(full)


async def test_own_reports_stay_hidden_above_the_ceiling_as_well(world: World) -> None:
    start = await position(world, "JPN")
    low = report(marking__classification=report_pb2.CLASSIFICATION_RESTRICTED)
    high = report(marking__classification=report_pb2.CLASSIFICATION_TOP_SECRET)
    await world.push("JPN", low, high)
    assert named(await world.collect("JPN", [LIVE], cursor=start, system=NARROW, include_own=True)) == [low.report_id]


# --- catching up, and then live


async def test_caught_up_is_announced_once_and_what_follows_is_live(world: World) -> None:
    # One report in every lane: what other tests have sent has arrived before them.
    lanes = [value for value in report_pb2.Precedence.values() if value]
    await released(world, *(report(Kind.TRACK, precedence=lane) for lane in lanes))
    start = await position(world)
    before = await released(world, report(), report())
    items: list[Received | Withdrawn | CaughtUp] = []
    after: list[str] = []
    subscription = world.places["KOR"].client("command").subscribe(EVERY_CLASS, cursor=start)
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(subscription) as stream:  # type: ignore[type-var]
        async for item in stream:
            items.append(item)
            if isinstance(item, CaughtUp):
                after = await released(world, report(), report(), report())
            if len(items) == 6:
                break
    assert [isinstance(item, CaughtUp) for item in items] == [False, False, True, False, False, False]
    assert named(items) == before + after


async def test_whoever_catches_up_while_reports_come_misses_and_doubles_none(world: World) -> None:
    start = await position(world)
    await released(world, *(report(Kind.TRACK) for _ in range(300)))  # more than is read from the store at once
    live = [report(Kind.TRACK) for _ in range(300)]

    async def push() -> None:
        for at in range(0, 300, 20):
            await world.push("JPN", *live[at : at + 20])

    pushing = asyncio.create_task(push())
    items = await take(world, 600, start)
    await pushing
    ids = named(items)
    assert len(set(ids)) == 600
    assert set(ids[300:]) == {each.report_id for each in live}
    assert ids == named(await world.collect("KOR", cursor=start))


async def test_many_subscribers_at_different_places_receive_the_same(world: World) -> None:
    start = await position(world)
    ids = await released(world, *(report() for _ in range(6)))
    cursors = [start, *(item.cursor for item in await take(world, 5, start))]
    waiting = [asyncio.create_task(take(world, 7 - place, cursor)) for place, cursor in enumerate(cursors)]
    last = await released(world, report())
    for place, items in enumerate(await asyncio.gather(*waiting)):
        assert named(items) == [*ids[place:], *last]


async def test_the_number_of_subscriptions_of_one_system_is_bounded_and_freed_again(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", limits={"c2": {"subscriptions": 2}})
    async with running(places, "JPN", linked=False) as world:
        # Its inbox is the first.
        inbox = world.inboxes["JPN"]
        await inbox.holds(lambda: any(isinstance(item, CaughtUp) for item in inbox.items), "its subscription")
        held = world.places["JPN"].client("command").subscribe(EVERY_CLASS)
        async with contextlib.aclosing(held):  # type: ignore[type-var]
            assert isinstance(await anext(held), CaughtUp)
            told: asyncio.Queue[str] = asyncio.Queue()
            place = world.places["JPN"]
            credentials = Credentials.from_directory(place.directory / "c2" / "command")
            server = dns_name(SpiffeId.of("JPN", Role.GATEWAY, GATEWAY_NAME))
            third = Client(credentials, place.national, server, on_trouble=told.put_nowait)
            waiting = asyncio.create_task(all_of(third.subscribe(EVERY_CLASS, follow=False)))
            async with asyncio.timeout(PATIENCE_S):
                # One that lost its connection may still count for a while: a client waits, and says why.
                assert "2 subscriptions open" in await told.get()
            assert not waiting.done()
        async with asyncio.timeout(PATIENCE_S):
            assert isinstance((await waiting)[-1], CaughtUp)


async def all_of(subscription: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in subscription]


# --- marks on a delivery


async def test_a_late_subscriber_is_told_that_a_report_was_withdrawn_and_an_early_one_was_not(world: World) -> None:
    start = await position(world)
    stands, recalled = report(), report()
    await released(world, stands, recalled)
    assert not world.inboxes["KOR"].reports[recalled.report_id].withdrawn
    await world.push_one("JPN", cancellation(recalled.report_id))
    await world.inboxes["KOR"].withdrawal(recalled.report_id)
    late = {
        item.report.report_id: item.withdrawn
        for item in await world.collect("KOR", cursor=start)
        if isinstance(item, Received)
    }
    assert late[recalled.report_id]
    assert not late[stands.report_id]


async def test_a_late_subscriber_to_own_reports_is_told_which_were_recalled(world: World) -> None:
    start = await position(world, "JPN")
    stands, recalled = report(), report()
    await world.push("JPN", stands, recalled)
    await world.push_one("JPN", cancellation(recalled.report_id))
    late = {
        item.report.report_id: item.withdrawn
        for item in await world.collect("JPN", cursor=start, include_own=True)
        if isinstance(item, Received)
    }
    assert late[recalled.report_id]
    assert not late[stands.report_id]


async def test_decisions_are_counted_by_partner_and_outcome(world: World) -> None:
    def counted(outcome: str) -> float:
        return world.metric("JPN", "signalfire_decisions_total", partner="KOR", outcome=outcome)

    released_before, withheld_before = counted("released"), counted("withheld")
    sent = report()
    await world.push_one("JPN", sent)
    await world.push_one("JPN", sent)
    await world.push_one("JPN", report(marking__releasable_to=["USA"]))
    assert (counted("released"), counted("withheld")) == (released_before + 1, withheld_before + 1)


async def test_a_delivery_is_pending_until_the_post_quantum_line_has_come(world: World) -> None:
    sent = await world.carries("JPN", "KOR")
    delivered = world.inboxes["KOR"].reports[sent.report_id]

    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = next(
                item
                for item in await world.collect("KOR")
                if isinstance(item, Received) and item.report.report_id == sent.report_id
            )
            if not found.pq_pending:
                break
    assert (found.ledger, found.index) == (delivered.ledger, delivered.index)
    row = world.ledger("KOR", found.ledger)
    assert row is not None
    ledger = next(each for each in world.nodes["KOR"].status().ledgers if each.origin == found.ledger)
    assert found.index < ledger.pq_size <= row.size
