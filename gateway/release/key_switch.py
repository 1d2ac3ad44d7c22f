"""Taking other keys into use, as one commit: what was signed before stays verifiable, and can be added to by nobody.

Rules, in order:

1. The keys that come into use are in the keyring. What the commit signs, it signs with them; whoever holds this node's
   keys uses them once it is durable. The store's own value `key <kind>` names the key in use: a gateway that starts, or
   whose commit failed half-way, has the old keys or the new ones, and never some of each.
2. The decisions ledger gets an event `keys-switched`, with the full public halves of the keys before and after, and the
   head of every own ledger. So what the old keys signed up to here stands under the new one.
3. A new log key signs the last checkpoint of every own ledger that holds entries: its *anchor*. A checkpoint by a key
   out of use is believed as far as an anchor, or a later checkpoint, covers it, and no further.
4. A new receipt key signs again the last receipt for every replica, beside what stands there. A new post-quantum key
   signs the last checkpoint of every own ledger again.
5. A new storage key seals from now on; a new sealing key is what the next epochs are wrapped for. All older ones go on
   opening, as long as the keyring holds them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.identity.keyring import KeyKind
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.note import Note, sign_note
from gateway.ledger.stores import CosignatureKind, CosignatureRow, StoreReader
from gateway.release.errors import KeyNotHeld, StepRefused
from gateway.release.heads import Head
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.signatory import Signatory
from gateway.release.steps import KEPT_LINES

KEYS_SWITCHED: Final = "keys-switched"
"""The kind of the event."""

_HEADER: Final = "signalfire/v1/keys-switched"

HEADS_IN_ONE: Final = 400
"""Heads in one event: each takes up to 130 bytes, and an entry has 65,535."""

_SIGNING: Final = (KeyKind.LOG, KeyKind.RECEIPT, KeyKind.PQ)


def record_of(kind: KeyKind) -> str:
    """Key of the store's own value that names the key in use."""
    return f"key {kind}"


USED_STORAGE: Final = "keys storage"
"""Key of the store's own value that names, joined by spaces, every storage key that was in use or was held when a newer
one was taken into use: none of these is new any more.
"""


def keys_on_record(store: StoreReader) -> Mapping[KeyKind, str]:
    """The ids of the keys in use, of the kinds of which the record says so; of the others it is the default key."""
    found = {kind: store.meta(record_of(kind)) for kind in KeyKind}
    return {kind: raw.decode("ascii", "replace") for kind, raw in found.items() if raw is not None}


@dataclass(frozen=True, slots=True)
class Switched:
    """One switch as the record tells it: kind of key, raw public halves before and after."""

    kind: KeyKind
    before: bytes
    after: bytes


def read_switches(evidence: Sequence[bytes]) -> Sequence[Switched]:
    """What an event `keys-switched` says of keys. Raises ValueError for what is no such evidence."""
    found = []
    for raw in evidence:
        lines = raw.decode("utf-8").split("\n")
        if lines[0] != _HEADER:
            raise ValueError("an event keys-switched does not say which keys")
        for line in lines[1:]:
            words = line.split(" ")
            if len(words) == 3 and words[0] in _SIGNING:
                try:
                    before, after = (base64.b64decode(word, validate=True) for word in words[1:])
                except binascii.Error as error:
                    raise ValueError(f"an event keys-switched holds what is no key: {error}") from error
                found.append(Switched(KeyKind(words[0]), before, after))
    return found


