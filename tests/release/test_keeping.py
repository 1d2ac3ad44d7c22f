"""What was released and may not go any more is kept back: once, on record, and only where that is certain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from signalfire.v1 import ledger_pb2

from gateway.audit.verify import verify_store
from gateway.exchange.keeping_back import without
from gateway.ledger.cosignature import cosign
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, Run
from gateway.release import keeping
from gateway.release.keeping import KeepBack, Verdict, judge, places_in
from gateway.release.pipeline import TellWithdrawals
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.rulebook import Rulebook
from gateway.release.steps import FollowSuccessor, KeepCosignature
from gateway.release.succeeding import Succeed
from tests.release.test_pipeline import cancelling
from tests.release.world import RELEASE_ALL, TREATY, Site, as_sent, identifier, partner_of, rules, signatory_of
from tests.reports.examples import NOW, SECOND, launch_detection, track

TO_KOR: Final = Origin("JPN", "KOR", "flash", 1)
SECOND_GENERATION: Final = TO_KOR.successor()
AT_NOW: Final = datetime.fromtimestamp(NOW / SECOND, UTC)
AGREEMENT: Final = """\
agreements:
  treaty: {title: T, basis: B, parties: [JPN, KOR], from: 2000-01-01, until: 2200-01-01, kinds: [LaunchDetection]}
