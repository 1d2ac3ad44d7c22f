"""What a partner states against what it signed before, and the record of it.

Everything that a partner signs about a ledger is held against the checkpoint of that size which is on record here. Two
statements that cannot both be true are evidence (`gateway.ledger.evidence`): they are kept, both, in the decisions
ledger, once for each ledger, whatever else comes of the message that brought the second one.

A heartbeat may name any generation of a ledger, one that never was too, and costs whoever signs it nothing. So evidence
is kept of every ledger up to the generation after the one that is followed here, whose number is bounded as successions
are (`gateway.release.successions`). Of all further ones of a line (all generations for one recipient in one lane)
together the first contradiction is kept, and says that it is the only one. Neither uses up the room of the other.

What is stated now counts under keys in use alone: whoever took a retired one signs what he likes, and it blames nobody.
What is on record was believed when it came. So a pair may be kept of which one note is under a key that has been
retired since; a pair under keys in use, which convinces others as well, is kept besides as soon as there is one.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.evidence import Contradiction, EvidenceError, OwnerKeys, contradiction, decode
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, LedgerRow, StoreReader
from gateway.release.heads import Head
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.signatory import Partner

META: Final = "fork-evidence "
"""Begins the key of the store's own value that says that there is evidence about a ledger; its origin line follows."""

PAIR: Final = "fork-evidence-pair "
"""Begins the key of the pair itself; the origin line follows."""

BEYOND: Final = "fork-evidence-beyond "
"""Begins the key of the store's own value that says that there is evidence about a generation of a line that is not
followed yet; owner, recipient and lane follow."""

BEYOND_PAIR: Final = "fork-evidence-beyond-pair "
"""Begins the key of the pair itself; the same follows."""

FINDING: Final = "witness-finding "
"""Begins the key of what comparing a third node's witness ledger has found, where no two notes prove it alone."""

KIND: Final = "fork-evidence"
"""The kind of the event that holds it."""

JUDGED: Final = 128
"""Pairs of which it is remembered whether they hold by the keys in use: who contradicts himself does so again with each
heartbeat, and each would be verified anew."""


class Contradicted(LedgerError):
    """A partner has signed what contradicts another statement of its own. `found` is the evidence."""

    def __init__(self, found: Contradiction) -> None:
        super().__init__(f"{found}; both signed by {found.origin.owner}")
        self.found = found


def owner_keys(partner: Partner) -> OwnerKeys:
    """The keys by which what a partner states is judged: those in use."""
    return OwnerKeys(partner.node, partner.log, partner.gateway, partner.pq)


def recorded_keys(partner: Partner) -> OwnerKeys:
    """The keys by which a partner's notes on record are read: also those that it has retired since."""
    return OwnerKeys(
        partner.node,
        (*partner.log, *(old.key for old in partner.retired_log)),
        (*partner.gateway, *partner.retired_gateway),
        (*partner.pq, *(old.key for old in partner.retired_pq)),
    )


def against_record(
    reader: StoreReader, stated: Iterable[Checkpoint], raw: bytes, owner: Partner
) -> Contradiction | None:
    """The first of the heads that the note `raw` states which contradicts a checkpoint of `owner` on record.

    None where there is none, or where what contradicts is not signed by `owner` with a key in use.
    """
    return next(all_against_record(reader, stated, raw, owner), None)


def all_against_record(
    reader: StoreReader, stated: Iterable[Checkpoint], raw: bytes, owner: Partner
) -> Iterator[Contradiction]:
    """Each of the heads that does."""
    for head in stated:
        row = reader.ledger(head.origin)
        held = None if row is None or not 0 < head.size <= row.size else recorded_checkpoint(reader, row, head.size)
        if held is None or Note.parse(held).text == head.text():
            continue
        with contextlib.suppress(EvidenceError):
            yield contradiction(held, raw, recorded_keys(owner), owner_keys(owner))


def recorded_checkpoint(reader: StoreReader, row: LedgerRow | Head, size: int) -> bytes | None:
    """The owner's checkpoint of that size, with the line of the key that took over where that has signed it."""
    raw = reader.checkpoint(row.id, size)
    anchor = reader.cosignature(row.id, CosignatureKind.ANCHOR, row.origin.owner, size)
    if raw is None or anchor is None or anchor.size != size:
        return raw
    return Note.parse(raw).joined(Note.parse(anchor.note)).encode()


