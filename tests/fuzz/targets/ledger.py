"""Notes, checkpoints, statements, proofs and bundles of entries: what partners and files say about ledgers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.audit.manifest import Manifest
from gateway.ledger import bundle, evidence
from gateway.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from gateway.ledger.cosignature import cosign, verify_cosignature
from gateway.ledger.errors import BundleError, LedgerError, NoteError, OriginError, ProofError, TileError
from gateway.ledger.merkle import EMPTY_ROOT, leaf_hash
from gateway.ledger.note import Note, SignatureType, parse_vkey, sign_note
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.proof_file import ProofFile
from gateway.ledger.statement import EntryStatement, EntryStatementKind, Heartbeat
from gateway.ledger.tiles import split_tile
from gateway.release.evidence import owner_keys
from tests.fuzz.target import Target
from tests.release.world import partner_of, signatory_of

FLASH: Final = Origin.release("JPN", "KOR", Lane.FLASH, 1)
JPN: Final = signatory_of("JPN")
KOR: Final = signatory_of("KOR")
TIME_S: Final = 1_800_000_000


def text_of(data: bytes) -> str:
    """Bytes as a text, each as it can be."""
    return data.decode("utf-8", "replace")


def _checkpoint(size: int = 5) -> Checkpoint:
    return Checkpoint(FLASH, size, leaf_hash(b"%d" % size))


def _signed() -> bytes:
    return sign_checkpoint(_checkpoint(), JPN.log).encode()


def _receipt() -> bytes:
    text = _checkpoint().text()
    return Note(text, (cosign(text, KOR.receipt, TIME_S), cosign(text, JPN.pq, TIME_S))).encode()


def _note(data: bytes) -> None:
    assert Note.parse(data).encode() == data


def _origin(data: bytes) -> None:
    line = text_of(data)
    assert str(Origin.parse(line)) == line


def _checkpoint_text(data: bytes) -> None:
    text = text_of(data)
    assert Checkpoint.parse(text).text() == text


def _signed_checkpoint(data: bytes) -> None:
    open_checkpoint(data, [JPN.log.public], FLASH)


def _cosigned(data: bytes) -> None:
    note = Note.parse(data)
    for line in note.signatures:
        verify_cosignature(note.text, line, partner_of("KOR").receipt[0])


def _post_quantum(data: bytes) -> None:
    note = Note.parse(data)
    for line in note.signatures:
        verify_cosignature(note.text, line, partner_of("JPN").pq[0])


def _bundle(data: bytes) -> None:
    entries = bundle.decode(data[1:], int.from_bytes(data[:1]), allow_absent=True)
    assert b"".join(len(entry).to_bytes(2) + entry for entry in entries) == data[1:]


def _proof_file(data: bytes) -> None:
    assert ProofFile.parse(data).encode() == data


def _evidence(data: bytes) -> None:
    one, other = evidence.decode(data)
    evidence.contradiction(one, other, owner_keys(partner_of("JPN")))


def _heartbeat(data: bytes) -> None:
    """A partner's own signature under whatever it likes to say."""
    signed = sign_note(text_of(data), JPN.gateway).encode()
    heard = Heartbeat.open(signed, partner_of("JPN").gateway, node="JPN", recipient="KOR")
    assert heard.sign(JPN.gateway) == signed


def _entry_statement(data: bytes) -> None:
    text = text_of(data)
    for kind in EntryStatementKind:
        try:
            found = EntryStatement.read(text, kind=kind, node="JPN", origin=FLASH)
        except LedgerError:
            continue
        assert found.text() == text


def _tile(data: bytes) -> None:
    assert b"".join(split_tile(data)) == data


def _manifest(data: bytes) -> None:
    manifest, _ = Manifest.parse(data)
    assert len(manifest.node) == 3


def _vkey(data: bytes) -> None:
    parse_vkey(text_of(data), SignatureType.ED25519)


def _heartbeats() -> Sequence[bytes]:
    heads = (_checkpoint(), Checkpoint(Origin.release("JPN", "KOR", Lane.ROUTINE, 3), 0, EMPTY_ROOT))
    signed = Heartbeat("JPN", "KOR", TIME_S * 10**9, 7, tuple(heads)).sign(JPN.gateway)
    return [Note.parse(signed).text.encode()]


def _statements() -> Sequence[bytes]:
    return [
        EntryStatement(kind, "JPN", FLASH, 4, leaf_hash(b"4"), "the partner is suspended").text().encode()
        for kind in EntryStatementKind
    ]


def _proofs() -> Sequence[bytes]:
    note = Note.parse(_signed())
    return [ProofFile(4, (leaf_hash(b"1"), leaf_hash(b"2")), note, b"extra").encode()]


TARGETS: Final = (
    Target("note", _note, (NoteError,), lambda: [_signed(), _receipt()]),
    Target("origin", _origin, (OriginError,), lambda: [str(FLASH).encode(), b"signalfire/v1/JPN/witness/12"]),
    Target("checkpoint-text", _checkpoint_text, (LedgerError,), lambda: [_checkpoint().text().encode()]),
    Target("signed-checkpoint", _signed_checkpoint, (LedgerError,), lambda: [_signed()]),
    Target("receipt", _cosigned, (NoteError,), lambda: [_receipt()]),
    Target("post-quantum-line", _post_quantum, (NoteError,), lambda: [_receipt()]),
    Target("bundle", _bundle, (BundleError,), lambda: [b"\x02" + bundle.encode([b"a" * 60, b"b" * 300]), b"\x01\0\0"]),
    Target("proof-file", _proof_file, (ProofError, LedgerError), _proofs),
    Target(
        "evidence", _evidence, (LedgerError, evidence.EvidenceError), lambda: [evidence.encode(_signed(), _receipt())]
    ),
    Target("heartbeat", _heartbeat, (NoteError,), _heartbeats),
    Target("entry-statement", _entry_statement, (), _statements),
    Target("tile", _tile, (TileError,), lambda: [leaf_hash(b"1") * 3]),
    Target("manifest", _manifest, (LedgerError,), lambda: [Manifest("JPN", {FLASH: 603}).sign(JPN.gateway)]),
    Target("verifier-key", _vkey, (NoteError,), lambda: [JPN.gateway.verifier.vkey.encode()]),
)
