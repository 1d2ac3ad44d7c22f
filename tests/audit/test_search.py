"""A search finds what a look at every entry would find, page by page, whatever is recorded meanwhile."""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.audit import search
from gateway.audit.desk import Desk
from gateway.audit.search import DecisionFilter, DecisionSearch, FilterError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import DecisionPlace, LedgerId, ReportRow
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.sharing import Shared, record_decisions
from gateway.release.subject import Subject
from gateway.reports.kinds import Kind, kind_of
from tests.release.world import Site
from tests.reports.examples import NOW, SECOND, all_clear, launch_detection, track

PARTNERS, RULES, AGREEMENTS = ("KOR", "USA", "AUS"), ("all", "near", "(no rule releases it)"), ("", "treaty")
OUTCOMES = (ledger_pb2.OUTCOME_RELEASED, ledger_pb2.OUTCOME_WITHHELD, ledger_pb2.OUTCOME_HELD)
EVENTS, EVENT_KINDS = ("one", "two", "three"), ("started", "audit-access")


def record(plan: Plan, chance: random.Random, number: int) -> None:
    """One thing as it could be recorded: an event, the first decisions on a report, or later ones."""
    if chance.random() < 0.1:
        plan.record_event(chance.choice(EVENT_KINDS), f"number {number}")
        return
    made = chance.choice((launch_detection, track, all_clear))(number, event_id=chance.choice(EVENTS))
    made.precedence = chance.choice((report_pb2.PRECEDENCE_PRIORITY, report_pb2.PRECEDENCE_FLASH))
    made.traffic_class = chance.choice((report_pb2.TRAFFIC_CLASS_LIVE, report_pb2.TRAFFIC_CLASS_EXERCISE))
    own = chance.random() < 0.7
    made.originator_node = "JPN" if own else chance.choice(PARTNERS)
    partners = chance.sample(PARTNERS, chance.randrange(1, 4))
    decisions = [
        ledger_pb2.Decision(
            partner=partner,
            outcome=chance.choice(OUTCOMES),
            rule=chance.choice(RULES),
            agreement=chance.choice(AGREEMENTS),
        )
        for partner in partners
    ]
    report_id = uuid.UUID(made.report_id).bytes
    shared = Shared(Subject("" if own else made.originator_node, report_id), made, plan.now_ns)
    index = record_decisions(plan, shared, "c2", b"d" * 32, decisions, accepting=own)
    kind = kind_of(made)
    assert kind is not None
    if own:
        plan.commit.reports.append(
            ReportRow(
                plan.own_reports.next_number(), report_id, b"d" * 32, made.event_id, int(kind.report_kind), "c2",
                plan.now_ns, index, b"payload",
            )
        )  # fmt: skip
    if chance.random() < 0.3:
        record_decisions(plan, shared, "c2", b"d" * 32, decisions[:1])