"""
UNDER_TREATY: Final = RELEASE_ALL.replace("ceiling: SECRET", "ceiling: SECRET\n    agreement: treaty").replace(
    "kinds: [LaunchDetection, Track, ImpactPrediction, Correction, Cancellation, AllClear]", "kinds: [LaunchDetection]"
)
ALLOWED: Final = rules(KOR=RELEASE_ALL)
SUSPENDED: Final = replace(ALLOWED, suspended=frozenset({"KOR"}))
WITH_TREATY: Final = rules(KOR=UNDER_TREATY, _policy=TREATY + AGREEMENT)
LAPSED: Final = rules(KOR=RELEASE_ALL, _policy=TREATY + AGREEMENT.replace("until: 2200", "until: 2001"))
NO_TREATY: Final = ALLOWED
LOST: Final = ledger_pb2.SUCCESSION_REASON_LOST_TAIL


@dataclass(frozen=True, slots=True)
class Govern:
    """Puts another policy in force, as an order of the officers does."""

    rulebook: Rulebook
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> None:
        plan.govern(self.rulebook)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    jpn, kor = Site("JPN", tmp_path / "jpn.db"), Site("KOR", tmp_path / "kor.db")
    yield jpn, kor
    for site in (jpn, kor):
        assert verify_store(site.store, site.signatory, site.partners).findings == []
        site.close()


def govern(site: Site, rulebook: Rulebook) -> None:
    """Puts a policy in force, and does what a sequencer does when suspensions change."""
    before = site.rulebook.suspended
    site.do(Govern(rulebook))
    if rulebook.suspended != before:
        site.heads.without_epochs()


def verdict_on(site: Site, run: Run, origin: Origin = TO_KOR, now: datetime = AT_NOW) -> Verdict:
    return judge(site.store, site.row(origin), run, site.rulebook, now, clock_trusted=site.clock_trusted)


def serve(site: Site, origin: Origin, first: int, max_bytes: int = 1 << 30) -> Run | None:
    """What a partner is served from `first` on, as `gateway.exchange.server` does it. None: nothing, in doubt."""
    while (verdict := verdict_on(site, run := site.run(origin, first, max_bytes), origin)).new:
        site.do(KeepBack(origin, run))
    return None if verdict.doubt else without(run, verdict.on_record)


def send(jpn: Site, kor: Site, origin: Origin = TO_KOR, max_bytes: int = 1 << 30) -> list[int]:
    """Sends KOR the next run; the indices that it is given as hashes."""
    head = kor.heads.get(origin)
    run = serve(jpn, origin, 0 if head is None else head.edge.size, max_bytes)
    assert run is not None
    receipt = kor.do(kor.receive(as_sent(origin, run))).receipt
    jpn.do(KeepCosignature(origin, CosignatureKind.RECEIPT, receipt, partner_of("KOR")))
    return [row.index for row in run.absent]


def kept(site: Site, origin: Origin = TO_KOR) -> list[int]:
    return [row.index for row in site.store.kept_back(site.row(origin).id, 0, 1 << 40)]


def events(site: Site, kind: str = "entries-kept-back") -> list[str]:
    return [event.detail for event in site.events() if event.kind == kind]


# --- a suspended partner


def test_a_suspended_partner_is_given_hashes_and_what_comes_after_the_suspension_opens(
    sites: tuple[Site, Site],
) -> None:
    jpn, kor = sites
    secret, later = launch_detection(1), launch_detection(2)
    jpn.take(secret, ALLOWED)
    govern(jpn, SUSPENDED)
    assert send(jpn, kor) == [0, 1]
    govern(jpn, ALLOWED)
    jpn.take(later)
    assert send(jpn, kor) == []
    assert kor.store.received("JPN", identifier(secret)) is None
    assert kor.store.received("JPN", identifier(later)) is not None
    assert kor.row(TO_KOR).root == jpn.row(TO_KOR).root


def test_a_withdrawal_that_is_kept_back_waits_from_that_commit_on_and_is_told_after_the_suspension(
    sites: tuple[Site, Site],
) -> None:
    jpn, kor = sites
    warning = launch_detection(1)
    jpn.take(warning, ALLOWED)
    send(jpn, kor)
    jpn.take(cancelling(warning))
    assert jpn.store.untold_counts() == {}
    govern(jpn, SUSPENDED)
    size = jpn.row(TO_KOR).size
    assert send(jpn, kor) == list(range(2, size))
    assert jpn.store.untold_counts() == {"KOR": 1}
    assert jpn.store.released(identifier(warning))[0].withdrawn_ns is None
    assert "a report that it was released no longer stands" in events(jpn, "withdrawals-kept-back")[0]
    assert verify_store(jpn.store, jpn.signatory, jpn.partners).findings == []
    assert jpn.do(TellWithdrawals("KOR")) == 0

    govern(jpn, ALLOWED)
    assert jpn.do(TellWithdrawals("KOR")) == 1
    assert send(jpn, kor) == []
    found = kor.store.received("JPN", identifier(warning))
    assert found is not None
    assert found.withdrawn_ns is not None
    assert jpn.store.untold_counts() == {}
    assert jpn.store.released(identifier(warning))[0].withdrawn_ns is not None


def test_a_withdrawal_that_is_kept_back_twice_is_still_told(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    warning = launch_detection(1)
    jpn.take(warning, ALLOWED)
    send(jpn, kor)
    jpn.take(cancelling(warning))
    for _ in range(2):
        govern(jpn, SUSPENDED)
        send(jpn, kor)
        assert jpn.store.untold_counts() == {"KOR": 1}
        govern(jpn, ALLOWED)
        assert jpn.do(TellWithdrawals("KOR")) == 1
    send(jpn, kor)
    found = kor.store.received("JPN", identifier(warning))
    assert found is not None
    assert found.withdrawn_ns is not None


def test_what_waits_again_is_not_announced_again_by_another_recall(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    warning = launch_detection(1)
    jpn.take(warning, ALLOWED)
    send(jpn, kor)
    jpn.take(cancelling(warning))
    govern(jpn, SUSPENDED)
    send(jpn, kor)
    again = cancelling(warning)
    again.report_id = launch_detection(77).report_id
    jpn.take(again)
    assert jpn.store.untold_counts() == {"KOR": 1}


def test_what_was_sealed_under_an_opening_that_was_kept_back_is_kept_back_with_it_and_its_withdrawals_are_told(
    sites: tuple[Site, Site],
) -> None:
    jpn, kor = sites
    warning = track(1)
    jpn.take(warning, ALLOWED)
    jpn.take(launch_detection(2))
    jpn.take(cancelling(warning))
    govern(jpn, SUSPENDED)
    assert send(jpn, kor, max_bytes=1) == [0, 1]
    govern(jpn, ALLOWED)
    # Sealed before the suspension, and asked for after it.
    rest = list(range(2, jpn.row(TO_KOR).size))
    assert send(jpn, kor) == rest
    assert keeping.NOT_OPENED in events(jpn)[-1]
    assert events(jpn, "withdrawals-kept-back") == [], "it can be told at once"
    assert jpn.do(TellWithdrawals("KOR")) == 1
    assert send(jpn, kor) == []
    found = kor.store.received("JPN", identifier(warning))
    assert found is not None
    assert found.withdrawn_ns is not None


# --- agreements


def test_a_release_whose_agreement_lapsed_before_it_was_sent_does_not_go(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1), WITH_TREATY)
    govern(jpn, LAPSED)
    jpn.take(launch_detection(2))
    # Opening, the release under the treaty, and one that cites none.
    assert send(jpn, kor) == [1]
    assert kor.store.received("JPN", identifier(launch_detection(1))) is None
    assert kor.store.received("JPN", identifier(launch_detection(2))) is not None


def test_an_agreement_lapses_by_its_days_or_by_a_policy_that_no_longer_has_it(sites: tuple[Site, Site]) -> None:
    jpn, _ = sites
    jpn.take(launch_detection(1), WITH_TREATY)
    run = jpn.run(TO_KOR)
    assert verdict_on(jpn, run) == Verdict([])
    assert list(verdict_on(jpn, run, now=AT_NOW + timedelta(days=200 * 366)).new) == [1]
    jpn.rulebook = NO_TREATY
    assert list(verdict_on(jpn, run).new) == [1]
    # Whatever the time is, there is no such agreement.
    jpn.clock_trusted = False
    assert list(verdict_on(jpn, run).new) == [1]


# --- doubt


def test_while_the_clock_is_not_trusted_what_rests_on_an_agreement_waits_and_goes_afterwards(
    sites: tuple[Site, Site],
) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1), WITH_TREATY)
    jpn.clock_trusted = False
    assert serve(jpn, TO_KOR, 0) is None
    assert verdict_on(jpn, jpn.run(TO_KOR)) == Verdict([], doubt=keeping.NO_CLOCK)
    assert jpn.do(KeepBack(TO_KOR, jpn.run(TO_KOR))) == 0
    assert (kept(jpn), events(jpn)) == ([], [])
    jpn.clock_trusted = True
    assert send(jpn, kor) == []
    assert kor.store.received("JPN", identifier(launch_detection(1))) is not None


def test_what_rests_on_no_agreement_goes_whatever_the_clock_is(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1), ALLOWED)
    jpn.clock_trusted = False
    assert send(jpn, kor) == []


def test_while_no_policy_is_in_force_nothing_goes_and_nothing_is_given_up(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1), ALLOWED)
    # Every partner counts as suspended while the orders on record are not believed.
    for suspended in (frozenset(), frozenset({"KOR"})):
        jpn.rulebook = replace(Rulebook.none(("KOR",)), suspended=suspended)
        assert verdict_on(jpn, jpn.run(TO_KOR)) == Verdict([], doubt=keeping.NO_POLICY)
        assert serve(jpn, TO_KOR, 0) is None
    assert (kept(jpn), events(jpn)) == ([], [])
    jpn.rulebook = ALLOWED
    assert send(jpn, kor) == []
    assert kor.store.received("JPN", identifier(launch_detection(1))) is not None


def test_a_suspension_keeps_back_whatever_the_clock_is(sites: tuple[Site, Site]) -> None:
    jpn, _ = sites
    jpn.take(launch_detection(1), WITH_TREATY)
    jpn.clock_trusted = False
    jpn.rulebook = replace(WITH_TREATY, suspended=frozenset({"KOR"}))
    assert verdict_on(jpn, jpn.run(TO_KOR)) == Verdict([], dict.fromkeys((0, 1), keeping.SUSPENDED))


# --- once, and on record


def test_what_is_kept_back_is_signed_and_recorded_once_and_served_again_as_it_was(sites: tuple[Site, Site]) -> None:
    jpn, _ = sites
    jpn.take(launch_detection(1), ALLOWED)
    govern(jpn, SUSPENDED)
    first = serve(jpn, TO_KOR, 0)
    size = jpn.row(Origin.decisions("JPN", 1)).size
    assert first is not None
    for rulebook in (SUSPENDED, ALLOWED, LAPSED, Rulebook.none(("KOR",))):
        govern(jpn, rulebook)
        jpn.restart()
        assert serve(jpn, TO_KOR, 0) == first
    assert jpn.row(Origin.decisions("JPN", 1)).size == size
    assert len(events(jpn)) == 1
    assert places_in(events(jpn)[0]) == (str(TO_KOR), frozenset({0, 1}))
    for row in first.absent:
        statement = EntryStatement.open(
            row.note, partner_of("JPN").gateway, kind=EntryStatementKind.ABSENT, node="JPN", origin=TO_KOR
        )
        assert (statement.index, statement.leaf_hash) == (row.index, row.leaf_hash)
        assert statement.reason == keeping.SUSPENDED


def test_two_streams_that_ask_in_one_commit_record_once(sites: tuple[Site, Site]) -> None:
    jpn, _ = sites
    jpn.take(launch_detection(1), ALLOWED)
    govern(jpn, SUSPENDED)
    step = KeepBack(TO_KOR, jpn.run(TO_KOR))
    assert jpn.do_all(step, step) == [2, 0]
    assert jpn.do(step) == 0
    assert len(events(jpn)) == 1


def test_it_is_decided_by_the_policy_of_the_very_commit(sites: tuple[Site, Site]) -> None:
    jpn, _ = sites
    jpn.take(launch_detection(1), ALLOWED)
    step = KeepBack(TO_KOR, jpn.run(TO_KOR))
    govern(jpn, SUSPENDED)
    assert jpn.do_all(Govern(ALLOWED), step) == [None, 0]
    assert jpn.do_all(Govern(SUSPENDED), step) == [None, 2]


def test_a_long_run_is_kept_back_in_several_commits(sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "KEPT_A_COMMIT", 2)
    jpn, kor = sites
    for seed in range(1, 5):
        jpn.take(launch_detection(seed), ALLOWED)
    govern(jpn, SUSPENDED)
    assert send(jpn, kor) == [0, 1, 2, 3, 4]
    assert [places_in(event)[1] for event in events(jpn)] == [{0, 1}, {2, 3}, {4}]


def test_what_a_partner_has_not_been_told_of_is_kept_back_for_no_other(sites: tuple[Site, Site]) -> None:
    jpn, _ = sites
    to_usa = Origin("JPN", "USA", "flash", 1)
    both = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)
    jpn.take(launch_detection(1), both)
    govern(jpn, replace(both, suspended=frozenset({"KOR"})))
    assert serve(jpn, to_usa, 0) == jpn.run(to_usa)


# --- ledgers that have ended


def acknowledge(site: Site, size: int, origin: Origin = TO_KOR) -> None:
    """KOR gives its receipt for a size."""
    raw = site.store.checkpoint(site.row(origin).id, size)
    assert raw is not None
    text = Note.parse(raw).text
    note = Note(text, (cosign(text, signatory_of("KOR").receipt, NOW // SECOND),)).encode()
    site.do(KeepCosignature(origin, CosignatureKind.RECEIPT, note, partner_of("KOR")))


def test_of_a_ledger_that_has_ended_only_what_was_confirmed_is_served_and_the_rest_goes_on_in_its_successor(
    sites: tuple[Site, Site],
) -> None:
    jpn, kor = sites
    warning = launch_detection(1)
    jpn.take(warning, ALLOWED)
    acknowledge(jpn, 2)
    jpn.take(launch_detection(2), WITH_TREATY)
    jpn.take(cancelling(warning), ALLOWED)
    above = list(range(2, jpn.row(TO_KOR).size))
    jpn.do(Succeed(TO_KOR, LOST, b""))
    # The agreement that the release rested on is over; its row is the successor's now.
    govern(jpn, LAPSED)
    assert send(jpn, kor) == above
    assert kor.store.received("JPN", identifier(warning)) is not None
    assert str(SECOND_GENERATION) in events(jpn)[0]
    assert jpn.store.untold_counts() == {}, "the withdrawal stands in the successor"

    kor.do(FollowSuccessor(TO_KOR, SECOND_GENERATION))
    assert len(send(jpn, kor, SECOND_GENERATION)) == 1
    assert kor.store.received("JPN", identifier(launch_detection(2))) is None
    found = kor.store.received("JPN", identifier(warning))
    assert found is not None
    assert found.withdrawn_ns is not None


def test_a_receipt_that_comes_after_the_end_makes_nothing_go_that_stands_in_the_successor(
    sites: tuple[Site, Site],
) -> None:
    jpn, _ = sites
    jpn.take(launch_detection(1), ALLOWED)
    jpn.do(Succeed(TO_KOR, LOST, b""))
    acknowledge(jpn, 2)
    run = serve(jpn, TO_KOR, 0)
    assert run is not None
    assert [row.index for row in run.absent] == [0, 1]


def test_a_suspension_keeps_back_what_was_confirmed_of_a_ledger_that_has_ended(sites: tuple[Site, Site]) -> None:
    jpn, _ = sites
    warning = launch_detection(1)
    jpn.take(warning, ALLOWED)
    jpn.take(cancelling(warning))
    size = jpn.row(TO_KOR).size
    acknowledge(jpn, size)
    jpn.do(Succeed(TO_KOR, LOST, b""))
    govern(jpn, SUSPENDED)
    run = serve(jpn, TO_KOR, 0)
    assert run is not None
    assert [row.index for row in run.absent] == list(range(size))
    # Whoever asks for it anew has lost it, and is told anew.
    assert jpn.store.untold_counts() == {"KOR": 1}


def test_what_was_kept_back_does_not_go_on_in_a_successor_and_its_withdrawals_are_told_once(
    sites: tuple[Site, Site],
) -> None:
    jpn, kor = sites
    told, secret = launch_detection(1), launch_detection(2)
    jpn.take(told, ALLOWED)
    send(jpn, kor)
    jpn.take(secret)
    jpn.take(cancelling(told))
    govern(jpn, SUSPENDED)
    serve(jpn, TO_KOR, 2)
    govern(jpn, ALLOWED)
    jpn.do(Succeed(TO_KOR, LOST, b""))
    assert jpn.do(TellWithdrawals("KOR")) == 1
    kor.do(FollowSuccessor(TO_KOR, SECOND_GENERATION))
    assert send(jpn, kor, SECOND_GENERATION) == []
    assert kor.store.received("JPN", identifier(secret)) is None
    found = kor.store.received("JPN", identifier(told))
    assert found is not None
    assert found.withdrawn_ns is not None


def test_what_is_kept_back_in_the_commit_that_ends_its_ledger_waits_and_does_not_go_on(
    sites: tuple[Site, Site],
) -> None:
    jpn, kor = sites
    warning = recalled_on_its_way(jpn, kor)
    jpn.do_all(KeepBack(TO_KOR, jpn.run(TO_KOR, 2)), Succeed(TO_KOR, LOST, b""))
    assert jpn.store.untold_counts() == {"KOR": 1}
    govern(jpn, ALLOWED)
    assert jpn.do(TellWithdrawals("KOR")) == 1
    assert_told_in_the_successor(jpn, kor, warning)


def test_what_is_asked_for_in_the_commit_that_has_ended_its_ledger_goes_on_and_does_not_wait(
    sites: tuple[Site, Site],
) -> None:
    jpn, kor = sites
    warning = recalled_on_its_way(jpn, kor)
    run = jpn.run(TO_KOR, 2)
    assert jpn.do_all(Succeed(TO_KOR, LOST, b""), KeepBack(TO_KOR, run)) == [SECOND_GENERATION, 0]
    assert jpn.store.untold_counts() == {}
    govern(jpn, ALLOWED)
    assert jpn.do(TellWithdrawals("KOR")) == 0
    assert_told_in_the_successor(jpn, kor, warning)


def recalled_on_its_way(jpn: Site, kor: Site) -> bytes:
    """KOR has a report, is not told yet that it was recalled, and is suspended; the report's identifier."""
    warning = launch_detection(1)
    jpn.take(warning, ALLOWED)
    send(jpn, kor)
    jpn.take(cancelling(warning))
    govern(jpn, SUSPENDED)
    return identifier(warning)


def assert_told_in_the_successor(jpn: Site, kor: Site, report_id: bytes) -> None:
    kor.do(FollowSuccessor(TO_KOR, SECOND_GENERATION))
    send(jpn, kor, SECOND_GENERATION)
    found = kor.store.received("JPN", report_id)
    assert found is not None
    assert found.withdrawn_ns is not None
