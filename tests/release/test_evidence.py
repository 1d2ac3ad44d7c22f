"""A partner that contradicts itself is put on record, once for each ledger, with both statements."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.evidence import contradiction
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.evidence import Contradicted, KeepEvidence, owner_keys
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
