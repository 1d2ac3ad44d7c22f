"""Which decisions there were, as the last beat of the own witness ledger that a partner holds commits to.

The decisions ledger itself is held by nobody else. Where the store was lost, the beats say how far it went; the
recovery records say what stood there (`gateway.release.recovery.rebuilding`). What none of them says is lost. Rules, in
order:

1. A beat that commits to what this store has, at that size and with that root, tells of nothing lost.
2. Where the store was gone, or was declared to be an older copy before anything was written to it, what is here is the
   beginning of what was: the rest is lost.
3. Where it was written to before that was noticed, there are two histories. Both begin with what a beat that a partner
   had confirmed commits to, as the next generation says (`Succession.agreed_size`): of the lost one the rest may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import StoreError
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.stores import LedgerRow, StoreReader
from gateway.release.doubt import root_at
from gateway.release.opening import Opener
from gateway.seal.errors import SealError

META: Final = "witnessed decisions"
"""Key of the store's own value that says how many entries each generation of the decisions ledger had that is not in
this store whole: an origin line, a size, and how many of these are here for certain, with a space between, a line.
"""


@dataclass(frozen=True, slots=True)
class Lost:
    """A generation of the decisions ledger that is not here whole: it had `size` entries, of which the first `here`
    are.
    """

    size: int
    here: int


def witnessed_sizes(store: StoreReader) -> Mapping[Origin, Lost]:
    """How many entries each generation of the decisions ledger had, of those that are not here whole."""
    found = {}
    try:
        for line in (store.meta(META) or b"").decode("ascii").splitlines():
            origin, size, here = line.split(" ")
            found[Origin.parse(origin)] = Lost(int(size), int(here))
    except ValueError as error:
        raise StoreError(f"what the witness ledger says of lost decisions does not read: {error}") from error
    return found


def keep_witnessed(store: StoreReader, heads: Iterable[Checkpoint], opener: Opener) -> tuple[tuple[str, bytes], ...]:
    """What is to be kept of a beat, where it commits to decisions that are not here: values of the store's own.

    The generations that it names must have ended.
    """
    known = dict(witnessed_sizes(store))
    for head in heads:
        origin = head.origin
        if origin.lane != DECISIONS or (origin in known and known[origin].size >= head.size):
            continue
        row = store.ledger(origin)
        if row is None:
            known[origin] = Lost(head.size, 0)
        elif root_at(store, row, head.size) != head.root:
            known[origin] = Lost(head.size, min(row.size, head.size, _in_common(store, row, opener)))
    lines = "".join(
        f"{origin} {lost.size} {lost.here}\n" for origin, lost in sorted(known.items(), key=lambda each: str(each[0]))
    )
    raw = lines.encode("ascii")
    return () if raw == (store.meta(META) or b"") else ((META, raw),)


def _in_common(store: StoreReader, row: LedgerRow, opener: Opener) -> int:
    """How many entries of a generation that has ended are those of the lost history, for certain."""
    following = row
    while following.successor is not None:
        after = store.ledger(following.successor)
        if after is None:
            return 0
        following = after
        # A generation that was passed over is empty.
        if following.size > 1:
            break
    ledger = following.id

    def entry(index: int) -> bytes:
        return store.entry(ledger, index) or b""

    try:
        content = opener.content(following.origin, 1, entry(1), entry) if following.size > 1 else None
    except SealError:
        return 0
    if content is None or not content.HasField("succession"):
        return 0
    declared = content.succession.reason == ledger_pb2.SUCCESSION_REASON_RESTORE
    return row.size if declared else content.succession.agreed_size
