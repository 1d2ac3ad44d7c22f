"""Exported ledgers: in the public layout, nothing shown that was kept back, and every tampering named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.export import ExportError, ExportRequest, export, place_of
from gateway.audit.export_check import ExportVerification, verify_export
from gateway.audit.exported import ExportedFolder, ExportedLedger, FolderError, ledgers_in
from gateway.identity.keyring import public_key_id
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.cosignature import Ed25519CosignatureSigner, cosign, receipt_name
from gateway.ledger.merkle import consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.release.pipeline import TakeReport
from gateway.release.retention import PruneEntries
from gateway.release.signatory import Retired
from tests.audit.exports import KEPT_BACK, REPORTS, RULES, UNOPENABLE, fill, write
from tests.audit.nations import NEW_LOG, NOW_S, TO_KOR, TO_USA, anchored, confirmed, nation, rotated
from tests.release.world import Site, anything, partner_of
from tests.reports.examples import launch_detection

DECISIONS = Origin.decisions("JPN", 1)
NEW_RECEIPT = Ed25519CosignatureSigner(receipt_name("KOR"), b"9" * 32)
ANY_TIME = pytest.mark.parametrize("until", [NOW_S - 1, NOW_S, NOW_S + 400 * 86_400])
NATIONS = {node: nation(node) for node in ("JPN", "KOR", "USA")}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    where = tmp_path_factory.mktemp("sites")
    made = {node: Site(node, where / f"{node}.sqlite") for node in ("JPN", "KOR", "USA")}
    fill(made["JPN"], made["KOR"], made["USA"])
    yield made
    for site in made.values():
        site.close()


@pytest.fixture(scope="module")
def written(sites: dict[str, Site], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(sites["JPN"], tmp_path_factory.mktemp("written") / "export")


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy, to be tampered with."""
    return Path(shutil.copytree(written, tmp_path / "folder"))


def check(folder: Path, **nations: Any) -> ExportVerification:
    return verify_export(folder, NATIONS | nations)


def test_an_export_is_sound_and_says_what_was_signed(sites: dict[str, Site], written: Path) -> None:
    outcome = check(written)
    assert outcome.findings == []
    by_origin = {check.origin: check for check in outcome.ledgers}
    assert set(by_origin) == {str(TO_KOR), str(TO_USA), str(DECISIONS)}
    kor = by_origin[str(TO_KOR)]
    assert kor.receipt_size == kor.pq_size == kor.size > 600
    stored = sites["JPN"].store.checkpoints(sites["JPN"].row(TO_KOR).id)
    signed = sum(size <= kor.size for size, _ in stored)
    assert (kor.receipt_seconds, kor.receipts, kor.checkpoints, kor.absent) == (NOW_S, 2, signed, 0)
    assert by_origin[str(TO_USA)].absent == 1
    assert by_origin[str(DECISIONS)].receipts == 0


def test_what_a_partner_has_not_confirmed_is_left_out_unless_it_is_asked_for(
    sites: dict[str, Site], written: Path, tmp_path: Path
) -> None:
    jpn = sites["JPN"]
    assert ExportedLedger(written, TO_KOR).size == jpn.row(TO_KOR).size - 1
    everything = write(jpn, tmp_path / "all", unconfirmed=True)
    assert ExportedLedger(everything, TO_KOR).size == jpn.row(TO_KOR).size
    assert check(everything).sound


def test_an_entry_that_is_kept_back_goes_as_its_hash_with_the_signed_reason(
    sites: dict[str, Site], written: Path
) -> None:
    ledger = ExportedLedger(written, TO_USA)
    entries = ledger.bundle(0)
    assert [index for index, entry in enumerate(entries) if not entry] == [KEPT_BACK]
    assert "it is suspended" in ledger.absent(KEPT_BACK).decode()
    kept = sites["JPN"].store.entry(sites["JPN"].row(TO_USA).id, KEPT_BACK)
    assert kept is not None
    for path in written.rglob("*"):
        assert path.is_dir() or kept[44:] not in path.read_bytes()


