"""The schedule of a run: the same for the same seed, within the run, and never two faults of one thing at once."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from tests.faults.invented import CODES
from tests.faults.schedule import GAP_S, LINKS, STORES, Kind, schedule

seeds = st.integers(0, 2**32)
some_kinds = st.lists(st.sampled_from(list(Kind)), min_size=1, unique=True)


@given(seeds, some_kinds)
def test_a_seed_gives_the_same_faults_again(seed: int, kinds: list[Kind]) -> None:
    first, again = (schedule(seed, CODES[:3], kinds, count=12, duration_s=30) for _ in range(2))
    assert first == again


@given(seeds, some_kinds, st.integers(1, 40), st.floats(10, 120))
def test_every_fault_begins_and_ends_within_the_run(
    seed: int, kinds: list[Kind], count: int, duration_s: float
) -> None:
    faults = schedule(seed, CODES[:4], kinds, count=count, duration_s=duration_s)
    assert 0 < len(faults) <= count
    assert all(fault.begins_s > 0 and fault.ends_s <= duration_s + 0.02 for fault in faults)
    assert all((fault.partner != "") == (fault.kind in LINKS) and fault.partner != fault.node for fault in faults)


@given(seeds, some_kinds, st.integers(1, 40))
def test_nothing_is_struck_twice_at_once(seed: int, kinds: list[Kind], count: int) -> None:
    faults = schedule(seed, CODES[:3], kinds, count=count, duration_s=30)
    for one, other in combinations(faults, 2):
        apart = one.ends_s + GAP_S <= other.begins_s
        assert apart or one.struck != other.struck
    assert sum(fault.kind in STORES for fault in faults) <= 1


@given(seeds)
def test_every_kind_comes_where_there_is_room(seed: int) -> None:
    kinds = [kind for kind in Kind if kind not in STORES]
    faults = schedule(seed, CODES[:5], kinds, count=len(kinds), duration_s=300)
    assert {fault.kind for fault in faults} == set(kinds)


def test_seeds_differ() -> None:
    drawn = {tuple(schedule(seed, CODES[:3], list(Kind), count=10, duration_s=30)) for seed in range(20)}
    assert len(drawn) == 20
