"""Comparing what two nodes hold of the ledgers between them, and saying whose signatures contradict each other.

Two sources of hashes are compared: a store and a partner that is asked, or two exported folders. Rules, in order, for
each ledger:

1. What a side holds counts as signed where it shows the owner's checkpoint of just that size and root.
2. A side's hashes are believed as far as they add up to its root (`proven_tree`). A side whose hashes do not is named:
   its store is damaged, or it does not tell the truth.
3. Where one tree is a prefix of the other they agree, and one side is simply behind. Only the owner cannot be: a
   signed checkpoint beyond what the owner holds shows that its ledger lost its tail. (Of folders that were written at
   different times that says nothing.)
4. Where they part, the differing entries are found by descending both trees. Two checkpoints by the owner that cannot
   both be true are equivocation; otherwise the side without a signature holds what nobody signed.
5. A receipt must be for a tree that its signer holds: a size beyond it, or another root at that size, contradicts it.

It asks and computes; what came of it is for the caller to record.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from signalfire.v1 import officer_pb2

from gateway.audit.proven_tree import HashReader, ProvenTree, Untrue, differing
from gateway.identity.keyring import KeyKind
from gateway.ledger.checkpoint import Checkpoint, LogKey, LogPublicKey, open_checkpoint
from gateway.ledger.cosignature import (
    Ed25519CosignatureSigner,
    Ed25519CosignatureVerifier,
    receipt_name,
    verify_cosignature,
)
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.holding import HeldLedger, HeldSignatures, holder
from gateway.ledger.note import MAX_NOTE, Note
from gateway.ledger.origin import Origin
from gateway.release.signatory import Partner, Signatory

MAX_DIFFERING: Final = 1000
"""Indices of differing entries that are named, a ledger: the contract's bound."""


class NotComparable(Exception):
    """The other side could not be asked to the end; the text says why."""


class HashSource(HashReader, Protocol):
    """What one side holds."""

    async def heads(self) -> Sequence[HeldLedger]:
        """Every ledger between the two nodes."""

    async def signatures(self, origin: Origin, size: int) -> HeldSignatures:
        """The notes about exactly that size."""


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


@dataclass(frozen=True, slots=True)
class Signers:
    """The keys by which one node's statements are believed. Those that are retired come last."""

    node: str
    log: Sequence[LogPublicKey]
    receipt: Sequence[Ed25519CosignatureVerifier]
    retired_log: Sequence[LogPublicKey] = ()
    retired_receipt: Sequence[Ed25519CosignatureVerifier] = ()

    @classmethod
    def of(cls, partner: Partner) -> Signers:
        """Those of a trust bundle."""
        return cls(
            partner.node,
            tuple(partner.log),
            tuple(partner.receipt),
            tuple(old.key for old in partner.retired_log),
            tuple(old.key for old in partner.retired_receipt),
        )

    @classmethod
    def of_own(cls, signatory: Signatory) -> Signers:
        """Those that this node holds itself; of them the ones in use first."""
        ring, name = signatory.ring.keys, receipt_name(signatory.node)
        return cls(
            signatory.node,
            (signatory.log.public,),
            (signatory.receipt.verifier,),
            tuple(LogKey(key.secret).public for key in ring[KeyKind.LOG].values()),
            tuple(Ed25519CosignatureSigner(name, key.secret).verifier for key in ring[KeyKind.RECEIPT].values()),
        )


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
) -> AsyncIterator[Comparison]:
    """Compares every ledger between two nodes, by origin line.

    `signers` has both nodes; `at_once` is False for folders that were written at different times. Raises what the
    sources raise.
    """
    # Ledgers grow meanwhile. What an owner holds is read last and what a recipient holds first, so that whoever may be
    # behind is.
    before = {held.origin: held for held in await ours.heads()}
    told = {held.origin: held for held in await theirs.heads()}
    after = {held.origin: held for held in await ours.heads()}
    for origin in sorted({*told, *after}, key=str):
        none = HeldLedger.none(origin)
        first, last, other = before.get(origin, none), after.get(origin, none), told.get(origin, none)
        held = replace(last, receipt=first.receipt) if origin.owner == own else first
        comparing = _Comparing(
            origin,
            _Side(own, ours, held, last, ProvenTree(ours, last, own)),
            _Side(partner, theirs, other, other, ProvenTree(theirs, other, partner)),
            signers,
            at_once=at_once,
        )
        yield await comparing.run()


