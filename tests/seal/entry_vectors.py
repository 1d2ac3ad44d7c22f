"""Makes tests/vectors/entry.json, with the byte tables of `reference_entry` and nothing of `gateway.seal`.

``PYTHONPATH=.:proto python -m tests.seal.entry_vectors`` writes the file anew. All of it is the same every time but
`opening`, since HPKE draws randomness of its own: that entry is kept from the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.seal import reference_entry as reference
from tests.seal.parties import JPN, KOR, ORIGIN, seeded

FILE: Final = Path(__file__).parents[1] / "vectors" / "entry.json"

CONTENT_KEY: Final = seeded("content key of the vectors")(32)
EPOCH: Final = 7
INDEX: Final = 9

GROUPED: Final = (
    (1, b"the envelope"),
    (2, b"the threat"),
    (3, b""),
    (4, b"the kinematics"),
    (200, b"a group of tomorrow"),
)
"""Parts of a payload in several parts: group, content."""


def salt(name: str) -> bytes:
    return seeded(f"salt of {name}")(32)


def whole_payload(name: str, content: bytes) -> tuple[bytes, bytes]:
    """Serialised payload of one part, and its commitment."""
    return reference.shown_part(0, salt(name), content), reference.leaf_of(0, salt(name), content)


def grouped_payload(shown: set[int]) -> tuple[bytes, bytes]:
    """Serialised payload of GROUPED, with the parts of these groups shown, and its commitment."""
    leaves = [reference.leaf_of(group, salt(str(group)), content) for group, content in GROUPED]
    parts = [
        reference.shown_part(group, salt(str(group)), content) if group in shown else reference.hidden_part(leaf)
        for leaf, (group, content) in zip(leaves, GROUPED, strict=True)
    ]
    return b"".join(parts), reference.root_of(leaves)


def accepted(name: str, payload: bytes, commitment: bytes, content: bytes, index: int = INDEX) -> dict[str, Any]:
    plaintext = reference.plaintext_of(payload)
    header = reference.header_of(reference.class_of(len(payload)), EPOCH, commitment)
    return {
        "name": name,
        "index": index,
        "content": content.hex(),
        "payload": payload.hex(),
        "header": header.hex(),
        "nonce": (bytes(4) + reference.u64(index)).hex(),
        "associated_data": reference.associated_data(ORIGIN, index, header).hex(),
        "entry": reference.sealed(CONTENT_KEY, ORIGIN, index, header, plaintext).hex(),
    }


def accepted_entries() -> list[dict[str, Any]]:
    """Entries that open, with everything in between."""
    contents = {
        "no content": b"",
        "short": b"a launch",
        "fills class 0": bytes(range(256)) + bytes(508 - 256 - 40),
        "one byte into class 1": bytes(range(256)) + bytes(509 - 256 - 40),
    }
    entries = [accepted(name, *whole_payload(name, content), content) for name, content in contents.items()]
    everything = b"".join(content for _, content in GROUPED)
    entries.append(accepted("five parts", *grouped_payload({1, 2, 3, 4, 200}), everything))
    entries.append(accepted("five parts, two shown", *grouped_payload({1, 4}), b"the envelopethe kinematics"))
    entries.append(accepted("highest index", *whole_payload("highest index", b"end"), b"end", 2**63 - 1))
    return entries


def refused_entries() -> list[dict[str, Any]]:
    """Entries under the right key that break one rule each."""
    payload, commitment = whole_payload("refused", b"a launch")
    header = reference.header_of(0, EPOCH, commitment)
    plaintext = reference.plaintext_of(payload)
    end = 4 + len(payload)
    two_wholes = payload + payload
    two_leaves = reference.root_of([commitment, commitment])
    all_hidden, root = grouped_payload(set())
    cases: list[tuple[str, bytes, bytes]] = [
        ("format version 2", bytes([2]) + header[1:], plaintext),
        ("kind 3", header[:1] + bytes([3]) + header[2:], plaintext),
        ("reserved byte set", header[:3] + b"\x01" + header[4:], plaintext),
        ("class of another length", header[:2] + b"\x01" + header[3:], plaintext),
        ("class 8", header[:2] + b"\x08" + header[3:], plaintext),
        ("its own index as epoch", reference.header_of(0, INDEX, commitment), plaintext),
        ("another epoch", reference.header_of(0, EPOCH + 1, commitment), plaintext),
        ("last byte of padding set", header, plaintext[:-1] + b"\x01"),
        ("first byte of padding set", header, plaintext[:end] + b"\x01" + plaintext[end + 1 :]),
        ("class larger than needed", reference.header_of(1, EPOCH, commitment), reference.plaintext_of(payload, 1)),
        ("length beyond the plaintext", header, (509).to_bytes(4, "big") + plaintext[4:]),
        ("length one short", header, (len(payload) - 1).to_bytes(4, "big") + plaintext[4:]),
        ("unknown field in the payload", header, reference.plaintext_of(payload + reference.length_delimited(9, b"x"))),
        ("another commitment", reference.header_of(0, EPOCH, salt("anything")), plaintext),
        ("empty payload", reference.header_of(0, EPOCH, bytes(32)), reference.plaintext_of(b"")),
        (
            "two parts of the whole content",
            reference.header_of(0, EPOCH, two_leaves),
            reference.plaintext_of(two_wholes),
        ),
        ("every part hidden", reference.header_of(0, EPOCH, root), reference.plaintext_of(all_hidden)),
    ]
    return [
        {"name": name, "index": INDEX, "entry": reference.sealed(CONTENT_KEY, ORIGIN, INDEX, *rest).hex()}
        for name, *rest in cases
    ]


def build(opening: str) -> dict[str, Any]:
    """What the file holds, around this opening (hexadecimal)."""
    return {
        "origin": ORIGIN,
        "epoch": EPOCH,
        "content_key": CONTENT_KEY.hex(),
        "readers": [
            {
                "node": node,
                "mlkem_seed": key.mlkem_seed.hex(),
                "x25519": key.x25519.hex(),
                "key_id": key.key_id.hex(),
                "info": reference.info(ORIGIN, EPOCH, node, key.key_id).hex(),
            }
            for node, key in (("KOR", KOR), ("JPN", JPN))
        ],
        "opening": opening,
        "accepted": accepted_entries(),
        "refused": refused_entries(),
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(build(json.loads(FILE.read_text())["opening"]), indent=1) + "\n")
