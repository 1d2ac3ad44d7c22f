"""Proofs of releases: what they show, what they do not, and that nothing but the release itself passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from signalfire.v1 import ledger_pb2

from gateway.audit.proof_check import NotProved, Proved, at, check_proof
from gateway.audit.proofs import CannotProve, ProofRequest, ReleaseProofFile, prove_release
from gateway.audit.signers import Signers
from gateway.identity.keyring import public_key_id
from gateway.ledger.checkpoint import LogKey, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note, encode_base64
from gateway.ledger.proof_file import ProofFile
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import KeptBackRow
from gateway.release.opening import Opener
from gateway.release.pipeline import TakeReport
from gateway.release.retention import PruneEntries
from gateway.release.signatory import Retired
from gateway.release.steps import SignPostQuantum
from gateway.seal.entry import encode_canonical
from tests.audit.nations import NEW_LOG, NOW_S, TO_KOR, TO_USA, anchored, confirmed, nation, receipt, rotated
from tests.release.world import RELEASE_ALL, MakeSite, Site, anything, keys_of, partner_of, rules, signatory_of
from tests.reports.examples import cancellation, launch_detection

RULES = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)
REPORTS = [launch_detection(seed) for seed in range(1, 8)]
JPN, KOR = nation("JPN"), nation("KOR")
SIGNERS = {node: Signers.of(nation(node)) for node in ("JPN", "KOR", "USA")}


def prove(site: Site, report_id: str, partner: str = "KOR", **options: Any) -> ReleaseProofFile:
    """What a proof made from a site's store is."""
    signers = SIGNERS | options.pop("signers", {})
    with site.store.snapshot():
        return prove_release(site.store, site.opener, site.node, ProofRequest(report_id, partner, **options), signers)


@pytest.fixture
def two(jpn: Site, kor: Site) -> SimpleNamespace:
    """JPN released some reports to KOR and USA; KOR confirmed."""
    jpn.do_all(*(TakeReport.of(report, "c2", anything) for report in REPORTS), rulebook=RULES)
    confirmed(jpn, kor)
    return SimpleNamespace(jpn=jpn, kor=kor)


def test_a_release_is_proved_by_its_file_and_two_bundles(two: SimpleNamespace) -> None:
    made = prove(two.jpn, REPORTS[3].report_id)
    assert made.remarks == []
    proved = check_proof(made.file, JPN, KOR)
    assert proved.origin == TO_KOR
    assert proved.report == two.jpn.contents(TO_KOR)[made.index].report
    assert proved.report is not None
    assert proved.report.report_id == REPORTS[3].report_id
    assert (proved.hidden, proved.absent, proved.remarks) == (0, "", ())
    assert proved.receipt is not None
    assert proved.receipt.seconds == NOW_S
    assert proved.post_quantum is not None


def test_the_recipient_proves_what_it_received(two: SimpleNamespace) -> None:
    made = prove(two.kor, REPORTS[3].report_id, "JPN", originator="JPN")
    proved = check_proof(made.file, JPN, KOR)
    assert (proved.origin, proved.report) == (TO_KOR, two.jpn.contents(TO_KOR)[made.index].report)
    assert proved.receipt is not None


def test_a_proof_holds_one_entry_and_nothing_of_any_other_or_of_other_partners(two: SimpleNamespace) -> None:
    made = prove(two.jpn, REPORTS[3].report_id)
    file = ProofFile.parse(made.file)
    entries = two.jpn.run(TO_KOR)
    shown = ledger_pb2.ReleaseProof.FromString(file.extra)
    assert shown.entry == two.jpn.store.entry(two.jpn.row(TO_KOR).id, made.index)
    told = made.file.decode() + repr(shown)
    for other in REPORTS:
        assert (other.report_id in told) == (other == REPORTS[3])
    assert "USA" not in told
    assert len(made.file) < 10_000 < len(entries.entries)
    assert {line.name for line in file.checkpoint.signatures} == {
        str(TO_KOR),
        "signalfire/v1/JPN/pq",
        "signalfire/v1/KOR/receipt",
    }