def test_an_export_for_one_partner_shows_nothing_of_another(sites: dict[str, Site], tmp_path: Path) -> None:
    for_kor = write(sites["JPN"], tmp_path / "for-kor", partner="KOR")
    assert [ledger.origin for ledger in ledgers_in(for_kor)] == [TO_KOR]
    files = [path for path in for_kor.rglob("*") if path.is_file()]
    assert files
    # Three letters turn up by chance in what is sealed, hashed or in base64: the name stands by itself, or in a line.
    name = re.compile(rb"/USA/|(?<![A-Za-z0-9+/])USA(?![A-Za-z0-9+/=])")
    readable = [path for path in files if "tile" not in path.relative_to(for_kor).parts]
    assert not [path for path in files if str(TO_USA).encode() in path.read_bytes()]
    assert not [path for path in readable if name.search(path.read_bytes())]
    usa = write(sites["USA"], tmp_path / "usa", ledgers=frozenset({TO_USA}))
    assert [ledger.origin for ledger in ledgers_in(usa)] == [TO_USA]


def test_no_folder_holds_a_report_in_clear(written: Path) -> None:
    for path in written.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(report.report_id.encode() in content for report in REPORTS)


def test_both_sides_write_the_same_entries_and_tiles(sites: dict[str, Site], written: Path, tmp_path: Path) -> None:
    theirs = write(sites["KOR"], tmp_path / "kor")
    for path in (written / str(TO_KOR) / "tile").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (theirs / path.relative_to(written)).read_bytes()
    assert check(theirs).sound


def test_the_layout_is_that_of_tlog_tiles(written: Path) -> None:
    top = written / str(TO_KOR)
    size = ExportedLedger(written, TO_KOR).size
    names = {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file()}
    width = size % 256
    assert names == {
        "checkpoint",
        "signatures.jsonl",
        f"unopenable/{place_of(UNOPENABLE)}",
        *("tile/0/000", "tile/0/001", f"tile/0/002.p/{width}", "tile/1/000.p/2"),
        *("tile/entries/000", "tile/entries/001", f"tile/entries/002.p/{width}"),
    }
    assert place_of(1_234_067) == "x001/x234/067"


def test_the_tree_that_is_read_back_gives_proofs(written: Path) -> None:
    ledger = ExportedLedger(written, TO_KOR)
    index = 300
    path = inclusion_proof(index, ledger.size, ledger.node)
    verify_inclusion(leaf_hash(ledger.bundle(1)[index - 256]), index, ledger.size, path, ledger.said.root)
    earlier = next(Checkpoint.parse(Note.parse(note.note).text) for note in ledger.signatures())
    proof = consistency_proof(earlier.size, ledger.size, ledger.node)
    verify_consistency(earlier.size, ledger.size, earlier.root, ledger.said.root, proof)


async def test_two_folders_can_be_compared(sites: dict[str, Site], written: Path, tmp_path: Path) -> None:
    ours = ExportedFolder(written, "JPN", "KOR")
    theirs = ExportedFolder(write(sites["KOR"], tmp_path / "kor"), "KOR", "JPN")
    (our,), (their,) = await ours.heads(), await theirs.heads()
    assert (our.origin, our.size, our.root) == (their.origin, their.size, their.root)
    assert our.receipt
    assert await ours.hashes(TO_KOR, 3, 2, 4) == await theirs.hashes(TO_KOR, 3, 2, 4) != b""
    assert len(await ours.hashes(TO_KOR, 0, our.size - 2, 10)) == 64
    signed = await ours.signatures(TO_KOR, our.size)
    assert signed.receipt == our.receipt
    assert Note.parse(signed.checkpoint).text == Note.parse(our.checkpoint).text
    assert await ours.hashes(TO_USA, 0, 0, 1) == b""


def test_what_the_recipient_pruned_goes_as_its_hash_with_its_own_word(jpn: Site, kor: Site, tmp_path: Path) -> None:
    jpn.do_all(*(TakeReport.of(report, "c2", anything) for report in REPORTS), rulebook=RULES)
    confirmed(jpn, kor)
    assert kor.do(PruneEntries(TO_KOR, 0, 0, kor.now_ns + 1)).pruned == len(REPORTS)
    folder = write(kor, tmp_path / "kor", ledgers=frozenset({TO_KOR}))
    (ledger,) = check(folder).ledgers
    assert (check(folder).findings, ledger.absent) == ([], len(REPORTS))
    alone = verify_export(folder, {"JPN": NATIONS["JPN"]})
    assert "is a statement of KOR, whose bundle was not given" in alone.findings[0].what


# --- the folder as a whole


