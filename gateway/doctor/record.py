"""What the store has on record that an installation has to agree with: keys in use, sequences of bundles, the time."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.doctor.finding import Finding, ok, problem, warning
from gateway.exchange.bundle_record import BundleRecord
from gateway.identity.keyring import KeyKind, Keyring
from gateway.ledger.errors import LedgerError, StoreVersionError
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.errors import KeyNotHeld
from gateway.release.key_switch import keys_on_record
from gateway.release.own_keys import require_own_keys
from gateway.release.plan import LATEST_TIME
from gateway.release.signatory import Signatory

CHECK: Final = "store"


@dataclass(frozen=True, slots=True)
class OnRecord:
    """What a store says. Of a gateway that was never started: nothing."""

    in_use: Mapping[KeyKind, str] = field(default_factory=dict)
    sequences: Mapping[str, int] = field(default_factory=dict)
    """Sequence of the newest trust bundle of each node."""
    bundles: Mapping[str, bytes] = field(default_factory=dict)
    """That bundle itself, where it came in band."""
    latest: datetime | None = None
    """Newest time at which the clock was trusted."""


def keys_of_store(store: Path, node: str, ring: Keyring) -> list[Finding]:
    """Whether the keys are those of the store, where there is one that can be read."""
    if not store.exists():
        return []
    try:
        with contextlib.closing(SqliteReader(store)) as reader:
            require_own_keys(reader, Signatory.from_ring(node, ring, keys_on_record(reader)))
    except KeyNotHeld as error:
        what, _, mend = str(error).partition(". ")
        return [problem("keys", str(store), what, f"{mend or 'A gateway that lacks a key in use does not start'}.")]
    except (LedgerError, OSError):
        # Said by the check of the store.
        return []
    return []


def read_record(store: Path, roots: Mapping[str, str]) -> tuple[list[Finding], OnRecord]:
    """What the store has on record about these nodes, each with the root that is pinned for it. It only reads, and may
    do so beside a running gateway.
    """
    if not store.exists():
        return [ok(CHECK, str(store), "there is none yet: the first start makes it")], OnRecord()
    try:
        reader = SqliteReader(store)
        try:
            with reader.snapshot():
                record = BundleRecord(reader.meta)
                bundles = {node: record.note(node, root) for node, root in roots.items()}
                latest_ns = int.from_bytes(reader.meta(LATEST_TIME) or b"")
                found = OnRecord(
                    keys_on_record(reader),
                    {node: record.sequence(node, root) for node, root in roots.items()},
                    {node: note for node, note in bundles.items() if note is not None},
                    datetime.fromtimestamp(latest_ns / 1e9, UTC) if latest_ns else None,
                )
                reports = reader.last_report()
        finally:
            reader.close()
    except StoreVersionError as error:
        mend = "It is not damaged and needs no backup: start the gateway of this version, or the one that wrote it."
        return [warning(CHECK, str(store), str(error), mend)], OnRecord()
    except (LedgerError, OSError) as error:
        mend = "Restore it from a backup as docs/operations.md says; `signalfire ledger verify` names what is damaged."
        return [problem(CHECK, str(store), f"it cannot be read: {error}", mend)], OnRecord()
    return [ok(CHECK, str(store), f"readable, {reports} reports on record")], found