def test_without_content_the_entry_alone_is_shown(two: SimpleNamespace) -> None:
    made = prove(two.jpn, REPORTS[3].report_id, without_content=True)
    shown = ledger_pb2.ReleaseProof.FromString(ProofFile.parse(made.file).extra)
    assert not shown.HasField("disclosed")
    proved = check_proof(made.file, JPN, KOR)
    assert proved.content is None
    assert proved.receipt is not None


def test_content_needs_the_keys_and_nothing_else_does(two: SimpleNamespace) -> None:
    request = ProofRequest(REPORTS[3].report_id, "KOR")
    with pytest.raises(CannotProve, match="--without-content"):
        prove_release(two.jpn.store, None, "JPN", request, SIGNERS)
    with pytest.raises(CannotProve, match=r"does not open.*--without-content"):
        prove_release(two.jpn.store, Opener("JPN", signatory_of("USA").sealing), "JPN", request, SIGNERS)
    made = prove_release(two.jpn.store, None, "JPN", replace(request, without_content=True), SIGNERS)
    assert check_proof(made.file, JPN).index == made.index


def test_where_no_receipt_has_come_that_is_said(jpn: Site) -> None:
    jpn.do_all(TakeReport.of(REPORTS[0], "c2", anything), rulebook=RULES)
    made = prove(jpn, REPORTS[0].report_id, unconfirmed=True)
    assert "no receipt under a key in use covers it" in made.remarks[0]
    assert "no post-quantum signature" in made.remarks[1]
    proved = check_proof(made.file, JPN, KOR)
    assert proved.receipt is None
    assert proved.post_quantum is None
    assert any("no receipt of KOR" in remark for remark in proved.remarks)


def test_under_load_a_size_with_both_further_signatures_is_found(two: SimpleNamespace) -> None:
    for seed in range(20, 24):
        two.jpn.take(launch_detection(seed), RULES)
        receipt(two.jpn, two.kor)
    made = prove(two.jpn, REPORTS[3].report_id)
    assert made.remarks == []
    assert made.size == len(REPORTS) + 1
    newer = prove(two.jpn, launch_detection(21).report_id)
    assert newer.size == two.jpn.row(TO_KOR).size
    assert check_proof(newer.file, JPN, KOR).receipt is not None


def test_a_withdrawn_report_is_proved_with_a_remark(two: SimpleNamespace) -> None:
    two.jpn.take(cancellation(9, cancellation__report_ids=[REPORTS[3].report_id]), RULES)
    assert any("withdrawn later" in remark for remark in prove(two.jpn, REPORTS[3].report_id).remarks)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (ProofRequest("no-uuid", "KOR"), "not a UUID"),
        (ProofRequest(launch_detection(99).report_id, "KOR"), "was not released to KOR"),
        (ProofRequest(REPORTS[0].report_id, "AUS"), "was not released to AUS"),
        (ProofRequest(REPORTS[0].report_id, "KOR", "USA"), "was not released to KOR, nor received from KOR"),
    ],
)
def test_what_was_not_released_is_not_proved(two: SimpleNamespace, request_: ProofRequest, says: str) -> None:
    with pytest.raises(CannotProve, match=says):
        prove_release(two.jpn.store, two.jpn.opener, "JPN", request_, SIGNERS)


def test_what_was_kept_back_is_shown_as_its_hash_alone(two: SimpleNamespace) -> None:
    jpn = two.jpn
    ledger, index = jpn.row(TO_USA).id, 3
    entry = jpn.store.entry(ledger, index)
    assert entry is not None
    statement = EntryStatement(EntryStatementKind.ABSENT, "JPN", TO_USA, index, leaf_hash(entry), "suspended")
    plan = jpn.plan()
    plan.ledgers.keep_back(KeptBackRow(ledger, index, "suspended", statement.sign(jpn.signatory.gateway)))
    jpn.keep(plan)
    made = prove(jpn, REPORTS[index - 1].report_id, "USA")
    assert "hash alone: suspended" in made.remarks[0]
    assert entry[44:100] not in ProofFile.parse(made.file).extra
    proved = check_proof(made.file, JPN)
    assert (proved.absent, proved.content) == ("suspended", None)