@dataclass(frozen=True, slots=True)
class SwitchKeys:
    """Takes the keys with these ids into use. The node's keyring holds them."""

    changes: Mapping[KeyKind, str]
    reason: str
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> Mapping[KeyKind, str]:
        """Fills `plan`; returns the kinds that changed, with the ids of their keys. Raises StepRefused."""
        before = plan.signatory
        changes = {kind: key_id for kind, key_id in self.changes.items() if before.in_use[kind] != key_id}
        try:
            after = before.using(changes)
        except KeyNotHeld as error:
            raise StepRefused(str(error)) from error
        if not changes:
            return {}
        plan.use(after)
        own = [head for head in plan.heads if not head.replica and head.edge.size]
        if KeyKind.LOG in changes:
            plan.commit.cosignatures.extend(_anchor(plan, head) for head in own)
        if KeyKind.PQ in changes:
            plan.commit.cosignatures.extend(_post_quantum(plan, head) for head in own)
        if KeyKind.RECEIPT in changes:
            plan.commit.cosignatures.extend(_receipts(plan))
        if KeyKind.STORAGE in changes:
            used = (plan.store.meta(USED_STORAGE) or before.in_use[KeyKind.STORAGE].encode()).decode().split(" ")
            plan.commit.meta[USED_STORAGE] = " ".join(
                dict.fromkeys([*used, before.in_use[KeyKind.STORAGE], *before.ring.keys[KeyKind.STORAGE]])
            ).encode()
        for kind, key_id in changes.items():
            plan.commit.meta[record_of(kind)] = key_id.encode("ascii")
        said = ", ".join(f"{kind} {before.in_use[kind]} to {key_id}" for kind, key_id in sorted(changes.items()))
        for place, evidence in enumerate(_evidence(before, after, changes, own)):
            more = " (further ledgers)" if place else ""
            plan.record_event(KEYS_SWITCHED, f"{said}: {self.reason}{more}", [evidence])
        return changes


def _evidence(
    before: Signatory, after: Signatory, changes: Mapping[KeyKind, str], own: Sequence[Head]
) -> Iterator[bytes]:
    keys = [
        f"{kind} {_encoded(before.held(kind).public)} {_encoded(after.held(kind).public)}"
        for kind in _SIGNING
        if kind in changes
    ]
    heads = [f"{head.origin} {head.edge.size} {_encoded(head.edge.root())}" for head in own]
    for first in range(0, max(1, len(heads)), HEADS_IN_ONE):
        lines = [_HEADER, *(keys if first == 0 else ()), *heads[first : first + HEADS_IN_ONE]]
        yield "".join(f"{line}\n" for line in lines).encode("utf-8")


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _text(plan: Plan, head: Head) -> str:
    """The text of the durable checkpoint at the end of a ledger."""
    return Checkpoint(head.origin, head.edge.size, head.edge.root()).text()


def _anchor(plan: Plan, head: Head) -> CosignatureRow:
    note = sign_note(_text(plan, head), plan.signatory.log.signer(head.origin)).encode()
    return _row(plan, head, CosignatureKind.ANCHOR, note)


def _post_quantum(plan: Plan, head: Head) -> CosignatureRow:
    text = _text(plan, head)
    line = cosign(text, plan.signatory.pq, plan.now_ns // 1_000_000_000)
    return _row(plan, head, CosignatureKind.PQ, Note(text, (line,)).encode())


def _receipts(plan: Plan) -> Iterator[CosignatureRow]:
    for head in plan.heads:
        held = plan.store.cosignature(head.id, CosignatureKind.RECEIPT, plan.signatory.node) if head.replica else None
        if held is None:
            continue
        note = Note.parse(held.note)
        line = cosign(note.text, plan.signatory.receipt, plan.now_ns // 1_000_000_000)
        # The older lines say when this was stored, under keys that were believed then. The first of them says it best.
        kept = Note(note.text, (*note.signatures[: KEPT_LINES - 1], line)).encode()
        yield CosignatureRow(head.id, CosignatureKind.RECEIPT, held.size, kept, held.time_ns, plan.signatory.node)


def _row(plan: Plan, head: Head, kind: CosignatureKind, note: bytes) -> CosignatureRow:
    return CosignatureRow(head.id, kind, head.edge.size, note, plan.now_ns, plan.signatory.node)