def recorded(site: Site, chance: random.Random, first: int, count: int) -> None:
    """Commits of several records each. The clock stands, jumps, and is set back once in a while."""
    done = 0
    while done < count:
        site.now_ns += chance.choice((0, 1, SECOND, -SECOND // 2))
        plan = site.plan()
        for _ in range(chance.randrange(1, 12)):
            record(plan, chance, first + done)
            done += 1
        site.keep(plan)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site("JPN", tmp_path_factory.mktemp("search") / "jpn.sqlite")
    recorded(site, random.Random(7), 1, 120)
    yield site
    site.close()


def searching(site: Site) -> DecisionSearch:
    return DecisionSearch(site.store, Opener("JPN", site.signatory.sealing), site.signatory)


def everything(site: Site) -> list[officer_pb2.RecordedEntry]:
    """All that is on record, by a look at every entry, in the order of time."""
    found = []
    for row in site.store.ledgers():
        if row.origin.recipient is not None:
            continue
        for index, content in site.contents(row.origin).items():
            entry = officer_pb2.RecordedEntry(ledger=str(row.origin), index=index)
            if content.HasField("node_event"):
                entry.node_event.CopyFrom(content.node_event)
            else:
                entry.decision_record.CopyFrom(content.decision_record)
            found.append(entry)
    return sorted(found, key=lambda entry: (time_of(entry), entry.index))


def time_of(entry: officer_pb2.RecordedEntry) -> int:
    told = entry.node_event if entry.HasField("node_event") else entry.decision_record
    return told.time.ToNanoseconds()


def slow(entries: Sequence[officer_pb2.RecordedEntry], f: DecisionFilter) -> list[tuple[int, tuple[str, ...]]]:
    """What a filter wants: index of each entry, and the partners of the decisions in it."""
    found: list[tuple[int, tuple[str, ...]]] = []
    for entry in entries:
        after = f.since_ns is None or time_of(entry) >= f.since_ns
        if not after or (f.until_ns is not None and time_of(entry) >= f.until_ns):
            continue
        if entry.HasField("node_event"):
            if f.events and (f.event_kinds is None or entry.node_event.kind in f.event_kinds):
                found.append((entry.index, ()))
            continue
        r = entry.decision_record
        asked = ((f.event_id, r.event_id), (f.report_id, r.report_id), (f.originator_node, r.originator_node))
        if f.events or any(want not in (None, is_) for want, is_ in asked):
            continue
        partners = []
        for d in r.decisions:
            pairs = (
                (f.partners, d.partner), (f.outcomes, d.outcome), (f.rules, d.rule), (f.agreements, d.agreement),
                (f.kinds, r.kind), (f.traffic_classes, r.traffic_class), (f.precedences, r.precedence),
            )  # fmt: skip
            if all(wanted is None or is_ in wanted for wanted, is_ in pairs):
                partners.append(d.partner)
        if partners:
            found.append((entry.index, tuple(partners)))
    return found


def shown(entries: Sequence[officer_pb2.RecordedEntry]) -> list[tuple[int, tuple[str, ...]]]:
    return [(entry.index, tuple(d.partner for d in entry.decision_record.decisions)) for entry in entries]


def paged(
    found: DecisionSearch, wanted: DecisionFilter, limit: int, *, oldest_first: bool
) -> Iterator[Sequence[officer_pb2.RecordedEntry]]:
    """All pages."""
    token = b""
    while True:
        page = found.page(wanted, limit=limit, token=token, oldest_first=oldest_first)
        assert len(page.entries) <= limit
        yield page.entries
        token = page.next_token
        if not token:
            return


def some(values: Sequence[object]) -> st.SearchStrategy[frozenset[object] | None]:
    return st.none() | st.frozensets(st.sampled_from(values), min_size=1)


TIMES = st.none() | st.integers(-5, 40).map(lambda tenth: NOW + tenth * SECOND)
FILTERS = st.builds(
    DecisionFilter,
    since_ns=TIMES,
    until_ns=TIMES,
    partners=some((*PARTNERS, "FRA")),
    outcomes=some((1, 2, 3)),
    rules=some((*RULES, "none such")),
    kinds=some([kind.value for kind in Kind]),
    traffic_classes=some((1, 2, 3)),
    precedences=some((1, 2, 4)),
    agreements=some(AGREEMENTS),
    event_id=st.none() | st.sampled_from((*EVENTS, "none such")),
    report_id=st.none() | st.integers(1, 130).map(lambda number: launch_detection(number).report_id),
    originator_node=st.none() | st.sampled_from(("JPN", *PARTNERS)),
    events=st.booleans(),
    event_kinds=some((*EVENT_KINDS, "none such")),
)
SPARSE = st.builds(
    lambda whole, kept: DecisionFilter(**{name: getattr(whole, name) for name in kept}),
    FILTERS,
    st.sets(st.sampled_from(DecisionFilter.__slots__), max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(wanted=FILTERS | SPARSE, limit=st.integers(3, 60), oldest_first=st.booleans())
def test_a_search_finds_what_a_look_at_every_entry_finds(
    site: Site, wanted: DecisionFilter, limit: int, oldest_first: bool
) -> None:
    expected = slow(on_record(site), wanted)
    if not oldest_first:
        expected.reverse()
    pages = list(paged(searching_once(site), wanted, limit, oldest_first=oldest_first))
    assert [item for page in pages for item in shown(page)] == expected


on_record, searching_once = functools.cache(everything), functools.cache(searching)


@pytest.mark.parametrize("oldest_first", [True, False])
@pytest.mark.parametrize("wanted", [DecisionFilter(), DecisionFilter(event_id="one")])
def test_pages_are_complete_and_without_doubles_while_more_is_recorded(
    tmp_path: Path, wanted: DecisionFilter, oldest_first: bool
) -> None:
    site, chance = Site("JPN", tmp_path / "jpn.sqlite"), random.Random(3)
    recorded(site, chance, 1, 60)
    before = {index for index, _ in slow(everything(site), wanted)}
    seen: list[int] = []
    for turn, page in enumerate(paged(searching(site), wanted, 5, oldest_first=oldest_first), 1):
        seen += [entry.index for entry in page]
        if turn < 6:
            site.now_ns += 2 * SECOND
            recorded(site, chance, 1000 * turn, 4)
    assert len(seen) == len(set(seen))
    assert before <= set(seen)
    site.close()


def test_all_records_about_one_report_are_found_the_earliest_first(site: Site) -> None:
    about: dict[tuple[str, str], list[int]] = {}
    for entry in everything(site):
        if entry.HasField("decision_record"):
            key = entry.decision_record.report_id, entry.decision_record.originator_node
            about.setdefault(key, []).append(entry.index)
    assert max(map(len, about.values())) == 2
    found = searching(site)
    for (report_id, originator), indices in about.items():
        entries, remarks = found.records_of(report_id, originator)
        assert ([entry.index for entry in entries], remarks) == (indices, [])
    assert found.records_of(next(iter(about))[0], "FRA") == ([], [])


def test_of_very_many_records_about_one_report_the_first_and_the_last_are_given(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "REPORTED", 1)
    sites = searching(site)
    about: dict[tuple[str, str], list[int]] = {}
    for entry in everything(site):
        if entry.HasField("decision_record"):
            key = entry.decision_record.report_id, entry.decision_record.originator_node
            about.setdefault(key, []).append(entry.index)
    key, indices = next((key, indices) for key, indices in about.items() if len(indices) == 2)
    entries, remarks = sites.records_of(*key)
    assert [entry.index for entry in entries] == indices
    assert [remark for remark in remarks if "there are more records about it" in remark]


def test_a_record_that_does_not_open_is_named_and_hides_no_other(tmp_path: Path) -> None:
    site = Site("JPN", tmp_path / "JPN.sqlite")
    for seed in range(3):
        site.now_ns += SECOND
        site.take(launch_detection(seed))
    (damaged,) = searching(site).records_of(launch_detection(1).report_id, "JPN")[0]
    _damage(site, damaged.index)
    for oldest_first in (True, False):
        page = searching(site).page(DecisionFilter(), limit=10, token=b"", oldest_first=oldest_first)
        kept = [entry.decision_record.report_id for entry in page.entries]
        assert sorted(kept) == sorted(launch_detection(seed).report_id for seed in (0, 2))
        (remark,) = page.remarks
        assert remark.startswith(f"entry {damaged.index} of {damaged.ledger} does not open: ")
    entries, (remark,) = searching(site).records_of(launch_detection(1).report_id, "JPN")
    assert (entries, remark[:6]) == ([], "entry ")
    opener = Opener("JPN", site.signatory.sealing)
    desk = Desk(site.store, opener, site.signatory, searching(site))
    stretch = desk.stretch(Origin.parse(damaged.ledger), 0, DecisionFilter())
    assert len(stretch.entries) == 2
    assert [each[:40] for each in stretch.remarks] == [f"entry {damaged.index} of {damaged.ledger}"[:40]]
    assert stretch.end
    site.close()


def _damage(site: Site, index: int) -> None:
    """One byte of an entry of the decisions ledger changes on the disk."""
    ledger = site.row(Origin("JPN", None, "decisions", 1)).id
    where = (ledger, index, index)
    sql = "SELECT first, entries FROM segment WHERE ledger = ? AND first <= ? AND first + count > ?"
    assert isinstance(site.store, SqliteStore)
    ((first, entries),) = site.store._db.execute(sql, where)
    assert isinstance(entries, bytes)
    changed = bytearray(entries)
    changed[-5] ^= 1
    site.store._db.execute("UPDATE segment SET entries = ? WHERE ledger = ? AND first = ?", (changed, ledger, first))


def test_verdicts_that_do_not_open_are_told_with_every_page_that_they_may_hide_something_from(tmp_path: Path) -> None:
    site = Site("JPN", tmp_path / "JPN.sqlite")
    site.take(launch_detection(1))
    assert isinstance(site.store, SqliteStore)
    site.store._db.execute("UPDATE verdict SET name = zeroblob(60)")
    page = searching(site).page(DecisionFilter(), limit=10, token=b"", oldest_first=True)
    assert not page.entries
    assert [remark for remark in page.remarks if remark.startswith("the index of decisions is damaged: ")]
    site.close()


def test_what_a_ledger_held_at_a_size_is_found_whatever_the_clock_said_since(tmp_path: Path) -> None:
    site = Site("JPN", tmp_path / "JPN.sqlite")
    for seed in range(3):
        site.now_ns += SECOND
        site.take(launch_detection(seed))
    sizes = searching(site).sizes()
    site.now_ns -= 3600 * SECOND
    site.take(launch_detection(3))
    page = searching(site).page(DecisionFilter(), limit=10, token=b"", oldest_first=True, within_sizes=sizes)
    found = [entry.decision_record.report_id for entry in page.entries]
    assert found == [launch_detection(seed).report_id for seed in range(3)]
    site.close()


def test_a_token_that_was_made_elsewhere_is_refused_whatever_place_it_names(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, wanted = searching(site), DecisionFilter()
    beyond = DecisionPlace(5, LedgerId(1 << 63), 1 << 63)
    inside = DecisionPlace(5, LedgerId(1), 1)
    for place, key in ((beyond, search._TOKEN_KEY), (inside, bytes(32))):
        with monkeypatch.context() as patched:
            patched.setattr(search, "_TOKEN_KEY", key)
            token = search._token(place, wanted, oldest_first=True)
        with pytest.raises(FilterError, match="page_token: "):
            found.page(wanted, limit=10, token=token, oldest_first=True)


def test_a_search_by_event_opens_a_bounded_number_of_records_a_page(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "EXAMINED", 3)
    wanted = DecisionFilter(event_id="one", partners=frozenset({"FRA"}))
    pages = list(paged(searching(site), wanted, 2, oldest_first=True))
    assert len(pages) > 10
    assert not any(pages)


def test_the_token_of_another_filter_or_order_or_of_nobody_is_refused(site: Site) -> None:
    found, wanted = searching(site), DecisionFilter(partners=frozenset({"KOR"}))
    token = found.page(wanted, limit=2, token=b"", oldest_first=True).next_token
    assert found.page(wanted, limit=2, token=token, oldest_first=True).entries
    changed = bytearray(token)
    changed[3] ^= 1
    for other, given_token, oldest_first in (
        (DecisionFilter(partners=frozenset({"USA"})), token, True),
        (DecisionFilter(), token, True),
        (wanted, token, False),
        (wanted, token[:-1], True),
        (wanted, token + b"\0", True),
        (wanted, b"junk", True),
        (wanted, bytes(changed), True),
    ):
        with pytest.raises(FilterError, match="page_token: it belongs to another filter or another order, or to"):
            found.page(other, limit=2, token=given_token, oldest_first=oldest_first)


def test_a_decision_that_was_taken_out_of_the_index_is_not_invented_nor_another_shown_for_it(tmp_path: Path) -> None:
    site = Site("JPN", tmp_path / "jpn.sqlite")
    recorded(site, random.Random(5), 1, 20)
    site.store._db.execute("UPDATE decision SET time_ns = time_ns + 1")  # type: ignore[attr-defined]  # no face for it
    assert list(paged(searching(site), DecisionFilter(), 10, oldest_first=True)) == [[]]
    site.close()


def test_a_generation_of_the_decisions_ledger_that_went_on_is_searched_too(tmp_path: Path) -> None:
    site, chance = Site("JPN", tmp_path / "jpn.sqlite"), random.Random(11)
    recorded(site, chance, 1, 30)
    plan = site.plan()
    first = Origin.decisions("JPN", 1)
    plan.ledgers.end(first, first.successor(), 0)
    record(plan, chance, 500)
    site.keep(plan)
    recorded(site, chance, 600, 30)
    expected = [(entry.ledger, entry.index) for entry in everything(site) if entry.HasField("decision_record")]
    assert len({ledger for ledger, _ in expected}) == 2
    found = [entry for page in paged(searching(site), DecisionFilter(), 7, oldest_first=True) for entry in page]
    assert sorted((entry.ledger, entry.index) for entry in found) == sorted(expected)
    by_event = [
        (entry.ledger, entry.index)
        for event in EVENTS
        for page in paged(searching(site), DecisionFilter(event_id=event), 7, oldest_first=False)
        for entry in page
    ]
    assert sorted(by_event) == sorted(expected)
    site.close()