def prune(site: Site) -> None:
    """Lets every content go that may go."""
    looked = site.do(PruneEntries(TO_KOR, 0, 0, site.now_ns + 1))
    while not looked.done:
        looked = site.do(PruneEntries(TO_KOR, looked.segment, looked.index, site.now_ns + 1))
    assert site.store.entry(site.row(TO_KOR).id, 4) is None


def test_what_the_owner_pruned_is_proved_by_its_hash(two: SimpleNamespace) -> None:
    before = check_proof(prove(two.jpn, REPORTS[3].report_id).file, JPN, KOR)
    prune(two.jpn)
    made = prove(two.jpn, REPORTS[3].report_id)
    assert "hash alone" in made.remarks[0]
    proved = check_proof(made.file, JPN, KOR)
    assert (proved.origin, proved.index, proved.checkpoint) == (before.origin, before.index, before.checkpoint)
    assert proved.absent
    assert proved.content is None
    assert proved.receipt is not None


def test_what_the_recipient_pruned_is_its_own_word(two: SimpleNamespace) -> None:
    prune(two.kor)
    made = prove(two.kor, REPORTS[3].report_id, "JPN", originator="JPN")
    assert check_proof(made.file, JPN, KOR).absent
    remarks = check_proof(made.file, JPN).remarks
    assert any("the word of KOR, whose bundle was not given" in remark for remark in remarks)
    with pytest.raises(NotProved, match="no known key"):
        check_proof(made.file, JPN, nation("KOR", gateway=partner_of("USA").gateway))


# --- rules of the check


def changed(made: ReleaseProofFile, change: Callable[[ledger_pb2.ReleaseProof], Any], **fields: Any) -> bytes:
    """The file with other extra data."""
    file = ProofFile.parse(made.file)
    proof = ledger_pb2.ReleaseProof.FromString(file.extra)
    change(proof)
    return replace(file, extra=encode_canonical(proof), **fields).encode()


def other_entry(two: SimpleNamespace, index: int) -> bytes:
    entry: bytes = two.jpn.store.entry(two.jpn.row(TO_KOR).id, index)
    return entry


def nothing(proof: ledger_pb2.ReleaseProof) -> None:
    proof.ClearField("disclosed")
    proof.ClearField("entry")


def test_a_proof_for_another_leaf_is_refused(two: SimpleNamespace) -> None:
    made = prove(two.jpn, REPORTS[3].report_id)
    other = prove(two.jpn, REPORTS[4].report_id)
    swapped = replace(ProofFile.parse(made.file), extra=ProofFile.parse(other.file).extra).encode()
    with pytest.raises(NotProved, match="does not lead to the root"):
        check_proof(swapped, JPN, KOR)
    payload = ledger_pb2.ReleaseProof.FromString(ProofFile.parse(other.file).extra).disclosed
    with pytest.raises(NotProved, match="not the ones that the entry committed to"):
        check_proof(changed(made, lambda proof: proof.disclosed.CopyFrom(payload)), JPN, KOR)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (nothing, "extra data is not a ReleaseProof"),
        (lambda proof: proof.ClearField("entry"), "extra data is not a ReleaseProof"),
        (lambda proof: setattr(proof, "absent", b"a"), "extra data is not a ReleaseProof"),
        (lambda proof: setattr(proof, "entry", proof.entry[:-1]), "bytes"),
        (lambda proof: setattr(proof, "entry", b"\x02" + proof.entry[1:]), "format version 2"),
        (lambda proof: setattr(proof.disclosed.parts[0], "salt", bytes(32)), "not the ones that the entry committed"),
        (lambda proof: setattr(proof.disclosed.parts[0], "content", b""), "not the ones that the entry committed"),
        (lambda proof: setattr(proof.disclosed.parts[0], "group", 9), "not the ones that the entry committed"),
        (lambda proof: proof.disclosed.ClearField("parts"), "0 parts"),
    ],
)
def test_what_the_entry_does_not_bear_out_is_refused(
    two: SimpleNamespace, change: Callable[[ledger_pb2.ReleaseProof], Any], says: str
) -> None:
    with pytest.raises(NotProved, match=says):
        check_proof(changed(prove(two.jpn, REPORTS[3].report_id), change), JPN, KOR)


