"""What is kept of a partner that contradicts itself about ledgers without end: junk is bounded, and hides nothing."""

from __future__ import annotations

from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.evidence import Contradiction, OwnerKeys, contradiction
from gateway.ledger.origin import Origin
from gateway.ledger.statement import Heartbeat
from gateway.release.evidence import KeepAllEvidence, KeepEvidence, all_against_record, owner_keys
from gateway.release.steps import FollowSuccessor
from tests.release.world import RELEASE_ALL, Site, partner_of, rules, signatory_of
from tests.reports.examples import launch_detection, track

A, B = bytes(32), b"\xbb" * 32


def of(generation: int, lane: str = "flash") -> Origin:
    return Origin.release("JPN", "KOR", lane, generation)


def keys() -> OwnerKeys:
    return owner_keys(partner_of("JPN"))


def two_roots(origin: Origin, size: int = 5) -> Contradiction:
    """JPN gives a ledger two roots."""
    signed = [sign_checkpoint(Checkpoint(origin, size, root), signatory_of("JPN").log).encode() for root in (A, B)]
    return contradiction(signed[0], signed[1], keys())


def kept(kor: Site) -> list[str]:
    return [event.detail.partition(":")[0] for event in kor.events() if event.kind == "fork-evidence"]


def test_of_generations_that_never_were_the_first_contradiction_of_each_line_is_kept_and_says_so(kor: Site) -> None:
    for lane in ("flash", "routine"):
        found = [kor.do(KeepEvidence(two_roots(of(generation, lane)))) for generation in range(1000, 1050)]
        assert found == [True] + 49 * [False]
    assert kept(kor) == [str(of(1000)), str(of(1000, "routine"))]
    first = next(event for event in kor.events() if event.kind == "fork-evidence")
    assert "this evidence alone is kept" in first.detail
    assert tuple(first.evidence) == two_roots(of(1000)).statements
    rows = [*kor.store.ledgers()]
    kor.restart()
    assert not kor.do(KeepEvidence(two_roots(of(2000)))), "a start begins nothing anew"
    assert [*kor.store.ledgers()] == rows


def test_whatever_came_before_a_contradiction_about_a_ledger_that_is_followed_is_kept(jpn: Site, kor: Site) -> None:
    jpn.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    kor.do(kor.receive(jpn.incoming(of(1))))
    for generation in range(3, 50):
        kor.do(KeepEvidence(two_roots(of(generation))))
    assert kept(kor) == [str(of(3))]
    # The one that is here, the one that comes next, and so on as it is followed, also the one that counted as junk.
    assert [kor.do(KeepEvidence(two_roots(of(generation)))) for generation in (1, 2)] == [True, True]
    for generation in (2, 3):
        assert not kor.do(KeepEvidence(two_roots(of(generation + 1)))), "it is ahead by two"
        kor.do(FollowSuccessor(of(generation - 1), of(generation)))
        assert kor.do(KeepEvidence(two_roots(of(generation + 1))))
    assert kept(kor) == [str(of(generation)) for generation in (3, 1, 2, 3, 4)]


def test_a_contradiction_about_a_ledger_of_which_nothing_is_here_yet_is_kept(kor: Site) -> None:
    assert kor.do(KeepEvidence(two_roots(of(50))))
    assert kor.do(KeepEvidence(two_roots(of(1))))
    assert not kor.do(KeepEvidence(two_roots(of(1), size=9)))


def test_of_one_pair_everything_that_is_not_known_is_kept(kor: Site) -> None:
    """What is known about one ledger must not hide what the same heartbeats say of the next."""
    kor.do(KeepEvidence(two_roots(of(1))))
    found = [two_roots(origin) for origin in (of(1), of(1000), of(2), of(1001), of(1, "routine"))]
    told = kor.do(KeepAllEvidence(found, keys()))
    assert [each.origin for each in told] == [of(1000), of(2), of(1, "routine")]
    assert kor.do(KeepAllEvidence(found, keys())) == []


def test_each_head_that_contradicts_what_is_on_record_is_found(jpn: Site, kor: Site) -> None:
    lanes = ("flash", "immediate")
    for report in (launch_detection(1), track(2)):
        jpn.take(report, rules(KOR=RELEASE_ALL))
    for lane in lanes:
        kor.do(kor.receive(jpn.incoming(of(1, lane))))
    heads = tuple(Checkpoint(of(generation, lane), 2, B) for lane in lanes for generation in (1, 2))
    raw = Heartbeat("JPN", "KOR", 7, 1, heads).sign(signatory_of("JPN").gateway)
    found = list(all_against_record(kor.store, heads, raw, partner_of("JPN")))
    assert [each.origin for each in found] == [of(1, lane) for lane in lanes]