def test_a_directory_that_holds_anything_is_refused_and_nothing_is_left_behind(
    sites: dict[str, Site], tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "file").write_text("mine")
    with pytest.raises(ExportError, match="not an empty directory"):
        write(sites["JPN"], there)
    with pytest.raises(ExportError, match="holds no ledger"):
        write(sites["JPN"], tmp_path / "new", ledgers=frozenset({TO_KOR.successor()}))
    with pytest.raises(ExportError, match="no ledger between JPN and AUS"):
        write(sites["JPN"], tmp_path / "new", partner="AUS")
    with pytest.raises(ExportError, match="cannot be made"):
        write(sites["JPN"], tmp_path / "no" / "parent")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
    (there / "file").unlink()
    assert check(write(sites["JPN"], there)).sound


def test_a_store_that_is_not_sound_is_not_exported(jpn: Site, tmp_path: Path) -> None:
    jpn.take(launch_detection(1), RULES)

    class Wrong:
        def __getattr__(self, name: str) -> Any:
            return getattr(jpn.store, name)

        def checkpoint(self, ledger: int, size: int) -> bytes:
            origin = next(row.origin for row in jpn.store.ledgers() if row.id == ledger)
            return sign_checkpoint(Checkpoint(origin, size, bytes(32)), jpn.signatory.log).encode()

    with pytest.raises(ExportError, match=r"is not what the entries give; run `signalfire ledger verify`"):
        export(Wrong(), "JPN", tmp_path / "new", ExportRequest(unconfirmed=True))
    assert list(tmp_path.glob("*new*")) == []


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="holds no exported ledger"):
        check(tmp_path)
    odd = tmp_path / "signalfire/v1/JPN/KOR/quick/1"
    odd.mkdir(parents=True)
    (odd / "checkpoint").write_text("")
    with pytest.raises(FolderError, match="not the place of a ledger"):
        check(tmp_path)


# --- tampering


def flip(name: str, place: int = 40) -> Callable[[Path], None]:
    def change(top: Path) -> None:
        path = next(iter(sorted(top.glob(name))))
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)

    return change


def lines(edit: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], None]:
    def change(top: Path) -> None:
        path = top / "signatures.jsonl"
        kept = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        edit(kept)
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept), "utf-8")

    return change


def spoil(signed: dict[str, Any]) -> None:
    """Gives the note another last signature byte."""
    parsed = Note.parse(signed["note"])
    line = parsed.signatures[-1]
    changed = (*parsed.signatures[:-1], replace(line, signature=line.signature[:-1] + bytes([line.signature[-1] ^ 1])))
    signed["note"] = Note(parsed.text, changed).encode().decode()


