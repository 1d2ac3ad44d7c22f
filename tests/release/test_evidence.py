"""A partner that contradicts itself is put on record, once for each ledger, with both statements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.cli.ledger_evidence import check
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.evidence import Contradiction, EvidenceError, contradiction
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.evidence import (
    Contradicted,
    KeepEvidence,
    KeepFinding,
    owner_keys,
    recorded_keys,
    require_no_contradiction,
)
from gateway.release.signatory import Partner, Retired
from gateway.release.steps import KeepCosignature
from gateway.release.witness import Beat
from tests.release.world import RELEASE_ALL, Site, partner_of, rules, signatory_of
from tests.reports.examples import NOW, SECOND, launch_detection

TO_KOR = Origin.release("JPN", "KOR", "flash", 1)
OTHER_ROOT = b"\xbb" * 32


def forged(origin: Origin, size: int, root: bytes = OTHER_ROOT) -> bytes:
    """A checkpoint that JPN really signs."""
    return sign_checkpoint(Checkpoint(origin, size, root), signatory_of("JPN").log).encode()


def test_a_batch_with_a_checkpoint_that_contradicts_the_replica_is_evidence(jpn: Site, kor: Site) -> None:
    jpn.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    batch = jpn.incoming(TO_KOR)
    kor.do(kor.receive(batch))
    for first in (0, 2):
        with pytest.raises(Contradicted) as caught:
            kor.do(kor.receive(replace(batch, first=first, checkpoint=forged(TO_KOR, 2))))
        assert caught.value.found.statements == (batch.checkpoint, forged(TO_KOR, 2))
    assert kor.row(TO_KOR).size == 2


def test_a_witness_ledger_that_is_rewritten_is_evidence(jpn: Site, kor: Site) -> None:
    witness = Origin.witness("JPN", 1)
    jpn.do(Beat(frozenset({"KOR"})))
    batch = jpn.incoming(witness)
    kor.do(kor.receive(batch))
    with pytest.raises(Contradicted):
        kor.do(kor.receive(replace(batch, checkpoint=forged(witness, 2))))


def test_a_post_quantum_line_over_another_root_is_evidence(jpn: Site, kor: Site) -> None:
    jpn.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    kor.do(kor.receive(jpn.incoming(TO_KOR)))
    text = Checkpoint(TO_KOR, 2, OTHER_ROOT).text()
    line = Note(text, (cosign(text, signatory_of("JPN").pq, NOW // SECOND),)).encode()
    with pytest.raises(Contradicted):
        kor.do(KeepCosignature(TO_KOR, CosignatureKind.PQ, line, partner_of("JPN")))


def test_a_checkpoint_of_a_stranger_is_no_evidence(jpn: Site, kor: Site) -> None:
    jpn.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    batch = jpn.incoming(TO_KOR)
    kor.do(kor.receive(batch))
    signed = sign_checkpoint(Checkpoint(TO_KOR, 2, OTHER_ROOT), signatory_of("USA").log).encode()
    with pytest.raises(Exception, match="signed by no known key"):
        kor.do(kor.receive(replace(batch, checkpoint=signed)))


def test_evidence_is_kept_once_for_each_ledger(kor: Site) -> None:
    first = contradiction(forged(TO_KOR, 2), forged(TO_KOR, 2, bytes(32)), owner_keys(partner_of("JPN")))
    second = contradiction(forged(TO_KOR, 7), forged(TO_KOR, 7, bytes(32)), owner_keys(partner_of("JPN")))
    next_one = TO_KOR.successor()
    third = contradiction(forged(next_one, 2), forged(next_one, 2, bytes(32)), owner_keys(partner_of("JPN")))
    assert kor.do_all(KeepEvidence(first), KeepEvidence(second)) == [True, False]
    assert [kor.do(KeepEvidence(each)) for each in (first, second, third)] == [False, False, True]
    events = [event for event in kor.events() if event.kind == "fork-evidence"]
    assert [tuple(event.evidence) for event in events] == [first.statements, third.statements]


# --- keys that changed


NEW_LOG = LogKey(b"9" * 32)


def after_the_change() -> Partner:
    """JPN, once it has put another log key into use."""
    jpn = partner_of("JPN")
    return replace(jpn, log=[NEW_LOG.public], retired_log=[Retired(key, 2_000_000_000) for key in jpn.log])


def anew(size: int, root: bytes = OTHER_ROOT) -> bytes:
    """A checkpoint by the key that is in use after the change."""
    return sign_checkpoint(Checkpoint(TO_KOR, size, root), NEW_LOG).encode()


@pytest.fixture
def held(jpn: Site, kor: Site) -> bytes:
    """The root of the two entries that KOR holds of JPN, signed with the key of before the change."""
    jpn.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    kor.do(kor.receive(jpn.incoming(TO_KOR)))
    kor.partners = {**kor.partners, "JPN": after_the_change()}
    return kor.row(TO_KOR).root


def test_what_a_retired_key_states_is_no_evidence(kor: Site, held: bytes) -> None:
    require_no_contradiction(kor.store, TO_KOR, forged(TO_KOR, 2), after_the_change())
    assert held != OTHER_ROOT


def test_a_fork_after_the_change_is_shown_with_the_anchor_and_convinces_everybody(kor: Site, held: bytes) -> None:
    kor.do(KeepCosignature(TO_KOR, CosignatureKind.ANCHOR, anew(2, held), after_the_change()))
    with pytest.raises(Contradicted) as caught:
        require_no_contradiction(kor.store, TO_KOR, anew(2), after_the_change())
    assert check(caught.value.found.encode(), after_the_change()).origin == TO_KOR


def test_a_pair_under_keys_in_use_takes_the_place_of_one_that_is_not(kor: Site, held: bytes) -> None:
    with pytest.raises(Contradicted) as caught:
        require_no_contradiction(kor.store, TO_KOR, anew(2), after_the_change())
    weak, keys = caught.value.found, owner_keys(after_the_change())
    with pytest.raises(EvidenceError):
        check(weak.encode(), after_the_change())
    proof = contradiction(anew(3), anew(3, bytes(32)), keys)
    other = contradiction(anew(4), anew(4, bytes(32)), keys)
    again = contradiction(forged(TO_KOR, 5), anew(5, bytes(32)), recorded_keys(after_the_change()))
    kept = [kor.do(KeepEvidence(each, keys)) for each in (weak, again, proof, weak, other)]
    assert kept == [True, False, True, False, False]
    events = [tuple(event.evidence) for event in kor.events() if event.kind == "fork-evidence"]
    assert events == [weak.statements, proof.statements]


def test_junk_about_what_is_not_followed_gives_way_to_a_pair_under_keys_in_use(kor: Site, held: bytes) -> None:
    far, keys = TO_KOR.successor().successor(), owner_keys(after_the_change())

    def pair(key: LogKey, size: int) -> Contradiction:
        one, other = (sign_checkpoint(Checkpoint(far, size, root), key).encode() for root in (held, OTHER_ROOT))
        return contradiction(one, other, recorded_keys(after_the_change()))

    weak, proof = pair(signatory_of("JPN").log, 5), pair(NEW_LOG, 6)
    steps = [weak, pair(signatory_of("JPN").log, 7), proof, weak, pair(NEW_LOG, 8)]
    assert [kor.do(KeepEvidence(each, keys)) for each in steps] == [True, False, True, False, False]
    kor.restart()
    assert not kor.do(KeepEvidence(pair(NEW_LOG, 9), keys)), "a start begins nothing anew"
    events = [tuple(event.evidence) for event in kor.events() if event.kind == "fork-evidence"]
    assert events == [weak.statements, proof.statements]


def test_a_finding_about_a_ledger_goes_on_record_once(kor: Site) -> None:
    steps = [KeepFinding("a", "it parts", (b"note",)), KeepFinding("a", "it parts"), KeepFinding("b", "it parts too")]
    assert [kor.do(step) for step in steps] == [True, False, True]
    events = [(event.kind, event.detail, tuple(event.evidence)) for event in kor.events()]
    assert events == [("reconciled", "it parts", (b"note",)), ("reconciled", "it parts too", ())]
