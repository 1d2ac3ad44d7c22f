"""What a check gathers does not stay in memory, and what is kept in short says the same."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import gathered
from gateway.audit.gathered import Gathered
from gateway.audit.indices import Indices
from gateway.audit.verify import verify_store
from gateway.release.belief import History
from gateway.release.pipeline import TakeReport
from tests.release.aging import send
from tests.release.world import RELEASE_ALL, RELEASE_NOTHING, Site, anything, rules
from tests.reports.examples import launch_detection

RULES = rules(KOR=RELEASE_ALL, USA=RELEASE_NOTHING)


def peak_of_verifying(site: Site) -> int:
    """The most bytes that Python holds at once on the way."""
    verify_store(site.store, site.signatory, site.partners)
    tracemalloc.start()
    assert verify_store(site.store, site.signatory, site.partners).findings == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_store(make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "_ROWS_AT_ONCE", 8)
    jpn, kor = make_site("JPN"), make_site("KOR")
    peaks = []
    for count in (30, 150):
        for batch in range(0, count, 10):
            steps = [TakeReport.of(launch_detection(1000 * count + batch + at), "c2", anything) for at in range(10)]
            jpn.do_all(*steps, rulebook=RULES)
            send(jpn, kor)
        peaks.append((peak_of_verifying(jpn), peak_of_verifying(kor)))
    (before_jpn, before_kor), (jpn_peak, kor_peak) = peaks
    # Were a report, or what is said of it, kept, each would be some kB.
    assert jpn_peak - before_jpn < 150 * 800
    assert kor_peak - before_kor < 150 * 800


def test_rows_are_there_for_whoever_asks_and_the_last_of_a_key_stays() -> None:
    rows = Gathered()
    for number in range(2000):
        rows.add("gone_report", number % 1500, number)
        if number % 7 == 0:
            assert rows.row("SELECT time_ns FROM gone_report WHERE seq = ?", number % 1500) == (number,)
    assert rows.number("SELECT count(*) FROM gone_report") == 1500
    assert rows.row("SELECT time_ns FROM gone_report WHERE seq = 3") == (1503,)
    rows.close()


def test_lists_of_fields_and_origin_lines_are_found_by_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "_LISTS_KEPT", 2)
    rows = Gathered()
    lists = [("a",), (), ("a", "b.c"), ("d",), ("e",)]
    numbers = [rows.list(paths) for paths in lists]
    assert [rows.paths(number) for number in numbers] == lists
    assert [rows.list(paths) for paths in lists] == numbers
    assert [rows.origin(rows.line(each)) for each in ("x", "y", "x")] == ["x", "y", "x"]
    rows.close()


@given(st.sets(st.integers(0, 60)))
def test_indices_are_the_set_of_what_was_added(wanted: set[int]) -> None:
    indices = Indices()
    for index in sorted(wanted):
        indices.add(index)
    assert set(indices) == wanted
    assert len(indices) == len(wanted)
    assert [index in indices for index in range(-1, 62)] == [index in wanted for index in range(-1, 62)]
    assert not wanted or indices.last == max(wanted)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 40))), st.integers(0, 45), st.integers(0, 40))
def test_what_receipts_cover_is_told_as_if_all_were_kept(
    steps: list[tuple[int, int]], until: int, current: int
) -> None:
    history, size, receipts = History(), 0, []
    history.current(current)
    for more, at in steps:
        size += more
        history.received(size, at)
        receipts.append((size, at))
    covered = max([current, *(size for size, at in receipts if at <= until)])
    assert history.covered_to(until) == covered
    assert history.received_by(size, until) == any(covers > size and at <= until for covers, at in receipts)
    for each in sorted({1, covered, covered + 1}):
        history.by_retired(each, until)
    assert history.uncovered() == sorted({each for each in (1, covered, covered + 1) if each > covered})
