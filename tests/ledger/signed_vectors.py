"""Makes tests/vectors/checkpoint.json, cosignature.json and statement.json: what is signed about a ledger.

``PYTHONPATH=.:proto python -m tests.ledger.signed_vectors`` writes them anew; they are the same every time. Ed25519
signs deterministically; the ML-DSA-44 lines are made by dilithium-py in the deterministic variant of FIPS 204, so that
they are another implementation's than the one that the gateway verifies with.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from dilithium_py.ml_dsa import ML_DSA_44

from gateway.identity.key_names import gateway_key_name
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.cosignature import (
    Ed25519CosignatureSigner,
    MLDSA44CosignatureVerifier,
    cosign,
    mldsa44_message,
    pq_name,
    receipt_name,
)
from gateway.ledger.merkle import EMPTY_ROOT, leaf_hash
from gateway.ledger.note import Ed25519Signer, Note, SignatureLine
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind, Heartbeat, Takes
from tests.seal.parties import seeded

VECTORS: Final = Path(__file__).parents[1] / "vectors"
ORIGIN: Final = Origin("JPN", "KOR", "flash", 1)
OTHER: Final = Origin("JPN", "KOR", "immediate", 1)
TIME: Final = 1_777_604_400
"""2026-05-01T03:00:00Z."""

LOG_SEED: Final = seeded("JPN log key of the vectors")(32)
LOG: Final = LogKey(LOG_SEED)
GATEWAY: Final = Ed25519Signer(gateway_key_name("JPN"), LOG_SEED)
RECEIPT: Final = Ed25519CosignatureSigner(receipt_name("KOR"), seeded("KOR receipt key of the vectors")(32))
KOR_GATEWAY: Final = Ed25519Signer(gateway_key_name("KOR"), seeded("KOR log key of the vectors")(32))
STRANGER: Final = LogKey(seeded("a key that nobody knows")(32))
PQ_PUBLIC, _PQ_PRIVATE = ML_DSA_44.key_derive(seeded("JPN post-quantum key of the vectors")(32))
PQ: Final = MLDSA44CosignatureVerifier(pq_name("JPN"), PQ_PUBLIC)

CHECKPOINT: Final = Checkpoint(ORIGIN, 197, leaf_hash(b"the root of the vectors"))
TEXT: Final = CHECKPOINT.text()

Refused = tuple[str, str, str]
"""Name of what is wrong, the note, and words of this implementation's refusal."""


def pq_line(text: str, seconds: int, key_id: int = PQ.key_id) -> SignatureLine:
    """A type 0x06 line by the post-quantum key of the vectors."""
    signature = ML_DSA_44.sign(_PQ_PRIVATE, mldsa44_message(PQ.name, text.encode(), seconds), deterministic=True)
    return SignatureLine(PQ.name, key_id, seconds.to_bytes(8, "big") + signature)


def by_log_key(text: str, key: LogKey = LOG, origin: Origin = ORIGIN) -> str:
    """A note of any text by a log key."""
    signer = key.signer(origin)
    return _note(text, SignatureLine(signer.name, signer.key_id, signer.sign(text.encode())))


def _note(text: str, *lines: SignatureLine) -> str:
    return Note(text, lines).encode().decode()


def _raw(text: str, *lines: str) -> str:
    return text + "\n" + "".join(f"{line}\n" for line in lines)


def _line(note: str) -> str:
    return note.splitlines()[-1]


