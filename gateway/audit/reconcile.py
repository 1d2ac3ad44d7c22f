"""Comparing what two nodes hold of the ledgers between them, and saying whose signatures contradict each other.

Two sources of hashes are compared: a store and a partner that is asked, or two exported folders. Rules, in order, for
each ledger:

1. What a side holds counts as signed where it shows the owner's checkpoint of just that size and root, under a key in
   use. What retired keys alone signed is as good as unsigned: whoever has such a key signs what he likes, so that it
   blames nobody. It is a finding unless what the other side holds, under a key in use, covers it.
2. A side's hashes are believed as far as they add up to its root (`proven_tree`). A side whose hashes do not is named:
   its store is damaged, or it does not tell the truth.
3. Where one tree is a prefix of the other they agree, and one side is simply behind. Only the owner cannot be: a
   signed checkpoint beyond what the owner holds shows that its ledger lost its tail. (Of folders that were written at
   different times that says nothing.)
4. Where they part, the differing entries are found by descending both trees. Two checkpoints by the owner that cannot
   both be true are equivocation; otherwise the side without a signature holds what nobody signed.
5. The witness ledger of a third node, where both sides hold it, is compared alike, up to what both have: two trees that
   part are that node's equivocation. Where both sides have its checkpoints of one size, those two are named: they
   convince everybody; where not, both roots of the smaller size are. What is signed with no key of it that is known
   here, or parts under a retired one alone, cannot be compared: a bundle that is not here yet blames nobody.
6. A receipt must be for a tree that its signer holds: a size beyond it, or another root at that size, contradicts it.
   One under a retired key blames nobody either.

It asks and computes; what came of it is for the caller to record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from signalfire.v1 import officer_pb2

from gateway.audit.proven_tree import HashReader, ProvenTree, Untrue, differing
from gateway.audit.signers import Signers
from gateway.ledger.checkpoint import Checkpoint, LogPublicKey, open_checkpoint
from gateway.ledger.cosignature import Ed25519CosignatureVerifier, verify_cosignature
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.holding import HeldLedger, HeldSignatures, holder, is_third_witness
from gateway.ledger.note import MAX_NOTE, Note
from gateway.ledger.origin import Origin

MAX_DIFFERING: Final = 1000
"""Indices of differing entries that are named, a ledger: the contract's bound."""


MAX_SIZES: Final = 64
"""Sizes of which both sides are asked for a checkpoint, to have two of the same size."""


class NotComparable(Exception):
    """The other side could not be asked to the end; the text says why."""


class HashSource(HashReader, Protocol):
    """What one side holds."""

    async def heads(self) -> Sequence[HeldLedger]:
        """Every ledger between the two nodes."""

    async def signatures(self, origin: Origin, size: int) -> HeldSignatures:
        """The notes about exactly that size."""


SignedSizes = Callable[[Origin, int, int], Awaitable[Sequence[int]]]
"""Of a ledger the sizes from one to another of which there is a checkpoint, the largest first."""


class Verdict(StrEnum):
    """What comes of comparing one ledger. The values are stable: they stand in records and in JSON."""

    IDENTICAL = "identical"
    PREFIX = "prefix"
    EQUIVOCATION = "equivocation"
    """The owner signed two trees."""
    LOST_TAIL = "lost-tail"
    """The owner signed more than it holds."""
    FALSE_RECEIPT = "false-receipt"
    """Somebody gave a receipt for what it does not hold."""
    UNSIGNED = "unsigned"
    """A side holds what the owner did not sign."""
    UNTRUE = "untrue"
    """A side gave hashes that do not add up."""
    UNCOMPARED = "uncompared"
    """Of a third node's witness ledger: no key of that node in use, as it is known here, signed what a side holds."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one ledger compares. `agreed_size` entries are identical; `differing` names those below both sizes that are
    not, at most `MAX_DIFFERING`. `finding` says in words what follows, and is empty where nothing does; `evidence`
    holds the signed notes that contradict each other.
    """

    origin: Origin
    size: int
    partner_size: int
    agreed_size: int
    verdict: Verdict
    differing: Sequence[int] = ()
    finding: str = ""
    evidence: Sequence[bytes] = ()

    @property
    def parts(self) -> bool:
        """Whether somebody is to blame: what cannot be compared blames nobody."""
        return bool(self.finding) and self.verdict is not Verdict.UNCOMPARED

    def told(self) -> officer_pb2.ReconcileResponse:
        """The same as the contract tells it."""
        return officer_pb2.ReconcileResponse(
            ledger=str(self.origin),
            size=self.size,
            partner_size=self.partner_size,
            agreed_size=self.agreed_size,
            differing=self.differing,
            finding=self.finding,
            evidence=self.evidence,
        )