class _Comparing:
    """The comparison of one ledger."""

    def __init__(
        self, origin: Origin, our: _Side, their: _Side, signers: Mapping[str, Signers], *, at_once: bool
    ) -> None:
        self._origin = origin
        self._our, self._their = our, their
        self._owner = signers[origin.owner]
        self._receipts_by = signers[holder(origin, our.name, their.name)]
        self._at_once = at_once
        self._found: list[tuple[Verdict, str]] = []
        self._evidence: list[bytes] = []

    async def run(self) -> Comparison:
        """Compares it. Raises what the sources raise."""
        our, their = self._our.held, self._their.held
        unlike: Sequence[int] = ()
        agreed = 0
        try:
            signed = [self._require_signed(side) for side in (self._our, self._their)]
            unlike = await self._unlike()
            agreed = unlike[0] if unlike else min(our.size, their.size)
            if unlike and all(signed):
                await self._two_histories(signed, agreed)
            elif not unlike and all(signed):
                self._lost_tail()
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

    def _require_signed(self, side: _Side) -> LogPublicKey | None:
        """The owner's key under what a side holds; None, which is a finding, where there is none (rule 1)."""
        held = side.held
        if held.size == 0:
            return self._owner.log[0]
        key = self._signed(held.checkpoint, held.size, held.root)
        if key is None:
            self._find(
                Verdict.UNSIGNED,
                f"{side.name} holds {held.size} entries with the root {held.root.hex()}, and shows no checkpoint of"
                f" {self._owner.node} that says so",
            )
        return key

    def _signed(self, raw: bytes, size: int, root: bytes | None = None) -> LogPublicKey | None:
        """The owner's key that signed the checkpoint of that size, and of that root where one is given."""
        for key in (*self._owner.log, *self._owner.retired_log):
            try:
                checkpoint, _ = open_checkpoint(raw, [key], self._origin)
            except LedgerError:
                # Not by this key, or no checkpoint of this ledger at all.
                continue
            if checkpoint.size == size and root in (None, checkpoint.root):
                return key
        return None

    async def _unlike(self) -> Sequence[int]:
        """The entries below both sizes that differ."""
        our, their = self._our, self._their
        common = min(our.held.size, their.held.size)
        if common == 0 or (our.held.size == their.held.size and our.held.root == their.held.root):
            return ()
        if await our.tree.root_at(common) == await their.tree.root_at(common):
            return ()
        return await differing(our.tree, their.tree, common, MAX_DIFFERING)

    async def _two_histories(self, signed: Sequence[LogPublicKey | None], agreed: int) -> None:
        our, their = self._our.held, self._their.held
        size = min(our.size, their.size)
        ours, theirs = our.checkpoint, their.checkpoint
        if our.size > size:
            held = (await self._our.source.signatures(self._origin, size)).checkpoint
            ours = held if self._signed(held, size) else ours
        if their.size > size:
            held = (await self._their.source.signatures(self._origin, size)).checkpoint
            theirs = held if self._signed(held, size) else theirs
        old = [key for key in signed if key not in self._owner.log]
        self._find(
            Verdict.EQUIVOCATION,
            f"{self._owner.node} signed two trees that part at entry {agreed}: both cannot be true (equivocation)"
            + (", one of them with a key that is in use no more" if old else ""),
            ours,
            theirs,
        )

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
        """Rule 5, of the receipts that both sides hold."""
        signer = self._our if self._receipts_by.node == self._our.name else self._their
        for side in (self._our, self._their):
            raw = side.held.receipt
            if not raw:
                continue
            receipt = self._receipt(raw)
            if receipt is None:
                self._find(
                    Verdict.UNSIGNED,
                    f"{side.name} holds a receipt that no key of {signer.name} signed for this ledger",
                    raw,
                )
                continue
            held = signer.latest
            if receipt.size > held.size:
                if self._at_once:
                    self._find(
                        Verdict.FALSE_RECEIPT,
                        f"{signer.name} gave a receipt for {receipt.size} entries and holds {held.size}",
                        raw,
                        held.checkpoint,
                    )
            elif await signer.tree.root_at(receipt.size) != receipt.root:
                self._find(
                    Verdict.FALSE_RECEIPT,
                    f"{signer.name} gave a receipt for {receipt.size} entries with the root {receipt.root.hex()}, and"
                    " holds others",
                    raw,
                    held.checkpoint,
                )

    def _receipt(self, raw: bytes) -> Checkpoint | None:
        """The checkpoint that a receipt is for; None for what is none of this ledger by the one who gives them."""
        try:
            note = Note.parse(raw)
            checkpoint = Checkpoint.parse(note.text)
        except LedgerError:
            return None
        if checkpoint.origin != self._origin:
            return None
        for key in (*self._receipts_by.receipt, *self._receipts_by.retired_receipt):
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
)
"""Of several findings about one ledger the first of these is its verdict."""