def refused_checkpoints() -> Sequence[Refused]:
    """Notes that are no checkpoint of ORIGIN by its log key."""
    origin, size, root, _ = TEXT.split("\n")
    short = b64encode(bytes(31)).decode()
    good = by_log_key(TEXT)
    signed: Callable[..., str] = by_log_key
    name, _, signature = _line(good).removeprefix("— ").partition(" ")
    pq_id = (PQ.key_id).to_bytes(4, "big")
    return [
        ("a size with a sign", signed(f"{origin}\n+5\n{root}\n"), "plain decimal"),
        ("a size with leading zeros", signed(f"{origin}\n007\n{root}\n"), "plain decimal"),
        ("a size with separators", signed(f"{origin}\n1_000\n{root}\n"), "plain decimal"),
        ("a size in other digits", signed(f"{origin}\n\u0661\n{root}\n"), "plain decimal"),
        ("a size above 2**63 - 1", signed(f"{origin}\n{2**63}\n{root}\n"), "between 0 and"),
        ("a root of 31 bytes", signed(f"{origin}\n{size}\n{short}\n"), "31 bytes"),
        ("a root that is not base64", signed(f"{origin}\n{size}\n!{root[1:]}\n"), "base64"),
        ("a root with stray bits", signed(f"{origin}\n{size}\n{root[:-2]}{chr(ord(root[-2]) + 1)}=\n"), "canonical"),
        ("an extension line", signed(f"{TEXT}extension\n"), "exactly three lines"),
        ("two lines", signed(f"{origin}\n{size}\n"), "exactly three lines"),
        ("another root for the empty ledger", signed(f"{origin}\n0\n{root}\n"), "the empty tree"),
        (
            "another ledger under this key name",
            signed(Checkpoint(OTHER, 197, CHECKPOINT.root).text()),
            "where",
        ),
        ("another ledger's signature", by_log_key(Checkpoint(OTHER, 1, EMPTY_ROOT).text(), LOG, OTHER), "no known key"),
        ("an origin line of another shape", signed(f"signalfire/v1/JPN/KOR/flash/01\n{size}\n{root}\n"), "generation"),
        ("a key that is not known", by_log_key(TEXT, STRANGER), "no known key"),
        ("a signature that does not hold", good.replace("\n197\n", "\n198\n"), "does not hold"),
        ("a signature that is junk base64", _raw(TEXT, f"— {name} !{signature[1:]}"), "base64"),
        ("a signature whose base64 is not canonical", _raw(TEXT, f"— {name} {signature}="), "base64"),
        ("a known key ID under another name", _raw(TEXT, f"— {name}x {signature}"), "no known key"),
        (
            "a known key with another algorithm",
            _raw(TEXT, f"— {name} {b64encode(pq_id + bytes(64)).decode()}"),
            "no known key",
        ),
        ("the known key twice", _raw(TEXT, _line(good), _line(good)), "two signatures"),
        ("17 signature lines", _raw(TEXT, *[_line(good)] * 17), "17 signature lines"),
        ("no signature", TEXT + "\n", "."),
        ("no empty line", TEXT + _line(good) + "\n", "no empty line"),
        ("no newline at the end", good[:-1], "does not end"),
        ("a carriage return", good.replace("\n197\n", "\r\n197\n"), "."),
    ]


def checkpoints() -> dict[str, Any]:
    """The content of checkpoint.json."""
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    stranger = sign_checkpoint(CHECKPOINT, STRANGER).signatures
    return {
        "origin": str(ORIGIN),
        "vkey": LOG.public.verifier(ORIGIN).vkey,
        "seed": LOG_SEED.hex(),
        "accepted": [
            _checkpoint("a ledger of 197 entries", CHECKPOINT, by_log_key(TEXT)),
            _checkpoint("a ledger with no entries", empty, by_log_key(empty.text())),
            _checkpoint(
                "a line of an unknown key beside it", CHECKPOINT,
                sign_checkpoint(CHECKPOINT, LOG).with_signatures(*stranger).encode().decode(),
            ),
        ],
        "refused": [{"name": name, "note": note} for name, note, _ in refused_checkpoints()],
    }  # fmt: skip


def _checkpoint(name: str, checkpoint: Checkpoint, note: str) -> dict[str, Any]:
    return {"name": name, "note": note, "size": checkpoint.size, "root": checkpoint.root.hex()}


def _receipt(text: str, seconds: int = TIME) -> SignatureLine:
    return cosign(text, RECEIPT, seconds)