def require_no_contradiction(reader: StoreReader, origin: Origin, raw: bytes, owner: Partner) -> None:
    """Raises Contradicted where the note `raw` is a checkpoint of `origin`, signed by its owner, and contradicts one
    that is on record. Whatever else is wrong with it is not looked at here.
    """
    try:
        stated = Checkpoint.parse(Note.parse(raw).text)
    except LedgerError:
        return
    if stated.origin == origin and (found := against_record(reader, [stated], raw, owner)) is not None:
        raise Contradicted(found)


@dataclass(frozen=True, slots=True)
class KeepEvidence:
    """Puts a contradiction on record: once for each ledger up to the one that comes next here, and once for all further
    generations of its line. Whoever contradicts himself can do so without end.

    Where `keys`, the owner's in use, are given, a pair under these takes the place of one that is not.
    """

    found: Contradiction
    keys: OwnerKeys | None = None
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> bool:
        """Records it. Returns whether it is kept, and was not known."""
        origin = self.found.origin
        current = plan.heads.current(origin.owner, origin.recipient, origin.lane)
        # The owner is ahead of what is followed here by one generation from when it ends a ledger until that is told.
        if origin.generation > current.generation + 1:
            return self._beyond(plan, current)
        key, pair = f"{META}{origin}", f"{PAIR}{origin}"
        if _known(plan, key) is not None and not self._is_better(_known(plan, pair)):
            return False
        plan.record_event(KIND, str(self.found), self.found.statements)
        plan.commit.meta[key] = str(self.found).encode()
        plan.commit.meta[pair] = self.found.encode()
        return True

    def _beyond(self, plan: Plan, current: Origin) -> bool:
        line = f"{current.owner} {current.recipient or '-'} {current.lane}"
        key, pair = f"{BEYOND}{line}", f"{BEYOND_PAIR}{line}"
        if _known(plan, key) is not None and not self._is_better(_known(plan, pair)):
            return False
        plan.record_event(
            KIND,
            f"{self.found}; no such ledger is here, {current} is the last of its line: of all further generations"
            " together this evidence alone is kept, whatever else comes, but for one under keys in use",
            self.found.statements,
        )
        plan.commit.meta[key] = str(self.found.origin).encode()
        plan.commit.meta[pair] = self.found.encode()
        return True

    def _is_better(self, known: bytes | None) -> bool:
        if self.keys is None or (known is not None and _proves(known, self.keys)):
            return False
        return _proves(self.found.encode(), self.keys)


@dataclass(frozen=True, slots=True)
class KeepAllEvidence:
    """Puts on record what one note contradicts, of each ledger by the rules of `KeepEvidence`."""

    found: Sequence[Contradiction]
    keys: OwnerKeys | None = None
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> Sequence[Contradiction]:
        """Records them. Returns those that are kept, and were not known."""
        return [each for each in self.found if KeepEvidence(each, self.keys).apply(plan)]


@dataclass(frozen=True, slots=True)
class KeepFinding:
    """Puts on record what comparing a third node's witness ledger has found, once for each `about`."""

    about: str
    detail: str
    evidence: tuple[bytes, ...] = ()
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> bool:
        """Records it. Returns whether it was not known."""
        key = f"{FINDING}{self.about}"
        if _known(plan, key) is not None:
            return False
        plan.record_event("reconciled", self.detail, self.evidence)
        plan.commit.meta[key] = b"1"
        return True


def _known(plan: Plan, key: str) -> bytes | None:
    found = plan.commit.meta.get(key)
    return plan.store.meta(key) if found is None else found


def _proves(pair: bytes, keys: OwnerKeys) -> bool:
    """Whether a pair proves by these keys that their node contradicted itself."""
    return _proven(pair, replace(keys, log=tuple(keys.log), gateway=tuple(keys.gateway), pq=tuple(keys.pq)))


@functools.lru_cache(maxsize=JUDGED)
def _proven(pair: bytes, keys: OwnerKeys) -> bool:
    try:
        contradiction(*decode(pair), keys)
    except EvidenceError:
        return False
    return True
