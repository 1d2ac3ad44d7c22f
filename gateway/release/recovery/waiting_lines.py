"""Which own ledgers wait for their recipients' keys before they are set back (`gateway.release.recovery.restored`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.ledger.errors import OriginError, StoreError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import StoreReader

WAITING: Final = "set back"
"""Key of the store's own value with the ledgers that are to be set back once their recipients' keys are in force: an
origin line a line."""


def waiting_in(raw: bytes | None) -> Sequence[Origin]:
    """The ledgers in that value. Raises StoreError."""
    try:
        return [Origin.parse(line) for line in (raw or b"").decode("ascii").splitlines()]
    except (OriginError, UnicodeDecodeError) as error:
        raise StoreError(f"the ledgers that wait to be set back do not read: {error}") from error


def waiting_for(store: StoreReader) -> frozenset[str]:
    """The partners whose ledgers wait for their keys. Raises StoreError."""
    return frozenset(origin.recipient for origin in waiting_in(store.meta(WAITING)) if origin.recipient is not None)