def of_kind(kept: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(line for line in kept if line["kind"] == kind)


@pytest.mark.parametrize(
    ("ledger", "change", "says"),
    [
        (TO_KOR, flip("tile/entries/000", 9000), r"entry \d+ in tile/entries/000 is not the one signed"),
        (TO_KOR, flip("tile/entries/001", 9000), r"entry \d+ in tile/entries/001 is not the one signed"),
        (TO_KOR, lambda top: (top / "tile/entries/001").unlink(), "cannot be read"),
        (TO_KOR, lambda top: (top / "tile/entries/000").write_bytes(b"\0" * 3), "bundle"),
        (TO_KOR, flip("tile/0/000"), "tile 0/0 is not what the entries give"),
        (TO_KOR, flip("tile/0/002.p/*"), "tile 0/2 is not what the entries give"),
        (TO_KOR, flip("tile/1/000.p/2"), "tile 1/0 is not what the entries give"),
        (TO_KOR, lambda top: (top / "tile/1/000.p/2").write_bytes(bytes(31)), "31 bytes, not 64"),
        (TO_KOR, lambda top: (top / "tile/0/003").write_bytes(bytes(32)), "an export of this size has"),
        (TO_KOR, flip("unopenable/*"), "unopenable/004 does not hold"),
        (TO_USA, flip(f"absent/{KEPT_BACK:03}"), "."),
        (TO_USA, lambda top: (top / f"absent/{KEPT_BACK:03}").unlink(), "cannot be read"),
        (TO_USA, lambda top: shutil.copy(top / "absent/002", top / "absent/001"), "an export of this size has"),
        (TO_KOR, lines(lambda kept: kept.reverse()), "out of order, or beyond the end"),
        (TO_KOR, lines(lambda kept: of_kind(kept, "receipt").update(note="x\n")), "the receipt of size"),
        (TO_KOR, lines(lambda kept: of_kind(kept, "pq").update(kind="receipt")), "no receipt key of KOR signed it"),
        (TO_KOR, lines(lambda kept: of_kind(kept, "receipt").update(kind="pq")), "no post-quantum key of JPN"),
        (TO_KOR, lines(lambda kept: of_kind(kept, "receipt").update(kind="checkpoint")), "signed by no known key"),
        (TO_KOR, lines(lambda kept: of_kind(kept, "receipt").update(size=True)), "not an object of size"),
        (TO_KOR, lines(lambda kept: of_kind(kept, "receipt").update(more=1)), "not an object of size, kind and note"),
        (TO_KOR, lines(lambda kept: spoil(of_kind(kept, "checkpoint"))), r"the checkpoint of size .* does not hold"),
        (TO_KOR, lines(lambda kept: spoil(of_kind(kept, "receipt"))), r"the receipt of size .* does not hold"),
        (TO_KOR, lines(lambda kept: spoil(of_kind(kept, "pq"))), r"the pq of size .* does not hold"),
        (TO_KOR, flip("checkpoint", -8), "."),
        (TO_KOR, lambda top: (top / "checkpoint").write_bytes(b"junk"), "no empty line"),
    ],
)  # fmt: skip
def test_every_tampering_is_found_and_named(
    folder: Path, ledger: Origin, change: Callable[[Path], Any], says: str
) -> None:
    change(folder / str(ledger))
    outcome = check(folder)
    assert {finding.where for finding in outcome.findings} == {str(ledger)}
    assert any(re.search(says, finding.what) for finding in outcome.findings), outcome.findings


def test_a_ledger_in_the_place_of_another_is_refused(folder: Path) -> None:
    (folder / str(TO_KOR)).rename(folder / str(TO_KOR.successor()))
    finding, missed = check(folder).findings
    assert (missed.where, "the folder lacks it" in missed.what) == (str(TO_KOR), True)
    assert finding.where == str(TO_KOR.successor())
    assert "and stands where" in finding.what


def test_a_file_that_is_none_is_not_read(folder: Path) -> None:
    path = folder / str(TO_KOR) / "tile/entries/001"
    path.unlink()
    path.symlink_to("/etc/hostname")
    assert any("cannot be read" in finding.what for finding in check(folder).findings)


def test_nobody_is_believed_without_a_bundle(written: Path) -> None:
    outcome = verify_export(written, {"KOR": NATIONS["KOR"]})
    assert all("no trust bundle of JPN was given" in finding.what for finding in outcome.findings)
    assert len(outcome.findings) == 3
    alone = verify_export(written, {"JPN": NATIONS["JPN"]})
    assert alone.sound
    assert {check.receipts for check in alone.ledgers} == {0}
    assert sum(check.unchecked for check in alone.ledgers) >= 3


def jpn_rotated(until: int) -> dict[str, Any]:
    return {"JPN": nation("JPN", **rotated("JPN", until))}


def add(ledger: ExportedLedger, kind: str, note: Note) -> None:
    """One more signed note of the size of the ledger."""
    line = {"size": ledger.size, "kind": kind, "note": note.encode().decode()}
    with (ledger.directory / "signatures.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


@ANY_TIME
def test_a_checkpoint_under_a_retired_log_key_is_believed_under_the_key_that_took_over_alone(
    written: Path, folder: Path, until: int
) -> None:
    key_id = public_key_id(partner_of("JPN").log[0].public_key)
    findings = check(written, **jpn_rotated(until)).findings
    assert {finding.where for finding in findings} == {str(TO_KOR), str(TO_USA), str(DECISIONS)}
    assert any(f"the log key {key_id} alone, which JPN retired at" in finding.what for finding in findings)
    # The receipts of KOR and USA, whatever time they tell, cover nothing: an anchor on the checkpoint does.
    for ledger in ledgers_in(folder):
        anchor = sign_checkpoint(ledger.said, NEW_LOG)
        (ledger.directory / "checkpoint").write_bytes(Note.parse(ledger.checkpoint).joined(anchor).encode())
        add(ledger, "anchor", anchor)
    assert check(folder, **jpn_rotated(until)).findings == []


@ANY_TIME
def test_a_whole_folder_by_the_thief_of_a_retired_key_is_not_sound_whatever_it_leaves_out(
    jpn: Site, tmp_path: Path, until: int
) -> None:
    jpn.do_all(*(TakeReport.of(report, "c2", anything) for report in REPORTS), rulebook=RULES)
    folder = write(jpn, tmp_path / "x", partner="KOR", unconfirmed=True)
    (ledger,) = ledgers_in(folder)
    for notes in ((ledger.directory / "signatures.jsonl").read_bytes(), b""):
        (ledger.directory / "signatures.jsonl").write_bytes(notes)
        assert not check(folder, **jpn_rotated(until)).sound
    # An empty list of signed notes is found under the keys in use as well.
    (finding,) = check(folder).findings
    assert "there is no checkpoint of size" in finding.what


@ANY_TIME
def test_receipts_and_post_quantum_lines_under_retired_keys_are_believed_as_far_as_one_by_a_current_key_covers_them(
    folder: Path, until: int
) -> None:
    kor, usa = partner_of("KOR"), partner_of("USA")
    changed = nation("KOR", receipt=(NEW_RECEIPT.verifier,), retired_receipt=(Retired(kor.receipt[0], until),))
    findings = check(folder, KOR=changed).findings
    assert {finding.where for finding in findings} == {str(TO_KOR)}
    (finding,) = findings
    assert re.search(r"\(and 1 more\) is signed by a key that KOR has retired, and none by a current one", finding.what)
    assert finding.what.endswith("have it exported anew, by either side")
    (ledger,) = (ledger for ledger in ledgers_in(folder) if ledger.origin == TO_KOR)
    add(ledger, "receipt", Note(ledger.said.text(), (cosign(ledger.said.text(), NEW_RECEIPT, NOW_S),)))
    assert check(folder, KOR=changed).findings == []
    changed = nation("JPN", pq=usa.pq, retired_pq=(Retired(partner_of("JPN").pq[0], until),))
    assert any("the pq of size" in finding.what for finding in check(folder, JPN=changed).findings)


def test_a_statement_of_the_recipient_under_a_retired_key_counts_for_nothing(folder: Path) -> None:
    (before,) = (each for each in check(folder).ledgers if each.origin == str(TO_KOR))
    (after,) = (
        each for each in check(folder, KOR=nation("KOR", **rotated("KOR", 1))).ledgers if each.origin == str(TO_KOR)
    )
    assert (before.unchecked, after.unchecked) == (0, 1)


def test_the_owner_and_the_recipient_export_the_anchor(jpn: Site, kor: Site, tmp_path: Path) -> None:
    jpn.do_all(*(TakeReport.of(report, "c2", anything) for report in REPORTS), rulebook=RULES)
    confirmed(jpn, kor)
    anchored(jpn, kor)
    for site in (jpn, kor):
        folder = write(site, tmp_path / site.node, ledgers=frozenset({TO_KOR}))
        assert check(folder, **jpn_rotated(1)).findings == []


def test_a_ledger_that_is_left_without_its_checkpoint_is_a_finding(folder: Path) -> None:
    (folder / str(TO_KOR) / "checkpoint").unlink()
    (finding,) = check(folder).findings
    assert finding.where == str(TO_KOR)
    assert "checkpoint cannot be read" in finding.what


def test_a_ledger_that_was_taken_out_is_named_by_the_manifest(folder: Path) -> None:
    shutil.rmtree(folder / str(TO_KOR))
    (finding,) = check(folder).findings
    assert finding.where == str(TO_KOR)
    assert re.search("the manifest lists it with .* and the folder lacks it", finding.what)
    for name in ("JPN", "USA"):
        shutil.rmtree(folder / "signalfire/v1" / name, ignore_errors=True)
    assert len(check(folder).findings) == 3


def test_a_folder_without_a_manifest_is_said_to_have_none(folder: Path) -> None:
    assert check(folder).remarks == []
    (folder / "manifest").unlink()
    outcome = check(folder)
    assert outcome.sound
    assert "no manifest" in outcome.remarks[0]


def test_a_manifest_that_was_changed_is_a_finding(folder: Path) -> None:
    lines = (folder / "manifest").read_text("utf-8").splitlines(keepends=True)
    (folder / "manifest").write_text("".join(line for line in lines if str(TO_KOR) not in line), "utf-8")
    (finding,) = check(folder).findings
    assert (finding.where, "does not hold" in finding.what) == ("manifest", True)


def test_one_flipped_byte_names_one_entry_and_its_file(folder: Path) -> None:
    flip("tile/entries/000", 9000)(folder / str(TO_KOR))
    (finding,) = check(folder).findings
    assert re.fullmatch(r"entry \d+ in tile/entries/000 is not the one signed", finding.what)


def test_where_tiles_are_changed_with_the_entry_what_follows_is_one_line(folder: Path) -> None:
    ledger = folder / str(TO_KOR)
    flip("tile/entries/000", 9000)(ledger)
    flip("tile/0/000", 1)(ledger)
    assert len(check(folder).findings) <= 2
