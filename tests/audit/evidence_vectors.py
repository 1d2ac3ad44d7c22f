"""Makes tests/vectors/proof.json and export.json: proofs of releases, and an exported ledger.

``PYTHONPATH=.:proto python -m tests.audit.evidence_vectors`` writes them anew; they are the same every time. The
ledger is put together from the formats alone, not by the code that exports.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from signalfire.v1 import ledger_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.merkle import leaf_hash, node_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.proof_file import ProofFile
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.tiles import Edge, TileAddress
from gateway.release.groups import parts_of
from gateway.release.signatory import Partner
from gateway.seal.commitment import disclose
from gateway.seal.entry import NO_COMMITMENT, EntryKind, encode_canonical, encode_header
from gateway.seal.epoch import Epoch
from tests.ledger.signed_vectors import (
    GATEWAY,
    KOR_GATEWAY,
    LOG,
    ORIGIN,
    PQ,
    RECEIPT,
    STRANGER,
    TIME,
    pq_line,
)
from tests.reports.examples import launch_detection
from tests.seal.parties import JPN, KOR, seeded

VECTORS: Final = Path(__file__).parents[1] / "vectors"


def nation(node: str) -> Partner:
    """JPN, who owns the ledger, or KOR, its recipient, as their bundles would show them."""
    own = node == "JPN"
    return Partner(
        node,
        log=(LOG.public,) if own else (),
        gateway=((GATEWAY if own else KOR_GATEWAY).verifier,),
        receipt=() if own else (RECEIPT.verifier,),
        pq=(PQ,) if own else (),
        sealing=(JPN if own else KOR).public,
    )


_PATH: Final = (leaf_hash(b"the opening of the epoch"), leaf_hash(b"another entry"))


def _signed(checkpoint: Checkpoint, *, receipt: bool = True, key: LogKey = LOG) -> Note:
    note = sign_checkpoint(checkpoint, key)
    if receipt:
        text = checkpoint.text()
        note = note.with_signatures(pq_line(text, TIME), cosign(text, RECEIPT, TIME + 1))
    return note


def _entry() -> tuple[bytes, ledger_pb2.SealedPayload]:
    report = launch_detection(1, marking__releasable_to=["KOR"], marking__onward_release=["AUS"])
    random = seeded("proof vectors")
    epoch, _ = Epoch.open_new(str(ORIGIN), 0, [("KOR", KOR.public)], random)
    entry = epoch.seal_parts(1, parts_of(report), random)
    return entry, epoch.open(1, entry)


def _file(proof: ledger_pb2.ReleaseProof, leaf: bytes, **options: Any) -> ProofFile:
    root = node_hash(node_hash(_PATH[0], leaf), _PATH[1])
    return ProofFile(1, _PATH, _signed(Checkpoint(ORIGIN, 3, root), **options), encode_canonical(proof))


def accepted_proofs() -> Mapping[str, ProofFile]:
    """Proofs that hold, by what is special about them."""
    entry, payload = _entry()
    leaf = leaf_hash(entry)
    part = disclose(payload, [ledger_pb2.PART_GROUP_IDENTITY])
    absent = EntryStatement(EntryStatementKind.ABSENT, "JPN", ORIGIN, 1, leaf, "payload pruned")
    release = ledger_pb2.ReleaseProof
    return {
        "all of its content": _file(release(entry=entry, disclosed=payload), leaf),
        "only whose report it is": _file(release(entry=entry, disclosed=part), leaf),
        "without content": _file(release(entry=entry), leaf),
        "without a receipt": _file(release(entry=entry, disclosed=payload), leaf, receipt=False),
        "as its hash alone": _file(release(absent=absent.sign(GATEWAY)), leaf),
    }


def refused_proofs() -> Sequence[tuple[str, bytes, str]]:
    """(what is wrong, the file, words of this implementation's refusal)."""
    entry, payload = _entry()
    leaf = leaf_hash(entry)
    good = accepted_proofs()["all of its content"]
    text = good.encode().decode()
    other = ledger_pb2.SealedPayload()
    other.CopyFrom(payload)
    other.parts[0].salt = bytes(32)
    wrong = EntryStatement(EntryStatementKind.ABSENT, "JPN", ORIGIN, 2, leaf, "payload pruned").sign(GATEWAY)
    tail = bytes((entry[-1] ^ 1,))
    release = ledger_pb2.ReleaseProof

    def extra(proof: ledger_pb2.ReleaseProof) -> bytes:
        return replace(good, extra=encode_canonical(proof)).encode()

    def swap(old: str, new: str) -> bytes:
        assert old in text
        return text.replace(old, new, 1).encode()

    altered = [
        replace(line, signature=line.signature[:-1] + b"\0") if line.name == RECEIPT.name else line
        for line in good.checkpoint.signatures
    ]
    return [
        ("an index with a sign", swap("index 1\n", "index +1\n"), "plain decimal"),
        ("an index with leading zeros", swap("index 1\n", "index 01\n"), "plain decimal"),
        ("an index beyond the ledger", swap("index 1\n", "index 3\n"), "has no entry 3"),
        ("another index", swap("index 1\n", "index 0\n"), "lead to the root|under epoch"),
        ("another first line", swap("proof@v1", "proof@v2"), "first line"),
        ("an empty extra line", _without_extra(text, "extra \n"), "holds nothing"),
        ("no extra line", _without_extra(text, ""), "not a ReleaseProof"),
        ("a path that is a hash short", replace(good, path=good.path[:1]).encode(), "has 1 hashes, not 2"),
        ("a path that is a hash long", replace(good, path=(*good.path, bytes(32))).encode(), "has 3 hashes, not 2"),
        ("a path whose hash is not canonical base64", swap("=\n\nsignalfire", "==\n\nsignalfire"), "characters"),
        ("another entry", extra(release(entry=entry[:-1] + tail, disclosed=payload)), "lead to the root"),
        ("a salt that is another", extra(release(entry=entry, disclosed=other)), "committed to"),
        ("an entry and a reason why it is absent", extra(release(entry=entry, absent=wrong)), "not a ReleaseProof"),
        ("a reason for another entry", _file(release(absent=wrong), leaf).encode(), "is about entry 2"),
        ("a reason and parts", _file(release(absent=wrong, disclosed=payload), leaf).encode(), "not there"),
        ("a receipt that does not hold", replace(good, checkpoint=Note(good.checkpoint.text, tuple(altered))).encode(),
         "does not hold"),
        ("a log key that is not known", _file(release(entry=entry), leaf, key=STRANGER).encode(), "no known key"),
    ]  # fmt: skip


def _without_extra(text: str, instead: str) -> bytes:
    first, _, rest = text.split("\n", 2)
    return f"{first}\n{instead}{rest}".encode()


def proofs() -> dict[str, Any]:
    """The content of proof.json."""
    return {
        "origin": str(ORIGIN),
        "log_vkey": LOG.public.verifier(ORIGIN).vkey,
        "gateway_vkey": GATEWAY.verifier.vkey,
        "pq_vkey": PQ.vkey,
        "receipt_vkey": RECEIPT.verifier.vkey,
        "accepted": [{"name": name, "file": file.encode().decode()} for name, file in accepted_proofs().items()],
        "refused": [{"name": name, "file": file.decode()} for name, file, _ in refused_proofs()],
    }


# --- an exported ledger

SIZES: Final = (3, 256, 260)
ABSENT_AT: Final = 4


def files() -> dict[str, bytes]:
    """The files of an export of one ledger of 260 small entries, of which one is given as its hash."""
    entries = [encode_header(EntryKind.EPOCH_OPENING, 0, at, NO_COMMITMENT) + b"%03d" % at for at in range(SIZES[-1])]
    leaves = [leaf_hash(entry) for entry in entries]
    absent = EntryStatement(EntryStatementKind.ABSENT, "JPN", ORIGIN, ABSENT_AT, leaves[ABSENT_AT], "it was kept back")
    made = {f"absent/{ABSENT_AT:03}": absent.sign(GATEWAY)}
    entries[ABSENT_AT] = b""
    made["tile/entries/000"] = bundle.encode(entries[:256], allow_absent=True)
    made["tile/entries/001.p/4"] = bundle.encode(entries[256:])
    made[TileAddress(0, 0).path()] = b"".join(leaves[:256])
    made[TileAddress(0, 1, 4).path()] = b"".join(leaves[256:])
    made[TileAddress(1, 0, 1).path()] = Edge.empty().grow(leaves[:256])[0].root()
    lines = []
    for size in SIZES:
        checkpoint = Checkpoint(ORIGIN, size, Edge.empty().grow(leaves[:size])[0].root())
        text = checkpoint.text()
        lines.append({"size": size, "kind": "checkpoint", "note": sign_checkpoint(checkpoint, LOG).encode().decode()})
        if size == SIZES[-1]:
            lines.append({"size": size, "kind": "pq", "note": Note(text, (pq_line(text, TIME),)).encode().decode()})
            made["checkpoint"] = _signed(checkpoint).encode()
        receipt = cosign(text, RECEIPT, TIME + 1)
        lines.append({"size": size, "kind": "receipt", "note": Note(text, (receipt,)).encode().decode()})
    made["signatures.jsonl"] = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    return {f"{ORIGIN}/{name}": content for name, content in sorted(made.items())}


Change = tuple[str, str, Callable[[bytes], bytes | None], str]


def changes() -> Sequence[Change]:
    """(what is wrong, file, its other content or None where it is gone, words of this implementation's finding)."""
    top = Origin.__str__(ORIGIN)

    def flip(place: int) -> Callable[[bytes], bytes]:
        return lambda data: data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]

    return [
        ("an entry is altered", f"{top}/tile/entries/000", flip(48), "entry 0 in tile.entries.000 is not the one"),
        ("a bundle is cut short", f"{top}/tile/entries/001.p/4", lambda data: data[:-1], "bundle ends"),
        ("a bundle is missing", f"{top}/tile/entries/001.p/4", lambda _: None, "cannot be read"),
        ("a tile is altered", f"{top}/tile/0/000", flip(0), "tile 0/0 is not what the entries give"),
        ("a tile of a higher level is altered", f"{top}/tile/1/000.p/1", flip(0), "tile 1/0 is not what"),
        ("a reason is missing", f"{top}/absent/004", lambda _: None, "cannot be read"),
        ("a reason is altered", f"{top}/absent/004", flip(120), "."),
        ("a file too many", f"{top}/tile/0/002", lambda _: b"x", "an export of this size has"),
        ("a signed note is altered", f"{top}/signatures.jsonl", lambda data: data.replace(b"\\n3\\n", b"\\n4\\n", 1),
         "the checkpoint of size 3"),
        ("the order of the signed notes", f"{top}/signatures.jsonl",
         lambda data: b"\n".join(reversed(data.splitlines())) + b"\n", "out of order"),
        ("no signed notes", f"{top}/signatures.jsonl", lambda _: b"", "there is no checkpoint of size 260"),
        ("no checkpoint of the whole ledger among the signed notes", f"{top}/signatures.jsonl",
         lambda data: b"".join(line for line in data.splitlines(True) if b'260, "kind": "checkpoint"' not in line),
         "there is no checkpoint of size 260"),
        ("a checkpoint that the owner did not sign", f"{top}/checkpoint",
         lambda data: _signed(Checkpoint.parse(Note.parse(data).text), key=STRANGER).encode(), "no known key"),
    ]  # fmt: skip


def exports() -> dict[str, Any]:
    """The content of export.json."""
    made = files()
    refused = []
    for name, file, change, _ in changes():
        content = change(made.get(file, b""))
        refused.append({"name": name, "file": file, "content": None if content is None else content.hex()})
    return {
        "origin": str(ORIGIN),
        "log_vkey": LOG.public.verifier(ORIGIN).vkey,
        "gateway_vkey": GATEWAY.verifier.vkey,
        "pq_vkey": PQ.vkey,
        "receipt_vkey": RECEIPT.verifier.vkey,
        "files": {name: content.hex() for name, content in made.items()},
        "refused": refused,
    }


FILES: Final = {"proof.json": proofs, "export.json": exports}

if __name__ == "__main__":
    for name, build in FILES.items():
        (VECTORS / name).write_text(json.dumps(build(), indent=1, ensure_ascii=False) + "\n", "utf-8")