def refused_cosignatures() -> Sequence[Refused]:
    """Notes on which no receipt of KOR, or post-quantum line of JPN, holds."""
    receipt, pq = _receipt(TEXT), pq_line(TEXT, TIME)
    other = Checkpoint(OTHER, 197, CHECKPOINT.root).text()
    smaller = Checkpoint(ORIGIN, 196, CHECKPOINT.root).text()

    def line(of: SignatureLine, signature: bytes) -> str:
        return _note(TEXT, SignatureLine(of.name, of.key_id, signature))

    found = []
    for kind, good, of_other, of_smaller in (
        ("receipt", receipt, _receipt(other), _receipt(smaller)),
        ("post-quantum line", pq, pq_line(other, TIME), pq_line(smaller, TIME)),
    ):
        later = (TIME + 1).to_bytes(8, "big") + good.signature[8:]
        found += [
            (f"a {kind} for another ledger", line(good, of_other.signature), "does not hold"),
            (f"a {kind} for another size", line(good, of_smaller.signature), "does not hold"),
            (f"a {kind} with another time", line(good, later), "does not hold"),
            (f"a {kind} of time 0", line(good, bytes(8) + good.signature[8:]), "does not hold"),
            (f"a {kind} that is a byte short", line(good, good.signature[:-1]), "does not hold"),
            (f"a {kind} with an altered signature", line(good, good.signature[:-1] + b"\xff"), "does not hold"),
            (f"a {kind} twice", _raw(TEXT, good.encode(), good.encode()), "two signatures"),
        ]
    log_signed = Ed25519Signer(RECEIPT.name, seeded("KOR receipt key of the vectors")(32))
    found.append(
        (
            "the receipt key used as a log key",
            _note(TEXT, SignatureLine(RECEIPT.name, log_signed.key_id, log_signed.sign(TEXT.encode()))),
            "no known key",
        )
    )
    return found


def cosignatures() -> dict[str, Any]:
    """The content of cosignature.json."""
    accepted = [
        ("a receipt", RECEIPT.verifier.vkey, _note(TEXT, _receipt(TEXT))),
        ("a post-quantum line", PQ.vkey, _note(TEXT, pq_line(TEXT, TIME))),
    ]
    return {
        "origin": str(ORIGIN),
        "receipt_vkey": RECEIPT.verifier.vkey,
        "receipt_seed": seeded("KOR receipt key of the vectors")(32).hex(),
        "pq_vkey": PQ.vkey,
        "pq_seed": seeded("JPN post-quantum key of the vectors")(32).hex(),
        "accepted": [
            {"name": name, "vkey": vkey, "note": note, "time": TIME, "message": _message(name)}
            for name, vkey, note in accepted
        ],
        "refused": [{"name": name, "note": note} for name, note, _ in refused_cosignatures()],
    }


def _message(name: str) -> str:
    if "receipt" in name:
        return f"cosignature/v1\ntime {TIME}\n{TEXT}".encode().hex()
    return mldsa44_message(PQ.name, TEXT.encode(), TIME).hex()


LEAF: Final = leaf_hash(b"an entry of the vectors")
HEARTBEAT: Final = Heartbeat("JPN", "KOR", TIME * 10**9 + 5, 7 << 32, (CHECKPOINT, Checkpoint(OTHER, 0, EMPTY_ROOT)))
NOTHING_TAKEN: Final = Heartbeat("JPN", "KOR", TIME * 10**9 + 5, (7 << 32) + 1, (), Takes.NOTHING)
ABSENT: Final = EntryStatement(EntryStatementKind.ABSENT, "JPN", ORIGIN, 12, LEAF, "the partner is suspended")
UNOPENABLE: Final = EntryStatement(EntryStatementKind.UNOPENABLE, "KOR", ORIGIN, 12, LEAF, "it does not open")


