"""What waits for its commit: who is next, who has room, and what never happens to an order."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from gateway.ledger.origin import Lane, Origin
from gateway.release.ranks import Rank, rank_of_lane, rank_of_report
from gateway.release.waiting import ALERTS_IN_A_ROW, KEPT_FOR_LOWER, LEAST, SHARE, Place, Waiting
from gateway.reports.kinds import Kind

STEPS, BYTES = 64, 1 << 20
MANY = 1 << 30


@dataclass(frozen=True, slots=True)
class Item:
    """What waits here: whose, at which rank it came, and the how manyth of all."""

    source: str
    rank: Rank
    number: int
    weight: int = 100


def waiting(steps: int = 1000, bytes: int = MANY) -> Waiting[Item]:
    return Waiting(steps, bytes)


def put(queue: Waiting[Item], item: Item, *, bounded: bool = False) -> Item:
    queue.add(item, item.rank, item.source, item.weight, bounded=bounded)
    return item


def many(queue: Waiting[Item], count: int, rank: Rank, source: str = "a", weight: int = 100) -> list[Item]:
    return [put(queue, Item(source, rank, number, weight)) for number in range(count)]


def items(places: Sequence[Place[Item]]) -> list[Item]:
    return [place.item for place in places]


def emptied(queue: Waiting[Item], steps: int = STEPS, bytes: int = BYTES) -> list[list[Item]]:
    """Every commit until nothing waits."""
    commits = []
    while len(queue):
        commits.append(items(queue.take(steps, bytes)))
    return commits


RANKS = st.sampled_from(list(Rank))
ITEM = st.tuples(st.sampled_from("abc"), RANKS, st.integers(0, 5000))
ITEMS = st.lists(ITEM, max_size=80).map(
    lambda found: [Item(source, rank, number, weight) for number, (source, rank, weight) in enumerate(found)]
)


# --- nothing is lost or turned round


@given(ITEMS, st.integers(1, 20), st.integers(1, 10_000), st.randoms(use_true_random=False))
def test_whatever_comes_goes_once_and_what_a_source_brings_at_one_rank_keeps_its_order(
    given: list[Item], steps: int, bytes: int, chance: object
) -> None:
    queue = waiting()
    gone: list[Item] = []
    left = iter(given)
    for item in left:
        put(queue, item)
        if chance.random() < 0.3:  # type: ignore[attr-defined]
            taken = queue.take(steps, bytes)
            done = chance.randint(1, len(taken))  # type: ignore[attr-defined]
            # A commit ends before it is full: the rest goes back to the front.
            queue.put_back(taken[done:])
            gone += items(taken[:done])
    gone += itertools.chain.from_iterable(emptied(queue, steps, bytes))
    assert Counter(gone) == Counter(given)
    lines = defaultdict(list)
    for item in gone:
        lines[item.source, item.rank].append(item.number)
    assert all(line == sorted(line) for line in lines.values())
    assert (len(queue), queue.alerts, queue.bytes) == (0, 0, 0)


@given(ITEMS, st.integers(1, 20), st.integers(1, 10_000))
def test_a_commit_is_bounded_in_steps_and_in_bytes(given: list[Item], steps: int, bytes: int) -> None:
    queue = waiting()
    for item in given:
        put(queue, item)
    for commit in emptied(queue, steps, bytes):
        assert 1 <= len(commit) <= steps
        # The last one may go beyond, or the first alone.
        assert sum(item.weight for item in commit[:-1]) < bytes or len(commit) == 1


@given(ITEMS, st.integers(1, 20))
def test_a_commit_with_an_alert_holds_alerts_and_own_steps_alone(given: list[Item], steps: int) -> None:
    queue = waiting()
    for item in given:
        put(queue, item)
    for commit in emptied(queue, steps):
        ranks = {item.rank for item in commit}
        assert Rank.FLASH not in ranks or ranks <= {Rank.FLASH, Rank.OWN}


def test_what_is_drained_is_all_there_is() -> None:
    queue = waiting()
    put_in = [*many(queue, 3, Rank.ROUTINE), *many(queue, 2, Rank.FLASH), *many(queue, 2, Rank.OWN, "")]
    assert Counter(queue.drain()) == Counter(put_in)
    assert len(queue) == 0


# --- precedence


def test_an_alert_is_in_the_next_commit_however_much_waits() -> None:
    queue = waiting(steps=MANY)
    many(queue, 100_000, Rank.ROUTINE)
    many(queue, 1000, Rank.IMMEDIATE, "b")
    alert = put(queue, Item("a", Rank.FLASH, 0))
    assert items(queue.take(STEPS, BYTES)) == [alert]


def test_without_alerts_the_higher_rank_goes_first_and_each_eighth_step_is_of_a_lower_one() -> None:
    queue = waiting()
    many(queue, 200, Rank.IMMEDIATE)
    many(queue, 200, Rank.ROUTINE, "b")
    many(queue, 200, Rank.SPARE, "")
    taken = items(queue.take(128, MANY))
    assert Counter(item.rank for item in taken) == {Rank.IMMEDIATE: 112, Rank.ROUTINE: 14, Rank.SPARE: 2}
    assert [item.rank for item in taken[:8]] == [Rank.IMMEDIATE] * 7 + [Rank.ROUTINE]


@pytest.mark.parametrize("steps", [1, 3, 40])
def test_lower_ranks_get_their_eighth_though_each_commit_ends_early(steps: int) -> None:
    queue = waiting(steps=MANY)
    many(queue, 5000, Rank.PRIORITY)
    many(queue, 100, Rank.ROUTINE, "b")
    gone: list[Item] = []
    while len(gone) < 400:
        taken = queue.take(1024, MANY)
        queue.put_back(taken[steps:])
        gone += items(taken[:steps])
    routine = sum(item.rank is Rank.ROUTINE for item in gone)
    assert routine == len(gone) // KEPT_FOR_LOWER


def test_alerts_that_do_not_fit_take_no_turn_from_lower_ranks() -> None:
    queue = waiting(steps=MANY)
    many(queue, 2000, Rank.PRIORITY)
    many(queue, 100, Rank.ROUTINE, "b")
    gone: list[Item] = []
    for _ in range(40):
        # Each alert is followed by a commit of four others, and as many alerts went back as there were others.
        many(queue, 5, Rank.FLASH, "c")
        queue.put_back(queue.take(STEPS, MANY)[1:])
        items(queue.take(STEPS, MANY))
        taken = queue.take(1024, MANY)
        queue.put_back(taken[4:])
        gone += items(taken[:4])
    assert sum(item.rank is Rank.ROUTINE for item in gone) == len(gone) // KEPT_FOR_LOWER


def test_others_that_gave_way_to_an_alert_have_not_had_their_commit() -> None:
    queue = waiting()
    many(queue, 50, Rank.ROUTINE)
    put(queue, Item("a", Rank.FLASH, 0))
    ranks = []
    for number in range(1, ALERTS_IN_A_ROW + 2):
        ranks += [item.rank for item in items(queue.take(1, MANY))]
        if ranks[-1] is Rank.FLASH:
            others = queue.take(STEPS, MANY)
            put(queue, Item("a", Rank.FLASH, number))
            # Before its first step, or after it.
            queue.put_back(others[number % 2 :], gave_way=True)
    assert ranks == [Rank.FLASH] * ALERTS_IN_A_ROW + [Rank.ROUTINE]


def test_what_is_put_back_keeps_its_turn_among_sources() -> None:
    queue = waiting(steps=MANY)
    # Much has gone through, so virtual time has come far.
    for source in ("a", "b"):
        many(queue, 50, Rank.ROUTINE, source)
    for _ in range(1000):
        many(queue, 1, Rank.ROUTINE, "a")
        many(queue, 1, Rank.ROUTINE, "b")
        queue.take(2, MANY)
        queue.put_back(())
    taken = queue.take(MANY, MANY)
    assert len(taken) == 100
    many(queue, 50, Rank.ROUTINE, "c")
    queue.put_back(taken)
    served: Counter[str] = Counter()
    for _ in range(200):
        # All three always have some waiting.
        for source in ("a", "b", "c"):
            many(queue, 1, Rank.ROUTINE, source)
        served.update(item.source for item in items(queue.take(1, MANY)))
        queue.put_back(())
    # What came while they were taken goes after them, and then in its turn.
    assert min(served.values()) >= 33, served


def test_what_is_put_back_goes_before_all_that_comes_after_it() -> None:
    queue = waiting(steps=MANY)
    for number in range(4000):
        put(queue, Item("b", Rank.ROUTINE, number, 600))
    while len(queue):
        queue.take(100, MANY)
    large = put(queue, Item("a", Rank.ROUTINE, 0, 10_240))
    many(queue, 20, Rank.ROUTINE, "c")
    gone: list[Item] = []
    while large not in gone:
        # A busy node takes more than fits, and as many come meanwhile as went in.
        taken = queue.take(40, MANY)
        many(queue, 20, Rank.ROUTINE, "c")
        queue.put_back(taken[20:])
        gone += items(taken[:20])
        assert len(gone) <= 100


def test_who_comes_while_much_is_put_back_does_not_wait_behind_all_of_it() -> None:
    queue = waiting(steps=MANY)
    many(queue, 500, Rank.ROUTINE, "a")
    queue.put_back(queue.take(64, MANY))
    many(queue, 1, Rank.ROUTINE, "b")
    assert "b" in {item.source for item in items(queue.take(3, MANY))}


def test_alerts_without_end_let_the_others_have_a_commit_now_and_then() -> None:
    queue = waiting()
    many(queue, 10, Rank.ROUTINE)
    commits = []
    for number in range(2 * ALERTS_IN_A_ROW + 2):
        put(queue, Item("b", Rank.FLASH, number))
        commits.append({item.rank for item in items(queue.take(2, MANY))})
    assert [place for place, ranks in enumerate(commits) if Rank.FLASH not in ranks] == [
        ALERTS_IN_A_ROW, 2 * ALERTS_IN_A_ROW + 1
    ]  # fmt: skip


def test_alerts_alone_never_give_way_to_nothing() -> None:
    queue = waiting()
    for number in range(3 * ALERTS_IN_A_ROW):
        put(queue, Item("a", Rank.FLASH, number))
        assert len(queue.take(STEPS, BYTES)) == 1


def test_the_ranks_of_reports_and_lanes_are_those_of_their_precedence() -> None:
    for lane in Lane:
        precedence = report_pb2.Precedence.Value(f"PRECEDENCE_{lane.name}")
        rank = rank_of_lane(Origin.release("JPN", "KOR", lane, 1))
        assert rank == rank_of_report(precedence, Kind.TRACK) == Rank[lane.name]
    assert rank_of_lane(Origin.witness("JPN", 1)) is Rank.PRIORITY
    assert rank_of_report(report_pb2.PRECEDENCE_ROUTINE, Kind.ALL_CLEAR) is Rank.FLASH
    # One that is none is refused in its turn, and overtakes nobody.
    for none in (report_pb2.PRECEDENCE_UNSPECIFIED, 5, 99, -1):
        assert rank_of_report(none, None) is Rank.ROUTINE


# --- sources take turns


@given(
    st.dictionaries(st.sampled_from("abcd"), st.tuples(st.integers(1, 40), st.integers(0, 3000)), min_size=2),
    st.integers(1, 100),
)
def test_sources_that_wait_are_served_alike_by_bytes(lines: dict[str, tuple[int, int]], first: int) -> None:
    queue = waiting()
    for source, (count, weight) in lines.items():
        many(queue, count, Rank.ROUTINE, source, weight)
    served: Counter[str] = Counter()
    left = Counter({source: count for source, (count, _) in lines.items()})
    for _ in range(min(first, len(queue))):
        (item,) = items(queue.take(1, MANY))
        served[item.source] += max(item.weight, LEAST)
        left[item.source] -= 1
        waited = [served[source] for source in lines if left[source]]
        largest = max(max(weight, LEAST) for _, weight in lines.values())
        # Of those that still wait, none is ahead of another by more than a step of each.
        if waited:
            assert max(waited) - min(waited) <= 2 * largest


def test_one_who_comes_after_a_flood_does_not_wait_for_it() -> None:
    queue = waiting(steps=MANY)
    many(queue, 5000, Rank.ROUTINE, "flood")
    queue.take(10, MANY)
    late = put(queue, Item("other", Rank.ROUTINE, 0))
    assert late in items(queue.take(2, MANY))


def test_one_who_was_away_has_saved_nothing_up() -> None:
    queue = waiting(steps=MANY)
    many(queue, 1000, Rank.ROUTINE, "here")
    queue.take(500, MANY)
    many(queue, 1000, Rank.ROUTINE, "back")
    sources = Counter(item.source for item in items(queue.take(200, MANY)))
    assert abs(sources["here"] - sources["back"]) <= 2


# --- what is recalled


def test_what_is_recalled_goes_with_what_recalls_it_and_before_it() -> None:
    queue = waiting()
    tracks = many(queue, 50, Rank.ROUTINE)
    other = put(queue, Item("b", Rank.ROUTINE, 7))
    queue.raise_to(Rank.FLASH, "a", lambda item: item.number in (7, 9))
    recall = put(queue, Item("a", Rank.FLASH, 99))
    assert items(queue.take(STEPS, BYTES)) == [tracks[7], tracks[9], recall]
    left = list(itertools.chain.from_iterable(emptied(queue)))
    assert other in left
    assert Counter(left) == Counter([*(track for track in tracks if track.number not in (7, 9)), other])


def test_what_is_recalled_while_its_commit_is_filled_is_put_back_before_what_recalls_it() -> None:
    queue = waiting()
    tracks = many(queue, 20, Rank.ROUTINE)
    other = put(queue, Item("b", Rank.ROUTINE, 7))
    taken = queue.take(STEPS, BYTES)
    # It makes no difference whether it comes to be put on record before that.
    queue.raise_to(Rank.FLASH, "a", lambda item: item.number in (0, 7, 9))
    recall = put(queue, Item("a", Rank.FLASH, 99))
    queue.put_back(taken[1:])
    assert (queue.alerts, len(queue)) == (3, len(taken))
    assert items(queue.take(STEPS, BYTES)) == [tracks[7], tracks[9], recall]
    left = list(itertools.chain.from_iterable(emptied(queue)))
    assert [item for item in left if item != other] == [track for track in tracks if track.number not in (0, 7, 9)]
    assert (len(queue), queue.alerts) == (0, 0)


@given(st.lists(st.tuples(ITEM, st.booleans(), st.integers(0, 3)), max_size=80), st.integers(1, 20), st.integers(1, 3))
def test_a_recall_never_overtakes_what_it_recalls_whatever_has_become_of_that(
    given: list[tuple[tuple[str, Rank, int], bool, int]], steps: int, each: int
) -> None:
    queue = waiting()
    came: list[Item] = []
    gone: list[Item] = []
    recalled: dict[Item, set[Item]] = {}
    filling: Sequence[Place[Item]] = ()
    for number, ((source, rank, weight), recalls, done) in enumerate(given):
        item = Item(source, Rank.FLASH if recalls else rank, number, weight)
        if recalls:
            # All or some of what its source brought, which waits, is in the commit being filled, or is on record.
            recalled[item] = {other for other in came if other.source == source and other.number % each == 0}
            queue.raise_to(Rank.FLASH, source, recalled[item].__contains__)
        came.append(put(queue, item, bounded=True))
        if not done:
            continue
        if not filling:
            filling = queue.take(steps, MANY)
        else:
            gone += items(filling[:done])
            queue.put_back(filling[done:])
            filling = ()
    gone += items(filling)
    queue.put_back(())
    gone += itertools.chain.from_iterable(emptied(queue, steps))
    assert Counter(gone) == Counter(came)
    order = {item: place for place, item in enumerate(gone)}
    assert all(order[item] < order[recall] for recall, named in recalled.items() for item in named)
    # What is not recalled keeps its order, as ever.
    lines = defaultdict(list)
    for item in gone:
        if not any(item in named for named in recalled.values()):
            lines[item.source, item.rank].append(item.number)
    assert all(line == sorted(line) for line in lines.values())
    assert (len(queue), queue.alerts, queue.bytes) == (0, 0, 0)


def test_who_recalls_what_is_put_back_delays_himself_and_not_another_one_s_alerts() -> None:
    queue = waiting()
    many(queue, 50, Rank.ROUTINE)
    taken = queue.take(STEPS, BYTES)
    queue.raise_to(Rank.FLASH, "a", lambda item: True)
    many(queue, 50, Rank.FLASH)
    many(queue, 100, Rank.FLASH, "b")
    queue.put_back(taken)
    served: Counter[str] = Counter()
    for _ in range(200):
        (item,) = items(queue.take(1, MANY))
        served[item.source] += 1
        assert abs(served["a"] - served["b"]) <= 1


# --- room


@given(st.sampled_from([rank for rank in Rank if rank is not Rank.OWN]), st.integers(16, 500), st.integers(1, 9))
def test_sources_without_end_fill_a_rank_s_share_of_the_room_and_no_more(rank: Rank, steps: int, sources: int) -> None:
    queue = waiting(steps)
    for number in range(2 * steps):
        source = str(number % sources)
        if queue.has_room(rank, source, 100):
            put(queue, Item(source, rank, number), bounded=True)
    share = SHARE[rank] * steps
    assert len(queue) <= share
    # As many sources leave as much free as each holds.
    assert len(queue) >= share * sources / (sources + 1) - sources - 1


def test_lower_ranks_are_refused_first_and_alerts_last() -> None:
    queue = waiting(1000)
    number = itertools.count()
    order = [Rank.ROUTINE, Rank.PRIORITY, Rank.IMMEDIATE, Rank.FLASH]
    for place, rank in enumerate(order):
        full = 0
        while full < 100:
            source = str(next(number) % 100)
            if queue.has_room(rank, source, 1):
                put(queue, Item(source, rank, next(number)), bounded=True)
                full = 0
            else:
                full += 1
        assert not any(queue.has_room(lower, "new", 1) for lower in order[:place])
        assert all(queue.has_room(higher, "new", 1) for higher in order[place + 1 :])


def test_a_flood_at_one_rank_leaves_room_for_another_source_and_for_the_flooder_s_alerts() -> None:
    queue = waiting(1000)
    while queue.has_room(Rank.ROUTINE, "flood", 1):
        put(queue, Item("flood", Rank.ROUTINE, 0), bounded=True)
    assert len(queue) == 250
    assert queue.has_room(Rank.ROUTINE, "other", 1)
    assert queue.has_room(Rank.FLASH, "flood", 1)


def test_room_is_bounded_in_bytes_too_and_comes_back_as_steps_go() -> None:
    queue = waiting(1000, bytes=10_000)
    large = Item("a", Rank.ROUTINE, 0, 2_400)
    assert queue.has_room(large.rank, large.source, large.weight)
    put(queue, large, bounded=True)
    assert queue.bytes == 2_400
    assert not queue.has_room(Rank.ROUTINE, "a", 2_400)
    assert queue.has_room(Rank.ROUTINE, "b", 2_400)
    assert queue.has_room(Rank.FLASH, "a", 7_600)
    assert not queue.has_room(Rank.FLASH, "a", 7_601)
    queue.put_back(queue.take(1, MANY))
    assert queue.bytes == 2_400
    queue.take(1, MANY)
    assert queue.has_room(Rank.ROUTINE, "a", 2_400)


def test_what_is_not_bounded_takes_no_room() -> None:
    queue = waiting(16)
    many(queue, 1000, Rank.ROUTINE, "KOR")
    assert queue.has_room(Rank.ROUTINE, "a", 100)
