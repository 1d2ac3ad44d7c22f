"""Exported ledgers and proofs hold for tools that are not ours: Go's sumdb, and an ML-DSA of another hand.

Go checks Ed25519 notes, tree hashes from the entries, tiles, inclusion and consistency, and the type 0x04 lines
(`go/check.go`). Type 0x06 lines are checked by dilithium-py, which shares no code with the library that the gateway
uses. `make foreign-tools` installs what Debian has of it.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dilithium_py.ml_dsa import ML_DSA_44

from gateway.audit.export_check import verify_export
from gateway.audit.exported import ledgers_in
from gateway.audit.proofs import ProofRequest, prove_release
from gateway.audit.signers import Signers
from gateway.identity.key_names import gateway_key_name
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from tests.audit.exports import REPORTS, fill, write
from tests.audit.nations import TO_KOR, TO_USA, nation
from tests.release.world import Site, partner_of, signatory_of

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).resolve().parent / "go" / "check.go"
GOPATH = Path("/usr/share/gocode")
SUMDB = GOPATH / "src/golang.org/x/mod/sumdb"
CACHE = ROOT / ".venv" / "foreign-go"
INSTALL_WITHIN_S = 300
BUILD_WITHIN_S = 240


def _there() -> bool:
    return shutil.which("go") is not None and SUMDB.is_dir()


@pytest.fixture(scope="module")
def checker() -> Path:
    """The compiled program; skips where Debian's packages are not there and cannot be had."""
    if not _there():
        subprocess.run(["make", "foreign-tools"], cwd=ROOT, capture_output=True, timeout=INSTALL_WITHIN_S, check=False)
    if not _there():
        pytest.skip("golang-go and golang-golang-x-mod-dev are not here and could not be installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    built = CACHE / "check"
    if not built.exists() or built.stat().st_mtime < SOURCE.stat().st_mtime:
        own = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(CACHE / "cache"), "GOFLAGS": ""}
        done = subprocess.run(
            ["go", "build", "-o", str(built), str(SOURCE)],
            env=os.environ | own, capture_output=True, text=True, timeout=BUILD_WITHIN_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return built


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    where = tmp_path_factory.mktemp("sites")
    made = {node: Site(node, where / f"{node}.sqlite") for node in ("JPN", "KOR", "USA")}
    fill(made["JPN"], made["KOR"], made["USA"])
    yield made
    for site in made.values():
        site.close()


@pytest.fixture(scope="module")
def folder(sites: dict[str, Site], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(sites["JPN"], tmp_path_factory.mktemp("go") / "export")


def verifier_keys(*origins: Origin, receipts: bool = True) -> list[str]:
    """What the checker is given: JPN's log key under each name, and the receipt keys of its partners."""
    log = partner_of("JPN").log[0]
    keys = [log.verifier(origin).vkey for origin in origins]
    keys.append(partner_of("JPN").gateway[0].vkey)
    assert gateway_key_name("JPN") in keys[-1]
    return keys + ([partner_of(node).receipt[0].vkey for node in ("KOR", "USA")] if receipts else [])


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: Any
    error: str


def run(checker: Path, *arguments: str) -> Ran:
    done = subprocess.run([str(checker), *arguments], capture_output=True, text=True, timeout=60, check=False)
    return Ran(done.returncode, json.loads(done.stdout) if done.returncode == 0 else None, done.stderr)


ORIGINS = (TO_KOR, TO_USA, Origin.decisions("JPN", 1))


def test_go_finds_every_exported_ledger_sound(checker: Path, folder: Path) -> None:
    ran = run(checker, "export", str(folder), *verifier_keys(*ORIGINS))
    assert ran.code == 0, ran.error
    found = {each["origin"]: each for each in ran.out}
    assert set(found) == set(map(str, ORIGINS))
    kor, usa = found[str(TO_KOR)], found[str(TO_USA)]
    assert kor["size"] > 600
    ours = verify_export(folder, {node: nation(node) for node in ("JPN", "KOR", "USA")}).ledgers
    assert {each.origin: each.checkpoints for each in ours} == {
        line: each["checkpoints"] for line, each in found.items()
    }
    assert (kor["consistency"], kor["receipts"]) == (kor["checkpoints"] - 1, 2)
    assert kor["tiles"] == 4
    assert kor["inclusion"] > 60
    assert usa["absent"] == 1


@pytest.mark.parametrize(
    ("name", "place", "says"),
    [
        ("tile/entries/001", 9000, "the entries do not give the signed root"),
        ("tile/0/001", 9, "tile/0/001 is not what the entries give"),
        ("tile/1/000.p/2", 9, "is not what the entries give"),
        ("checkpoint", 31, "."),
    ],
)
def test_go_names_what_was_altered(
    checker: Path, folder: Path, tmp_path: Path, name: str, place: int, says: str
) -> None:
    shutil.copytree(folder, tmp_path / "altered")
    path = tmp_path / "altered" / str(TO_KOR) / name
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    ran = run(checker, "export", str(tmp_path / "altered"), *verifier_keys(*ORIGINS))
    assert ran.code == 1
    assert says.strip(".") in ran.error


def test_go_believes_no_other_key(checker: Path, folder: Path) -> None:
    other = signatory_of("USA").log
    keys = [other.public.verifier(origin).vkey for origin in ORIGINS]
    assert run(checker, "export", str(folder), *keys).code == 1


def proof_of(site: Site, report: int, path: Path, **options: Any) -> Path:
    with site.store.snapshot():
        request = ProofRequest(REPORTS[report].report_id, "KOR", **options)
        signers = {node: Signers.of(partner_of(node)) for node in ("JPN", "KOR")}
        path.write_bytes(prove_release(site.store, site.opener, "JPN", request, signers).file)
    return path


@pytest.mark.parametrize("report", [0, 3])
def test_go_finds_a_proof_true(checker: Path, sites: dict[str, Site], tmp_path: Path, report: int) -> None:
    path = proof_of(sites["JPN"], report, tmp_path / "one.tlog-proof")
    ran = run(checker, "proof", str(path), *verifier_keys(TO_KOR))
    assert ran.code == 0, ran.error
    assert ran.out["origin"] == str(TO_KOR)
    assert ran.out["shown"]
    assert ran.out["receipt"]


def test_go_refuses_a_proof_for_another_leaf_and_a_receipt_that_is_not_there(
    checker: Path, sites: dict[str, Site], tmp_path: Path
) -> None:
    one = proof_of(sites["JPN"], 0, tmp_path / "one").read_text("utf-8").split("\n")
    other = proof_of(sites["JPN"], 1, tmp_path / "other").read_text("utf-8").split("\n")
    swapped = tmp_path / "swapped"
    swapped.write_text("\n".join([one[0], other[1], *one[2:]]), "utf-8")
    ran = run(checker, "proof", str(swapped), *verifier_keys(TO_KOR))
    assert (ran.code, "inclusion" in ran.error) == (1, True)
    unconfirmed = proof_of(sites["JPN"], 4, tmp_path / "unconfirmed")
    assert run(checker, "proof", str(unconfirmed), *verifier_keys(TO_KOR, receipts=False)).code == 0
    assert "receipt" in run(checker, "proof", str(unconfirmed), *verifier_keys(TO_KOR)).error


# --- type 0x06, by an implementation of another hand


def cosigned_message(name: str, checkpoint: Checkpoint, seconds: int) -> bytes:
    """What a type 0x06 line signs, from the specification alone (tlog-cosignature, "ML-DSA-44 signed message")."""
    origin = str(checkpoint.origin).encode()
    return (
        b"subtree/v1\n\x00"
        + struct.pack(">B", len(name)) + name.encode()
        + struct.pack(">QB", seconds, len(origin)) + origin
        + struct.pack(">QQ", 0, checkpoint.size) + checkpoint.root
    )  # fmt: skip


def test_every_post_quantum_line_holds_for_another_implementation(folder: Path) -> None:
    (key,) = partner_of("JPN").pq
    checked = 0
    for ledger in ledgers_in(folder):
        for signed in ledger.signatures():
            if signed.kind != "pq":
                continue
            note = Note.parse(signed.note)
            (line,) = note.signatures
            assert (line.name, line.key_id) == (key.name, key.key_id)
            (seconds,) = struct.unpack(">Q", line.signature[:8])
            message = cosigned_message(line.name, Checkpoint.parse(note.text), seconds)
            assert ML_DSA_44.verify(key.public_key, message, line.signature[8:])
            assert not ML_DSA_44.verify(key.public_key, message + b"\0", line.signature[8:])
            checked += 1
    assert checked == 3
