"""The vectors of what is signed about a ledger are what their maker makes, and this implementation agrees with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.ledger.checkpoint import LogKey, open_checkpoint
from gateway.ledger.cosignature import (
    CosignatureVerifier,
    Ed25519CosignatureVerifier,
    MLDSA44CosignatureSigner,
    MLDSA44CosignatureVerifier,
    verify_cosignature,
)
from gateway.ledger.errors import LedgerError
from gateway.ledger.note import Ed25519Verifier, Note, verify_note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind, Heartbeat
from tests.ledger import signed_vectors as made


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((made.VECTORS / name).read_text("utf-8"))
    return found


CHECKPOINTS, COSIGNATURES, STATEMENTS = map(read, made.FILES)


@pytest.mark.parametrize("name", made.FILES)
def test_the_file_is_what_its_maker_makes(name: str) -> None:
    assert made.FILES[name]() == read(name)


def opened(note: str) -> tuple[int, bytes]:
    key = LogKey(bytes.fromhex(CHECKPOINTS["seed"])).public
    checkpoint, _ = open_checkpoint(note, [key], Origin.parse(CHECKPOINTS["origin"]))
    return checkpoint.size, checkpoint.root


@pytest.mark.parametrize("vector", CHECKPOINTS["accepted"], ids=lambda vector: vector["name"])
def test_a_checkpoint_is_believed(vector: dict[str, Any]) -> None:
    assert opened(vector["note"]) == (vector["size"], bytes.fromhex(vector["root"]))


@pytest.mark.parametrize(("name", "note", "says"), made.refused_checkpoints())
def test_what_is_no_checkpoint_is_refused_by_its_rule(name: str, note: str, says: str) -> None:
    with pytest.raises(LedgerError, match=says):
        opened(note)


VERIFIERS: list[CosignatureVerifier] = [
    Ed25519CosignatureVerifier.from_vkey(COSIGNATURES["receipt_vkey"]),
    MLDSA44CosignatureVerifier.from_vkey(COSIGNATURES["pq_vkey"]),
]


def cosigned(raw: str) -> int:
    note = Note.parse(raw)
    (verifier,) = verify_note(note, VERIFIERS)
    (line,) = note.signatures
    return verify_cosignature(note.text, line, verifier)


@pytest.mark.parametrize("vector", COSIGNATURES["accepted"], ids=lambda vector: vector["name"])
def test_a_cosignature_is_believed_with_its_time(vector: dict[str, Any]) -> None:
    assert cosigned(vector["note"]) == vector["time"]


@pytest.mark.parametrize(("name", "note", "says"), made.refused_cosignatures())
def test_what_is_no_cosignature_is_refused_by_its_rule(name: str, note: str, says: str) -> None:
    with pytest.raises(LedgerError, match=says):
        cosigned(note)


def test_both_implementations_make_the_same_post_quantum_key_of_a_seed() -> None:
    ours = MLDSA44CosignatureSigner(made.PQ.name, bytes.fromhex(COSIGNATURES["pq_seed"]))
    assert ours.verifier.vkey == COSIGNATURES["pq_vkey"]


def statement(kind: str, note: str) -> object:
    vkeys = {node: [Ed25519Verifier.from_vkey(vkey)] for node, vkey in STATEMENTS["vkeys"].items()}
    origin = Origin.parse(STATEMENTS["origin"])
    read_as: dict[str, Callable[[], object]] = {
        "heartbeat": lambda: Heartbeat.open(note.encode(), vkeys["JPN"], node="JPN", recipient="KOR"),
        "absent": lambda: EntryStatement.open(
            note.encode(), vkeys["JPN"], kind=EntryStatementKind.ABSENT, node="JPN", origin=origin
        ),
        "unopenable": lambda: EntryStatement.open(
            note.encode(), vkeys["KOR"], kind=EntryStatementKind.UNOPENABLE, node="KOR", origin=origin
        ),
    }
    return read_as[kind]()


@pytest.mark.parametrize("vector", STATEMENTS["accepted"], ids=lambda vector: vector["kind"])
def test_a_statement_is_believed(vector: dict[str, str]) -> None:
    said = {"absent": made.ABSENT, "unopenable": made.UNOPENABLE}
    found = statement(vector["kind"], vector["note"])
    if isinstance(found, Heartbeat):
        beat = made.NOTHING_TAKEN if vector["takes"] == "nothing" else made.HEARTBEAT
        assert (found.text(), found.takes.value) == (beat.text(), vector["takes"])
    else:
        assert found == said[vector["kind"]]


@pytest.mark.parametrize(("kind", "name", "note", "says"), made.refused_statements())
def test_what_is_no_statement_is_refused_by_its_rule(kind: str, name: str, note: str, says: str) -> None:
    with pytest.raises(LedgerError, match=says):
        statement(kind, note)
