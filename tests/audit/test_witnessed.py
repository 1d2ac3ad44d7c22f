"""A witness ledger commits to everything there is, and goes on for as long as its node does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway.release.witness as beating
from gateway.audit.timeline import STEP_NS, Timeline
from gateway.audit.verify import verify_store
from gateway.audit.witnessed import ALONE_NS, RUNS_UNWITNESSED, UNWITNESSED_NS
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.steps import RecordEvent
from gateway.release.witness import Beat
from tests.audit.nations import receipt
from tests.release.world import RELEASE_ALL, Site, rules
from tests.reports.examples import SECOND, launch_detection

WITNESS = Origin.witness("JPN", 1)
DECISIONS = Origin.decisions("JPN", 1)
TO_KOR = Origin.release("JPN", "KOR", "flash", 1)
BEAT = Beat(frozenset({"KOR", "USA"}))
RULES = rules(KOR=RELEASE_ALL)
MINUTE_NS = 60 * SECOND


@pytest.fixture
def jpn(tmp_path: Path) -> Site:
    site = Site("JPN", tmp_path / "jpn.sqlite")
    site.do(RecordEvent("started", "a test"))
    return site


def found(site: Site) -> list[str]:
    return [finding.what for finding in verify_store(site.store, site.signatory, site.partners).findings]


def runs_on(site: Site, minutes: int) -> None:
    """Something is decided each minute, and nothing commits to it."""
    for _ in range(minutes):
        site.now_ns += MINUTE_NS
        site.do(RecordEvent("something", "happened"))


def leaving_out(monkeypatch: pytest.MonkeyPatch, *origins: Origin) -> None:
    """Beats name these ledgers no more; without any: none at all."""
    whole = beating._heads_part
    monkeypatch.setattr(
        beating,
        "_heads_part",
        lambda time_ns, heads: whole(time_ns, [head for head in heads if origins and head.origin not in origins]),
    )


# --- what a beat has to name


def test_beats_that_commit_to_nothing_are_named(jpn: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    leaving_out(monkeypatch)
    for number in range(3):
        jpn.now_ns += 10 * SECOND
        jpn.take(launch_detection(number), RULES)
        jpn.do(BEAT)
    what = found(jpn)
    assert [each for each in what if "does not commit to the decisions ledger" in each] == what
    assert len(what) == 3


def test_a_release_ledger_that_no_beat_ever_names_is_named(jpn: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    leaving_out(monkeypatch, TO_KOR)
    jpn.do(BEAT)
    assert found(jpn) == [], "nothing was released yet"
    jpn.take(launch_detection(1), RULES)
    jpn.now_ns += 10 * SECOND
    jpn.do(BEAT)
    (what,) = found(jpn)
    assert "leaves out the ledger for KOR, flash" in what


def test_a_beat_with_less_of_a_ledger_than_its_decisions_name_is_named(jpn: Site) -> None:
    jpn.take(launch_detection(1), RULES)
    jpn.do(BEAT)
    old = jpn.heads.get(TO_KOR)
    assert old is not None
    jpn.take(launch_detection(2), RULES)
    jpn.heads._heads[TO_KOR] = old
    jpn.now_ns += 10 * SECOND
    jpn.do(BEAT)
    (what,) = found(jpn)
    assert f"commits to {TO_KOR} with 2 entries, and its decisions name entry 2" in what


# --- for how long


def test_decisions_to_which_no_beat_commits_are_named_once_the_gateway_ran_on_for_hours(jpn: Site) -> None:
    jpn.do(BEAT)
    minutes = UNWITNESSED_NS // MINUTE_NS
    runs_on(jpn, minutes + 1)
    assert found(jpn) == []
    runs_on(jpn, 1)
    (what,) = found(jpn)
    assert "no beat commits to those" in what
    jpn.do(BEAT)
    (what,) = found(jpn)
    assert "none before that commits to them" in what


def test_beats_that_commit_to_the_same_old_decisions_are_no_beats(jpn: Site) -> None:
    jpn.do(BEAT)
    old = jpn.heads.get(DECISIONS)
    assert old is not None
    for _ in range(UNWITNESSED_NS // MINUTE_NS + 2):
        runs_on(jpn, 1)
        now = jpn.heads.get(DECISIONS)
        assert now is not None
        jpn.heads._heads[DECISIONS] = old
        jpn.do(BEAT)
        jpn.heads._heads[DECISIONS] = now
    (what,) = found(jpn)
    assert "no beat commits to those" in what


def test_a_node_that_ran_for_an_hour_without_any_witness_ledger_is_named(jpn: Site) -> None:
    runs_on(jpn, ALONE_NS // MINUTE_NS)
    assert found(jpn) == []
    runs_on(jpn, 1)
    (what,) = found(jpn)
    assert "no beat commits to any of them" in what


def test_what_ran_before_the_first_beat_may_have_known_no_witness_ledger(jpn: Site) -> None:
    runs_on(jpn, 200)
    jpn.now_ns += MINUTE_NS
    jpn.do(RecordEvent("started", "a version that has one"))
    jpn.do(BEAT)
    assert found(jpn) == []


def test_a_node_that_sleeps_stops_or_crashes_does_not_run_on(jpn: Site) -> None:
    jpn.do(BEAT)
    for number in range(10):
        jpn.now_ns += 86_400 * SECOND
        jpn.do(RecordEvent("started" if number % 2 else "woken", "and gone again before the beat"))
    assert found(jpn) == []


def test_a_start_before_each_decision_hides_nothing(jpn: Site) -> None:
    jpn.do(BEAT)
    for _ in range(UNWITNESSED_NS // MINUTE_NS):
        jpn.now_ns += 30 * SECOND
        jpn.do(RecordEvent("started", "so it says"))
        runs_on(jpn, 1)
    (what,) = found(jpn)
    assert "no beat commits to those" in what


def test_a_gateway_that_decides_start_after_start_and_never_beats_is_named(jpn: Site) -> None:
    jpn.do(BEAT)
    for number in range(RUNS_UNWITNESSED + 1):
        assert found(jpn) == [], "it crashed before its first beat"
        jpn.now_ns += 3600 * SECOND
        jpn.do(RecordEvent("started", "again"))
        jpn.take(launch_detection(number), RULES)
    (what,) = found(jpn)
    assert f"was started {RUNS_UNWITNESSED + 1} times after the last beat" in what
    jpn.do(BEAT)
    (what,) = found(jpn)
    assert "before the beat of entry" in what


def test_a_gateway_that_crashes_at_every_start_for_hours_does_not_run_on(jpn: Site) -> None:
    jpn.do(BEAT)
    for _ in range(UNWITNESSED_NS // MINUTE_NS + 10):
        jpn.now_ns += MINUTE_NS
        jpn.do(RecordEvent("started", "again"))
    assert found(jpn) == []


@given(steps=st.lists(st.tuples(st.integers(-(10**15), 10**15), st.booleans()), max_size=60))
def test_it_runs_on_by_no_more_than_a_step_for_each_entry_and_never_back(steps: list[tuple[int, bool]]) -> None:
    timeline, now_ns = Timeline(), 10**18
    for index, (step, started) in enumerate(steps):
        now_ns += step
        timeline.note(DECISIONS, index, now_ns, started=started)
    assert 0 <= timeline.ran_ns(0, len(timeline)) <= len(steps) * STEP_NS
    assert timeline.entries(DECISIONS, len(steps)) == len(steps)
    assert timeline.entries(DECISIONS.successor(), 5) == 0


# --- who has signed for it


def test_a_witness_ledger_that_was_shown_to_nobody_is_named(jpn: Site, tmp_path: Path) -> None:
    kor = Site("KOR", tmp_path / "kor.sqlite")
    jpn.take(launch_detection(1), RULES)
    jpn.do(BEAT)
    receipt(jpn, kor)
    assert found(jpn) == [], "it may be on its way"
    kor.now_ns = jpn.now_ns = jpn.now_ns + ALONE_NS + 2 * SECOND
    jpn.take(launch_detection(2), RULES)
    jpn.do(BEAT)
    receipt(jpn, kor)
    (what,) = found(jpn)
    assert "KOR gave receipts for reports more than 1 h after the first beat" in what
    receipt(jpn, kor, WITNESS)
    assert found(jpn) == []
    outcome = verify_store(jpn.store, jpn.signatory, jpn.partners)
    (check,) = [each for each in outcome.ledgers if each.origin == WITNESS]
    assert check.cosigned == {"KOR": (jpn.row(WITNESS).size, kor.now_ns // SECOND), "USA": (0, 0)}
    assert jpn.store.cosigners(jpn.row(WITNESS).id, CosignatureKind.RECEIPT) == ["KOR"]


def test_a_witness_ledger_that_was_shown_once_and_to_nobody_since_is_named(jpn: Site, tmp_path: Path) -> None:
    kor = Site("KOR", tmp_path / "kor.sqlite")
    jpn.do(BEAT)
    receipt(jpn, kor, WITNESS)
    for number in range(3):
        kor.now_ns = jpn.now_ns = jpn.now_ns + UNWITNESSED_NS // 2 - SECOND
        jpn.take(launch_detection(number), RULES)
        jpn.do(BEAT)
        if number < 2:
            receipt(jpn, kor)
            assert found(jpn) == [], "the longest interval there is, and a beat late"
    receipt(jpn, kor)
    (what,) = found(jpn)
    assert "nobody has cosigned it since 20" in what
    assert "KOR gave receipts for reports more than 2 h after that" in what
    receipt(jpn, kor, WITNESS)
    assert found(jpn) == []


def test_a_receipt_from_a_clock_that_is_ahead_accuses_nobody(jpn: Site, tmp_path: Path) -> None:
    kor = Site("KOR", tmp_path / "kor.sqlite")
    jpn.do(BEAT)
    receipt(jpn, kor, WITNESS)
    kor.now_ns += 10 * UNWITNESSED_NS
    jpn.take(launch_detection(1), RULES)
    receipt(jpn, kor)
    assert found(jpn) == []