def test_the_bundles_have_to_be_those_of_the_two_nations(two: SimpleNamespace) -> None:
    made = prove(two.jpn, REPORTS[3].report_id)
    with pytest.raises(NotProved, match="the trust bundle is that of KOR; give that of JPN"):
        check_proof(made.file, KOR, KOR)
    with pytest.raises(NotProved, match="bundle is that of USA; give that of KOR"):
        check_proof(made.file, JPN, nation("USA"))
    with pytest.raises(NotProved, match="signed by no known key"):
        check_proof(made.file, nation("JPN", log=partner_of("USA").log), KOR)


def test_a_receipt_or_post_quantum_line_that_does_not_hold_condemns_the_file(two: SimpleNamespace) -> None:
    file = ProofFile.parse(prove(two.jpn, REPORTS[3].report_id).file)
    for place, line in enumerate(file.checkpoint.signatures):
        broken = replace(line, signature=line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
        lines = [*file.checkpoint.signatures[:place], broken, *file.checkpoint.signatures[place + 1 :]]
        note = replace(file.checkpoint, signatures=tuple(lines))
        with pytest.raises(NotProved, match="does not hold"):
            check_proof(replace(file, checkpoint=note).encode(), JPN, KOR)


def test_a_receipt_for_another_ledger_counts_for_nothing(two: SimpleNamespace) -> None:
    file = ProofFile.parse(prove(two.jpn, REPORTS[3].report_id).file)
    other = file.checkpoint.text.replace("/flash/", "/routine/")
    line = cosign(other, signatory_of("KOR").receipt, NOW_S)
    kept = [line for line in file.checkpoint.signatures if not line.name.endswith("receipt")]
    note = Note(file.checkpoint.text, (*kept, line))
    with pytest.raises(NotProved, match="does not hold"):
        check_proof(replace(file, checkpoint=note).encode(), JPN, KOR)


def test_without_the_partners_bundle_its_receipt_is_not_spoken_of(two: SimpleNamespace) -> None:
    proved = check_proof(prove(two.jpn, REPORTS[3].report_id).file, JPN)
    assert proved.receipt is None
    assert any("was not checked" in remark for remark in proved.remarks)


def test_content_that_may_still_have_to_be_kept_back_is_left_out_unless_it_is_asked_for(jpn: Site, kor: Site) -> None:
    jpn.do_all(TakeReport.of(REPORTS[0], "c2", anything), rulebook=RULES)
    confirmed(jpn, kor)
    jpn.do_all(TakeReport.of(REPORTS[1], "c2", anything), rulebook=RULES)
    assert check_proof(prove(jpn, REPORTS[0].report_id).file, JPN, KOR).report is not None
    made = prove(jpn, REPORTS[1].report_id)
    assert "the content is left out, as KOR has not confirmed the entry" in made.remarks[0]
    assert not ledger_pb2.ReleaseProof.FromString(ProofFile.parse(made.file).extra).HasField("disclosed")
    assert check_proof(made.file, JPN, KOR).report is None
    assert check_proof(prove(jpn, REPORTS[1].report_id, unconfirmed=True).file, JPN, KOR).report is not None
    receipt(jpn, kor)
    assert check_proof(prove(jpn, REPORTS[1].report_id).file, JPN, KOR).report is not None


# --- after a change of keys: nobody knows whether the owner's or the recipient's retired key has a thief

ANY_TIME = pytest.mark.parametrize("until", [NOW_S - 86_400, NOW_S, NOW_S + 400 * 86_400])


@ANY_TIME
def test_a_file_under_a_key_that_is_retired_since_proves_nothing_and_says_so(two: SimpleNamespace, until: int) -> None:
    made = prove(two.jpn, REPORTS[3].report_id)
    owner = nation("JPN", **rotated("JPN", until))
    key_id = public_key_id(partner_of("JPN").log[0].public_key)
    says = f"{key_id} signed it, which JPN retired at {at(until)[:10]}.*not proved by this file alone.*made anew"
    for recipient in (KOR, None):
        with pytest.raises(NotProved, match=says):
            check_proof(made.file, owner, recipient)


@ANY_TIME
def test_a_thief_of_a_retired_log_key_can_backdate_nothing(make_site: MakeSite, until: int) -> None:
    # He is the recipient, has a whole ledger that was never JPN's, and gives his own receipt with a time of his own.
    fake = make_site("JPN")
    fake.do_all(TakeReport.of(launch_detection(77), "c2", anything), rulebook=RULES)
    file = ProofFile.parse(prove(fake, launch_detection(77).report_id, unconfirmed=True).file)
    note = sign_checkpoint(file.said, LogKey(keys_of("JPN").log_seed))
    note = note.with_signatures(cosign(file.said.text(), signatory_of("KOR").receipt, until - 5))
    forged = replace(file, checkpoint=note).encode()
    assert check_proof(forged, JPN, KOR).receipt is not None
    with pytest.raises(NotProved, match="not proved by this file alone"):
        check_proof(forged, nation("JPN", **rotated("JPN", until)), KOR)


@ANY_TIME
def test_a_thief_of_a_retired_receipt_key_confirms_nothing(jpn: Site, until: int) -> None:
    # He is the owner: the recipient never got anything.
    jpn.do_all(TakeReport.of(REPORTS[0], "c2", anything), rulebook=RULES)
    file = ProofFile.parse(prove(jpn, REPORTS[0].report_id).file)
    note = file.checkpoint.with_signatures(cosign(file.said.text(), signatory_of("KOR").receipt, until - 5))
    forged = replace(file, checkpoint=note).encode()
    assert check_proof(forged, JPN, KOR).receipt is not None
    old = (Retired(partner_of("KOR").receipt[0], until),)
    proved = check_proof(forged, JPN, nation("KOR", receipt=partner_of("USA").receipt, retired_receipt=old))
    assert proved.receipt is None
    assert any("counts for nothing: have the proof made anew" in remark for remark in proved.remarks)


def test_a_retired_post_quantum_key_counts_for_nothing(two: SimpleNamespace) -> None:
    made = prove(two.jpn, REPORTS[3].report_id)
    old = (Retired(partner_of("JPN").pq[0], NOW_S + 1),)
    proved = check_proof(made.file, nation("JPN", pq=partner_of("USA").pq, retired_pq=old), KOR)
    assert proved.post_quantum is None
    assert any("post-quantum signature of JPN is by the key" in remark for remark in proved.remarks)


def test_either_side_makes_it_anew_under_the_key_that_took_over(two: SimpleNamespace) -> None:
    anchored(two.jpn, two.kor)
    owner = nation("JPN", **rotated("JPN", NOW_S - 1))
    signers = {"JPN": Signers.of(owner)}
    for made in (
        prove(two.jpn, REPORTS[3].report_id, signers=signers),
        prove(two.kor, REPORTS[3].report_id, "JPN", originator="JPN", signers=signers),
    ):
        assert made.remarks == []
        proved = check_proof(made.file, owner, KOR)
        assert proved.receipt is not None
        assert proved.signed.key_id == public_key_id(NEW_LOG.public.public_key)


def test_nothing_is_made_that_would_not_be_believed(two: SimpleNamespace) -> None:
    signers = {"JPN": Signers.of(nation("JPN", **rotated("JPN", NOW_S)))}
    with pytest.raises(CannotProve, match="no log key of JPN that is in use has signed"):
        prove(two.kor, REPORTS[3].report_id, "JPN", originator="JPN", signers=signers)
    with pytest.raises(CannotProve, match="no trust bundle of JPN is in force"):
        prove_release(two.kor.store, two.kor.opener, "KOR", ProofRequest(REPORTS[3].report_id, "JPN", "JPN"), {})


def test_receipts_and_checkpoints_under_older_keys_are_passed_over(two: SimpleNamespace) -> None:
    # The receipt of the newest size is under a key that is retired since: the newest that counts is taken.
    old = partner_of("KOR").receipt[0]
    signers = {"KOR": Signers.of(nation("KOR", receipt=partner_of("USA").receipt, retired_receipt=(Retired(old, 1),)))}
    made = prove(two.jpn, REPORTS[3].report_id, signers=signers)
    assert "no receipt under a key in use covers it" in made.remarks[0]


def test_every_flipped_bit_is_refused_or_changes_no_word(two: SimpleNamespace) -> None:
    raw = prove(two.jpn, REPORTS[3].report_id).file
    proved = check_proof(raw, JPN, KOR)

    def said(one: Proved) -> tuple[object, ...]:
        return one.origin, one.index, one.checkpoint, one.content, one.absent

    for place in range(0, len(raw), 7):
        altered = bytearray(raw)
        altered[place] ^= 1 << place % 8
        try:
            found = check_proof(bytes(altered), JPN, KOR)
        except NotProved:
            continue
        assert said(found) == said(proved)


def test_it_is_read_in_few_reads_from_a_large_ledger(make_site: MakeSite, tmp_path: Path) -> None:
    jpn = make_site("JPN")
    plan = jpn.plan()
    writer = plan.ledgers.writer("KOR", "flash")
    for _ in range(3000):
        writer.append(ledger_pb2.EntryContent(cover=ledger_pb2.Cover()).SerializeToString())
    jpn.keep(plan)
    jpn.take(launch_detection(1007), RULES)
    reads = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            reads.append(name)
            return getattr(jpn.store, name)

    request = ProofRequest(launch_detection(1007).report_id, "KOR", unconfirmed=True)
    made = prove_release(Counting(), jpn.opener, "JPN", request, SIGNERS)
    assert made.size > 3000
    assert reads.count("tile") <= 8
    assert reads.count("leaves") == 1
    assert len(reads) < 40
    assert encode_base64(ProofFile.parse(made.file).path[0]) in made.file.decode()


def test_of_the_post_quantum_line_is_said_what_the_file_has(jpn: Site) -> None:
    jpn.do_all(TakeReport.of(REPORTS[0], "c2", anything), rulebook=RULES)
    jpn.do(SignPostQuantum(TO_KOR))
    made = prove(jpn, REPORTS[0].report_id, unconfirmed=True)
    assert check_proof(made.file, JPN, KOR).post_quantum is not None
    assert not any("post-quantum" in remark for remark in made.remarks)


def test_a_key_is_called_by_the_id_that_lists_of_keys_give_it(two: SimpleNamespace) -> None:
    proved = check_proof(prove(two.jpn, REPORTS[3].report_id).file, JPN, KOR)
    assert proved.receipt is not None
    assert proved.post_quantum is not None
    assert proved.signed.key_id == public_key_id(JPN.log[0].public_key)
    assert proved.receipt.key_id == public_key_id(KOR.receipt[0].public_key)
    assert proved.post_quantum.key_id == public_key_id(JPN.pq[0].public_key)