@dataclass(frozen=True, slots=True)
class _Side:
    """One side's view of one ledger. `latest` is what it holds by now: `held`, or more of the same."""

    name: str
    source: HashSource
    held: HeldLedger
    latest: HeldLedger
    tree: ProvenTree


async def reconcile(
    own: str,
    partner: str,
    ours: HashSource,
    theirs: HashSource,
    signers: Mapping[str, Signers],
    *,
    at_once: bool = True,
    signed_sizes: SignedSizes | None = None,
    between: bool = True,
    known: Collection[Origin] = (),
) -> AsyncIterator[Comparison]:
    """Compares every ledger between two nodes, and the witness ledgers of third nodes that both hold, by origin line.

    `signers` has both nodes, and third ones: of others nothing is compared. `at_once` is False for folders that were
    written at different times. `signed_sizes` gives the sizes of which this side has a checkpoint; where `between` is
    False the ledgers between the two are left out, and those in `known` in any case. Raises what the sources raise.
    """
    # Ledgers grow meanwhile. What an owner holds is read last and what a recipient holds first, so that whoever may be
    # behind is.
    before = {held.origin: held for held in await ours.heads()}
    told = {held.origin: held for held in await theirs.heads()}
    after = {held.origin: held for held in await ours.heads()}
    for origin in sorted({*told, *after}.difference(known), key=str):
        if is_third_witness(origin, own, partner):
            if origin.owner not in signers or origin not in told or origin not in after:
                continue
        elif not between:
            continue
        none = HeldLedger.none(origin)
        first, last, other = before.get(origin, none), after.get(origin, none), told.get(origin, none)
        held = replace(last, receipt=first.receipt) if origin.owner == own else first
        comparing = _Comparing(
            origin,
            _Side(own, ours, held, last, ProvenTree(ours, last, own)),
            _Side(partner, theirs, other, other, ProvenTree(theirs, other, partner)),
            signers,
            at_once=at_once,
            signed_sizes=signed_sizes,
        )
        yield await comparing.run()


def _size(raw: bytes) -> int | None:
    """The size that a checkpoint states; None for what is none."""
    try:
        return Checkpoint.parse(Note.parse(raw).text).size
    except LedgerError:
        return None


