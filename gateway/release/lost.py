"""Which decisions there were, as the last beat of the own witness ledger that a partner holds commits to.

The decisions ledger itself is held by nobody else. Where the store was lost, the beats say how far it went; the
recovery records say what stood there (`gateway.release.rebuilding`). What none of them says is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import StoreError
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.stores import StoreReader

META: Final = "witnessed decisions"
"""Key of the store's own value that says how many entries each generation of the decisions ledger had that is not in
this store whole: an origin line, a space and a size a line.
"""


def witnessed_sizes(store: StoreReader) -> Mapping[Origin, int]:
    """How many entries each generation of the decisions ledger had, of those that are not here whole."""
    found = {}
    try:
        for line in (store.meta(META) or b"").decode("ascii").splitlines():
            origin, _, size = line.partition(" ")
            found[Origin.parse(origin)] = int(size)
    except ValueError as error:
        raise StoreError(f"what the witness ledger says of lost decisions does not read: {error}") from error
    return found


def keep_witnessed(store: StoreReader, heads: Iterable[Checkpoint]) -> tuple[tuple[str, bytes], ...]:
    """What is to be kept of a beat, where it commits to decisions that are not here: values of the store's own."""
    known = dict(witnessed_sizes(store))
    for head in heads:
        row = store.ledger(head.origin)
        if head.origin.lane == DECISIONS and head.size > max(known.get(head.origin, 0), 0 if row is None else row.size):
            known[head.origin] = head.size
    lines = "".join(f"{origin} {size}\n" for origin, size in sorted(known.items(), key=lambda each: str(each[0])))
    raw = lines.encode("ascii")
    return () if raw == (store.meta(META) or b"") else ((META, raw),)