def refused_statements() -> Sequence[tuple[str, str, str, str]]:
    """(kind, name, note, words): statements that are refused."""

    def by(signer: Ed25519Signer, text: str) -> str:
        return _note(text, SignatureLine(signer.name, signer.key_id, signer.sign(text.encode())))

    beat, absent = HEARTBEAT.text(), ABSENT.text()
    takes, head = beat.split("\n")[4:6]
    return [
        ("heartbeat", "for another recipient", by(GATEWAY, beat.replace("\nKOR\n", "\nUSA\n", 1)), "not one of JPN"),
        ("heartbeat", "of another node", by(KOR_GATEWAY, beat), "no known key"),
        ("heartbeat", "a counter with a sign", by(GATEWAY, beat.replace(f"\n{7 << 32}\n", "\n+7\n")), "decimal"),
        ("heartbeat", "a ledger twice", by(GATEWAY, beat + head + "\n"), "twice"),
        ("heartbeat", "ledgers out of order", by(GATEWAY, _swapped(beat)), "one spelling"),
        ("heartbeat", "nothing about what is taken", by(GATEWAY, beat.replace(f"{takes}\n", "")), "what is taken"),
        ("heartbeat", "an unknown precedence taken", by(GATEWAY, beat.replace(takes, "takes ALL")), "what is taken"),
        (
            "heartbeat",
            "what is taken in other letters",
            by(GATEWAY, beat.replace(takes, "takes Routine")),
            "what is taken",
        ),
        (
            "heartbeat",
            "two words about what is taken",
            by(GATEWAY, beat.replace(takes, f"{takes} FLASH")),
            "what is taken",
        ),
        (
            "heartbeat",
            "a ledger for another",
            by(GATEWAY, beat.replace("JPN/KOR/flash", "JPN/USA/flash")),
            "not a ledger",
        ),
        ("absent", "by the recipient", by(KOR_GATEWAY, absent), "no known key"),
        ("absent", "about another ledger", by(GATEWAY, absent.replace(str(ORIGIN), str(OTHER))), "not one of JPN"),
        ("absent", "an index with leading zeros", by(GATEWAY, absent.replace("\n12\n", "\n012\n")), "decimal"),
        ("absent", "a hash of 31 bytes", by(GATEWAY, _with_hash(absent, bytes(31))), "31 bytes"),
        ("absent", "no reason", by(GATEWAY, absent.replace(ABSENT.reason, "")), "one line of 1 to 256"),
        ("absent", "a reason of two lines", by(GATEWAY, absent + "more\n"), "not one of JPN"),
        ("unopenable", "a statement absent in its place", by(GATEWAY, absent), "no known key"),
    ]


def _swapped(text: str) -> str:
    *rest, one, two, end = text.split("\n")
    return "\n".join((*rest, two, one, end))


def _with_hash(text: str, value: bytes) -> str:
    return text.replace(b64encode(LEAF).decode(), b64encode(value).decode())


def statements() -> dict[str, Any]:
    """The content of statement.json."""
    return {
        "origin": str(ORIGIN),
        "vkeys": {"JPN": GATEWAY.verifier.vkey, "KOR": KOR_GATEWAY.verifier.vkey},
        "accepted": [
            {"kind": "heartbeat", "note": HEARTBEAT.sign(GATEWAY).decode(), "takes": HEARTBEAT.takes.value},
            {"kind": "heartbeat", "note": NOTHING_TAKEN.sign(GATEWAY).decode(), "takes": NOTHING_TAKEN.takes.value},
            {"kind": "absent", "note": ABSENT.sign(GATEWAY).decode()},
            {"kind": "unopenable", "note": UNOPENABLE.sign(KOR_GATEWAY).decode()},
        ],
        "refused": [{"kind": kind, "name": name, "note": note} for kind, name, note, _ in refused_statements()],
    }


FILES: Final = {"checkpoint.json": checkpoints, "cosignature.json": cosignatures, "statement.json": statements}

if __name__ == "__main__":
    for file, build in FILES.items():
        (VECTORS / file).write_text(json.dumps(build(), indent=1, ensure_ascii=False) + "\n", "utf-8")