class _Comparing:
    """The comparison of one ledger."""

    def __init__(
        self,
        origin: Origin,
        our: _Side,
        their: _Side,
        signers: Mapping[str, Signers],
        *,
        at_once: bool,
        signed_sizes: SignedSizes | None,
    ) -> None:
        self._origin = origin
        self._our, self._their = our, their
        self._owner = signers[origin.owner]
        self._third = is_third_witness(origin, our.name, their.name)
        self._receipts_by = signers[holder(origin, our.name, their.name)]
        self._signed_sizes = signed_sizes
        self._at_once = at_once
        self._found: list[tuple[Verdict, str]] = []
        self._evidence: list[bytes] = []
        self._roots = (b"", b"")
        """Of the size that both sides have at least, once they were looked at."""

    async def run(self) -> Comparison:
        """Compares it. Raises what the sources raise."""
        our, their = self._our.held, self._their.held
        unlike: Sequence[int] = ()
        agreed = 0
        try:
            signed = [self._is_signed(side) for side in (self._our, self._their)]
            unlike = await self._unlike()
            agreed = unlike[0] if unlike else min(our.size, their.size)
            if unlike or not self._third:
                self._require_covered(signed, alike=not unlike)
            if unlike and all(signed):
                await self._two_histories(agreed)
            elif not unlike and all(signed) and not self._third:
                self._lost_tail()
            if not self._third:
                await self._receipts()
        except Untrue as untrue:
            self._find(
                Verdict.UNTRUE,
                f"what {untrue.whose} gives does not add up, so that its store is damaged or it does not tell the"
                f" truth: {untrue}",
            )
        verdict = Verdict.IDENTICAL if our.size == their.size else Verdict.PREFIX
        if self._found:
            verdict = min((each for each, _ in self._found), key=_GRAVEST.index)
        successor = our.successor or their.successor
        if self._found and successor is not None:
            self._found.append((verdict, f"this ledger has ended, and {successor} goes on"))
        return Comparison(
            self._origin,
            our.size,
            their.size,
            agreed,
            verdict,
            unlike,
            "; ".join(text for _, text in self._found),
            tuple(dict.fromkeys(self._evidence)),
        )

    def _find(self, verdict: Verdict, text: str, *evidence: bytes) -> None:
        self._found.append((verdict, text))
        # What is longer than any note is none, and the other side chose its length.
        self._evidence.extend(note for note in evidence if 0 < len(note) <= MAX_NOTE)

    def _is_signed(self, side: _Side) -> bool:
        """Whether the owner signed what a side holds, with a key in use. That no key of it did is found (rule 1)."""
        held = side.held
        if held.size == 0 or self._signed(held.checkpoint, held.size, held.root):
            return True
        holds = f"{side.name} holds {held.size} entries with the root {held.root.hex()}"
        if self._signed(held.checkpoint, held.size, held.root, self._owner.retired_log):
            return False
        if self._third and self._by_stranger(held):
            self._find(
                Verdict.UNCOMPARED,
                f"{holds}, signed with no key of {self._owner.node} that is known here: it cannot be compared until"
                " its newest bundle is",
            )
        else:
            self._find(Verdict.UNSIGNED, f"{holds}, and shows no checkpoint of {self._owner.node} that says so")
        return False

    def _by_stranger(self, held: HeldLedger) -> bool:
        """Whether the checkpoint says what is held, and bears lines under this ledger's name by unknown keys alone."""
        try:
            note = Note.parse(held.checkpoint)
            said = Checkpoint.parse(note.text)
        except LedgerError:
            return False
        keys = (*self._owner.log, *self._owner.retired_log)
        known = {key.verifier(self._origin).key_id for key in keys}
        lines = [line for line in note.signatures if line.name == str(self._origin)]
        alike = (said.origin, said.size, said.root) == (held.origin, held.size, held.root)
        return alike and bool(lines) and not any(line.key_id in known for line in lines)

    def _require_covered(self, signed: Sequence[bool], *, alike: bool) -> None:
        """Finds a side for which a retired key alone signed, unless what the other side holds covers it (rule 1)."""
        sides = (self._our, self._their)
        for side, is_signed, other, other_is in zip(sides, signed, sides[::-1], signed[::-1], strict=True):
            held = side.held
            covered = alike and other_is and other.held.size >= held.size
            if is_signed or covered or not self._signed(held.checkpoint, held.size, held.root, self._owner.retired_log):
                continue
            self._find(
                Verdict.UNCOMPARED if self._third else Verdict.UNSIGNED,
                f"{side.name} holds {held.size} entries with the root {held.root.hex()}, signed with a log key alone"
                f" that {self._owner.node} has retired: that is as good as unsigned, and blames nobody",
            )

    def _signed(
        self, raw: bytes, size: int, root: bytes | None = None, keys: Sequence[LogPublicKey] | None = None
    ) -> bool:
        """Whether one of `keys` (the owner's in use) signed the checkpoint of that size, and of that root if given."""
        for key in self._owner.log if keys is None else keys:
            try:
                checkpoint, _ = open_checkpoint(raw, [key], self._origin)
            except LedgerError:
                # Not by this key, or no checkpoint of this ledger at all.
                continue
            if checkpoint.size == size and root in (None, checkpoint.root):
                return True
        return False

    async def _unlike(self) -> Sequence[int]:
        """The entries below both sizes that differ."""
        our, their = self._our, self._their
        common = min(our.held.size, their.held.size)
        if common == 0 or (our.held.size == their.held.size and our.held.root == their.held.root):
            return ()
        self._roots = await our.tree.root_at(common), await their.tree.root_at(common)
        if self._roots[0] == self._roots[1]:
            return ()
        return await differing(our.tree, their.tree, common, MAX_DIFFERING)

    async def _two_histories(self, agreed: int) -> None:
        our, their = self._our.held, self._their.held
        size = min(our.size, their.size)
        ours, theirs = our.checkpoint, their.checkpoint
        if our.size > size:
            held = (await self._our.source.signatures(self._origin, size)).checkpoint
            ours = held if self._signed(held, size) else ours
        if their.size > size:
            held = (await self._their.source.signatures(self._origin, size)).checkpoint
            theirs = held if self._signed(held, size) else theirs
        if self._signed_sizes is not None and _size(ours) != _size(theirs):
            ours, theirs = await self._of_one_size(agreed, self._signed_sizes) or (ours, theirs)
        roots = ""
        if _size(ours) != _size(theirs):
            # The two notes alone do not show it: the hashes below both do.
            mine, other = self._roots
            roots = (
                f"; of its first {size} entries the root is {mine.hex()} in what {self._our.name} holds, and"
                f" {other.hex()} in what {self._their.name} holds"
            )
        self._find(
            Verdict.EQUIVOCATION,
            f"{self._owner.node} signed two trees that part at entry {agreed}: both cannot be true"
            f" (equivocation){roots}",
            ours,
            theirs,
        )

    async def _of_one_size(self, agreed: int, signed_sizes: SignedSizes) -> tuple[bytes, bytes] | None:
        """Both sides' checkpoints of one size beyond what they agree on, where there are any among the last ones."""
        both = min(self._our.held.size, self._their.held.size)
        for size in (await signed_sizes(self._origin, agreed + 1, both))[:MAX_SIZES]:
            ours = (await self._our.source.signatures(self._origin, size)).checkpoint
            theirs = (await self._their.source.signatures(self._origin, size)).checkpoint
            if self._signed(ours, size) and self._signed(theirs, size):
                return ours, theirs
        return None

    def _lost_tail(self) -> None:
        """Whether the other side has the owner's signature on more than the owner holds (rule 3)."""
        owner, other = (self._our, self._their) if self._our.name == self._owner.node else (self._their, self._our)
        if self._at_once and other.held.size > owner.held.size:
            self._find(
                Verdict.LOST_TAIL,
                f"{owner.name} signed {other.held.size} entries and holds {owner.held.size}: its ledger lost its tail",
                other.held.checkpoint,
            )

    async def _receipts(self) -> None:
        """Rule 6, of the receipts that both sides hold."""
        signer = self._our if self._receipts_by.node == self._our.name else self._their
        for side in (self._our, self._their):
            raw = side.held.receipt
            if not raw:
                continue
            receipt = self._receipt(raw, self._receipts_by.receipt)
            retired = None if receipt else self._receipt(raw, self._receipts_by.retired_receipt)
            said = receipt or retired
            if said is None:
                self._find(
                    Verdict.UNSIGNED,
                    f"{side.name} holds a receipt that no key of {signer.name} signed for this ledger",
                    raw,
                )
                continue
            held = signer.latest
            if said.size > held.size:
                if not self._at_once:
                    continue
                contradicts = f"for {said.size} entries and holds {held.size}"
            elif await signer.tree.root_at(said.size) != said.root:
                contradicts = f"for {said.size} entries with the root {said.root.hex()}, and holds others"
            else:
                continue
            if retired:
                self._find(
                    Verdict.UNSIGNED,
                    f"{side.name} has a receipt by {signer.name} {contradicts}, under a key that is retired: that is as"
                    " good as unsigned, and blames nobody",
                )
            else:
                self._find(Verdict.FALSE_RECEIPT, f"{signer.name} gave a receipt {contradicts}", raw, held.checkpoint)

    def _receipt(self, raw: bytes, keys: Sequence[Ed25519CosignatureVerifier]) -> Checkpoint | None:
        """The checkpoint that a receipt is for; None for what is none of this ledger by one of `keys`."""
        try:
            note = Note.parse(raw)
            checkpoint = Checkpoint.parse(note.text)
        except LedgerError:
            return None
        if checkpoint.origin != self._origin:
            return None
        for key in keys:
            for line in note.signatures:
                try:
                    verify_cosignature(note.text, line, key)
                except NoteError:
                    # Another key's line.
                    continue
                return checkpoint
        return None


_GRAVEST: Final = (
    Verdict.EQUIVOCATION,
    Verdict.LOST_TAIL,
    Verdict.FALSE_RECEIPT,
    Verdict.UNTRUE,
    Verdict.UNSIGNED,
    Verdict.UNCOMPARED,
)
"""Of several findings about one ledger the first of these is its verdict."""
