"""Whether the keys that a node holds are those of its store: asked before anything is signed or decided with them.

Rules, in order:

1. The keys directory holds the storage key under which the pinned roster, the last order and the index of decisions are
   sealed. With another, nothing on record opens, and everything would be withheld. What names a key that is held and
   does not open all the same was altered: that is for `ledger verify`.
2. Where the record names no log key (`key log`), the default one signed the newest checkpoint, or its anchor, of the
   newest own decisions ledger. With another, partners would refuse every checkpoint to come.
"""

from __future__ import annotations

from gateway.identity.keyring import KeyKind
from gateway.ledger.errors import NoteError
from gateway.ledger.note import Note
from gateway.ledger.origin import DECISIONS
from gateway.ledger.stores import CosignatureKind, LedgerRow, StoreReader
from gateway.release.errors import KeyNotHeld
from gateway.release.key_switch import record_of
from gateway.release.orders import ROSTER_META
from gateway.release.signatory import Signatory
from gateway.seal.errors import OpenError
from gateway.seal.storage import storage_key_id


def require_own_keys(store: StoreReader, signatory: Signatory) -> None:
    """Raises KeyNotHeld, which names the key and the remedy, and StoreError. `signatory` uses the keys on record."""
    _require_storage(store, signatory)
    _require_log(store, signatory)


def _require_storage(store: StoreReader, signatory: Signatory) -> None:
    held = signatory.ring.keys[KeyKind.STORAGE]
    sealed = [raw for raw in (store.meta(ROSTER_META), *(row.payload for row in store.orders()[-1:])) if raw]
    verdicts = [row.name for row in store.verdicts()]
    lacking = [key_id for key_id in _ids(sealed) if key_id not in held]
    # One damaged row of the index is left out of it; a key that is missing leaves out every one.
    if not lacking and verdicts and not any(key_id in held for key_id in _ids(verdicts)):
        lacking = _ids(verdicts)
    if lacking:
        raise KeyNotHeld(
            f"the store is sealed under the storage key {lacking[0]}, and the keys directory holds"
            f" {', '.join(held)}: with these nothing on record opens, and everything would be withheld. Restore"
            f" {KeyKind.STORAGE.default_file}, or {KeyKind.STORAGE}.{lacking[0]}.key, from the backup of this gateway's"
            " keys, or the store that belongs to these keys"
        )


def _ids(blobs: list[bytes]) -> list[str]:
    found = []
    for blob in blobs:
        try:
            found.append(storage_key_id(blob).hex())
        except OpenError:
            # Too short to name a key: damaged, and said so where it is opened.
            continue
    return found


def _require_log(store: StoreReader, signatory: Signatory) -> None:
    if store.meta(record_of(KeyKind.LOG)) is not None:
        return
    row = _newest(store, signatory.node)
    if row is None:
        return
    anchor = store.cosignature(row.id, CosignatureKind.ANCHOR, signatory.node)
    notes = [store.checkpoint(row.id, row.size), None if anchor is None else anchor.note]
    signed = {line for raw in notes if raw is not None for line in _signers(raw)}
    signer = signatory.log.signer(row.origin)
    if not signed or (signer.name, signer.key_id) in signed:
        return
    raise KeyNotHeld(
        f"the log key {signatory.in_use[KeyKind.LOG]} in {KeyKind.LOG.default_file} is not the one that signed the"
        f" checkpoint of {row.size} entries of {row.origin}: partners would refuse what it signs. Restore"
        f" {KeyKind.LOG.default_file} from the backup of this gateway's keys, or the store that belongs to these keys"
    )


def _newest(store: StoreReader, node: str) -> LedgerRow | None:
    own = [
        row
        for row in store.ledgers()
        if not row.replica and row.origin.owner == node and row.origin.lane == DECISIONS and row.size
    ]
    return max(own, key=lambda row: row.origin.generation, default=None)


def _signers(raw: bytes) -> list[tuple[str, int]]:
    try:
        return [(line.name, line.key_id) for line in Note.parse(raw).signatures]
    except NoteError:
        # Damaged, and said so by `ledger verify`.
        return []
