"""Taking back what partners hold of this node's own ledgers and its store does not.

With each partner that is heard the gateway compares the heads of its own ledgers: at the start, and whenever one of
them has ended. A partner that holds more has it from this node; so the store was lost or set back. Then, for each of
these ledgers:

1. What the partner shows counts where a log key in use has signed it. A ledger that goes on ends at once.
2. What the partner has beyond the store is fetched and verified (`gateway.release.recovery.returned`), a bounded run at
   a time.
3. Where the histories part, what the partner has beyond it is sealed again into the ledger that goes on.
4. Of the witness ledger nothing is fetched but its last beat: how many decisions there were, of which
   `signalfire ledger recover` says which are missing.

What does not add up is told as a problem of that partner, blames nobody, and is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.audit.proven_tree import ProvenTree, Untrue
from gateway.exchange.dialling import LinkError
from gateway.exchange.ending import shown
from gateway.exchange.fetching import fetched
from gateway.exchange.in_band import InBand
from gateway.exchange.limits import ExchangeLimits
from gateway.exchange.own_bundle import OwnBundle
from gateway.exchange.own_log_keys import own_log_keys
from gateway.exchange.partners import Partners
from gateway.exchange.reconciling import PartnerHoldings, inspecting
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.identity.trust_bundle import Endpoint, TrustBundle
from gateway.ledger import bundle as entry_bundle
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.holding import HeldLedger
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import WITNESS, Lane, Origin
from gateway.ledger.stores import StoreReader
from gateway.ledger.tiles import Edge
from gateway.reconciliation import SILENT
from gateway.release.batch import MAX_BATCH_ENTRIES, IncomingBatch
from gateway.release.errors import ReleaseError
from gateway.release.opening import Opener
from gateway.release.recovery.lost import keep_witnessed
from gateway.release.recovery.returned import (
    ConfirmBack,
    OwnLogKeys,
    SealAgain,
    TakeBack,
    Verified,
    head_in_use,
    verify_back,
)
from gateway.release.replica import RootsDiffer
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import RecordMeta
from gateway.release.succeeding import Succeed
from gateway.release.witness import WitnessError
from gateway.release.witness import read as read_beat
from gateway.seal.entry import EntryKind, parse_header
from gateway.seal.errors import SealError

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""Seconds between looks at which partner is due."""

AGAIN_S: Final = 5.0
"""Seconds until a partner with whom something failed is asked again; doubled each time."""

AGAIN_MAX_S: Final = 60.0
"""Longest such pause, seconds."""

UNSIGNED_BYTES: Final = 64 << 20
"""Bytes that are kept in memory, as they came and taken apart, until a key in use has signed what they belong to:
after a switch of keys all that the partner received before it."""

SEALED_A_STEP: Final = 256
"""Entries of a history that has parted which one step seals again."""

PROBLEM: Final = "own ledgers"
"""Under which name what is wrong stands among the partner's differences."""

_ABOUT: Final = "taken back "
"""Begins the key of the store's own value that names the head of a forked ledger of which all was taken; origin line
and partner follow."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A partner as it is asked."""

    node: str
    bundle: TrustBundle
    endpoint: Endpoint
    keys: Partner


class TakingBack:
    """Takes back for one gateway. Belongs to the event loop's thread."""

    def __init__(
        self,
        *,
        own: SpiffeId,
        signatory: Signatory,
        own_bundle: OwnBundle,
        partners: Partners,
        sequencer: Sequencer,
        reader: Callable[[], StoreReader],
        key_pair: KeyPairFiles,
        limits: ExchangeLimits,
        in_band: InBand | None = None,
    ) -> None:
        self._own = own
        self._signatory = signatory
        self._own_bundle = own_bundle
        self._partners = partners
        self._sequencer = sequencer
        self._reader = reader
        self._key_pair = key_pair
        self._limits = limits
        self._in_band = in_band
        # One for the sequencer's thread, and one for this one.
        self._opener_there = Opener(own.node, signatory.sealing)
        self._opener_here = Opener(own.node, signatory.sealing)

    def standing(self, node: str) -> tuple[Origin, ...]:
        """The generations of the own ledgers that `node` follows: when one ends, there may be more to take back."""
        heads = (head.origin for head in self._sequencer.heads() if not head.replica)
        shared = (origin for origin in heads if origin.recipient == node or _is_witness(origin))
        lines = {(origin.recipient, origin.lane) for origin in shared}
        current = self._sequencer.current
        return tuple(sorted((current(self._own.node, *line) for line in lines), key=str))

    async def newest(self, within_s: float) -> Sequence[Origin]:
        """The newest generations of own ledgers that partners hold under a log key in use, as far as they show them
        within `within_s` seconds: all are asked at once. Nothing is taken.
        """
        keys = own_log_keys(self._signatory, self._own_bundle)
        found: list[Origin] = []

        async def ask(node: str, bundle: TrustBundle, partner: Partner) -> None:
            async with contextlib.AsyncExitStack() as stack:
                _, theirs = await self._ask(stack, node, bundle, partner, in_band=None)
                for held in await theirs.heads():
                    if held.origin.owner == self._own.node and head_in_use(held.checkpoint, held.origin, keys):
                        found.append(held.origin)

        async def in_time(node: str, bundle: TrustBundle, partner: Partner) -> None:
            try:
                async with asyncio.timeout(within_s):
                    await ask(node, bundle, partner)
            except (*SILENT, LedgerError, TimeoutError) as error:
                log.warning("%s does not show which generations it holds: %s", node, shown(str(error)))

        async with asyncio.TaskGroup() as group:
            for node, partner in self._partners.keys().items():
                bundle = self._partners.bundle(node)
                if bundle is not None and bundle.endpoints:
                    group.create_task(in_time(node, bundle, partner))
        return found

    async def take_back(self, node: str) -> int:
        """Takes back from one partner what it has and this store has not. Returns how many entries came back.

        Raises what a partner that does not answer gives (`SILENT`), LedgerError and ReleaseError.
        """
        bundle, keys = self._partners.bundle(node), self._partners.get(node)
        if bundle is None or keys is None or not bundle.endpoints:
            raise LinkError(f"there is no valid trust bundle of {node} that names an endpoint")
        problems: list[str] = []
        count = 0
        async with contextlib.AsyncExitStack() as stack:
            asked, theirs = await self._ask(stack, node, bundle, keys, self._in_band)
            held = [each for each in await theirs.heads() if each.origin.owner == self._own.node]
            for ledger in sorted(held, key=lambda each: _place(each.origin)):
                try:
                    count += await self._take(asked, theirs, ledger)
                except (LedgerError, Untrue, SealError, WitnessError) as error:
                    problems.append(f"{ledger.origin}: {error}")
        differs = self._partners.links[node].differs
        if problems:
            told = f"what it holds of this node's own ledgers is not taken back: {shown('; '.join(problems))}"
            if differs.get(PROBLEM) != told:
                log.error("%s: %s", node, told)
            differs[PROBLEM] = told
            raise LedgerError(told)
        differs.pop(PROBLEM, None)
        return count

    async def _ask(
        self, stack: contextlib.AsyncExitStack, node: str, bundle: TrustBundle, keys: Partner, in_band: InBand | None
    ) -> tuple[_Asked, PartnerHoldings]:
        """The first endpoint of the partner that answers."""
        *others, last = bundle.endpoints
        for endpoint in others:
            with contextlib.suppress(*SILENT):
                theirs = await stack.enter_async_context(self._inspecting(bundle, endpoint, keys, in_band))
                return _Asked(node, bundle, endpoint, keys), theirs
        theirs = await stack.enter_async_context(self._inspecting(bundle, last, keys, in_band))
        return _Asked(node, bundle, last, keys), theirs

    def _inspecting(
        self, bundle: TrustBundle, endpoint: Endpoint, partner: Partner, in_band: InBand | None
    ) -> contextlib.AbstractAsyncContextManager[PartnerHoldings]:
        return inspecting(
            bundle,
            endpoint,
            partner,
            own=self._own,
            key_pair=self._key_pair,
            signer=self._signatory.gateway,
            patience_s=self._limits.handshake_s,
            in_band=in_band,
        )

    def _fetched(self, asked: _Asked, origin: Origin, size: int) -> AsyncGenerator[IncomingBatch | bytes, None]:
        return fetched(
            asked.bundle,
            asked.endpoint,
            asked.keys,
            origin,
            size,
            own=self._own,
            key_pair=self._key_pair,
            signer=self._signatory.gateway,
            patience_s=self._limits.handshake_s,
            in_band=self._in_band,
        )

    # --- one ledger

    async def _take(self, asked: _Asked, theirs: PartnerHoldings, held: HeldLedger) -> int:
        origin = held.origin
        row = self._reader().ledger(origin)
        if held.size == 0:
            return 0
        stored = None if row is None or held.size > row.size else self._reader().checkpoint(row.id, held.size)
        if stored is not None and Checkpoint.parse(Note.parse(stored).text).root == held.root:
            if row is not None and row.successor is not None and (row.agreed or 0) < held.size and held.receipt:
                await self._sequencer.do(ConfirmBack(origin, held.receipt, asked.keys))
            return 0
        keys = own_log_keys(self._signatory, self._own_bundle)
        head = head_in_use(held.checkpoint, origin, keys)
        if head is None or (head.size, head.root) != (held.size, held.root):
            raise LedgerError(f"no log key of this node that is in use has signed its {held.size} entries")
        if self._sequencer.current(origin.owner, origin.recipient, origin.lane).generation <= origin.generation:
            signed = Note.parse(held.checkpoint).of_keys([key.verifier(origin) for key in keys.current]).encode()
            log.critical("%s holds more of %s than this store; the next generation opens", asked.node, origin)
            reason = ledger_pb2.SUCCESSION_REASON_LOST_TAIL
            await self._sequencer.do(Succeed(origin, reason, signed, shown_by=asked.node))
        if _is_witness(origin):
            await self._read_last_beat(asked, theirs, held)
            return 0
        try:
            count = await self._take_tail(asked, held, keys)
        except RootsDiffer:
            count = await self._take_fork(asked, held, keys)
        row = self._reader().ledger(origin)
        if count and row is not None and row.size == held.size and held.receipt:
            await self._sequencer.do(ConfirmBack(origin, held.receipt, asked.keys))
        return count

    async def _take_tail(self, asked: _Asked, held: HeldLedger, keys: OwnLogKeys) -> int:
        """What continues the ledger as it is here. Raises RootsDiffer where it does not."""
        head = self._sequencer.head(held.origin)
        edge = Edge.empty() if head is None else head.edge
        size = before = edge.size
        if size >= held.size:
            raise RootsDiffer(f"{held.origin}: what {asked.node} has of it parts from what is here")
        runs = self._runs(asked, held, edge, keys)
        async with contextlib.aclosing(runs):
            async for run in runs:
                batches = [batch for batch, _ in run]
                step = TakeBack(held.origin, asked.node, batches, keys, self._opener_there)
                size = await self._sequencer.do(step, source=asked.node)
        log.warning("%s gave back %d entries of %s", asked.node, size - before, held.origin)
        return size - before

    async def _runs(
        self, asked: _Asked, held: HeldLedger, edge: Edge, keys: OwnLogKeys
    ) -> AsyncGenerator[Sequence[tuple[IncomingBatch, Verified]], None]:
        """Runs of batches behind `edge`, each verified as it comes; of each run the last is signed by a key in use.

        Raises RootsDiffer, and LedgerError: also where more would have to be kept than may be, or more entries are
        hashes alone than one step may sign a reason for.
        """
        run: list[tuple[IncomingBatch, Verified]] = []
        weight = hashes = 0
        came = self._fetched(asked, held.origin, edge.size)
        async with contextlib.aclosing(came):
            async for batch in came:
                if isinstance(batch, bytes):
                    continue
                if batch.first + batch.count == held.size:
                    # With the line of the key that took over, where the batch came before that.
                    batch = replace(batch, checkpoint=held.checkpoint)
                verified = verify_back(batch, edge, keys)
                edge = verified.edge
                run.append((batch, verified))
                weight += weight_of(batch)
                hashes += len(batch.absent)
                if hashes > MAX_BATCH_ENTRIES:
                    raise LedgerError(f"{hashes} entries under one signature that counts are there as hashes alone")
                if verified.in_use:
                    yield run
                    run, weight, hashes = [], 0, 0
                elif weight > UNSIGNED_BYTES:
                    raise LedgerError(f"{weight} bytes are under a log key that is out of use")
        if run:
            raise LedgerError(f"what ends it, {edge.size} entries, no key in use has signed")

    async def _take_fork(self, asked: _Asked, held: HeldLedger, keys: OwnLogKeys) -> int:
        """What the partner has, and this store has not, of a ledger of which there are two histories."""
        done, head = f"{_ABOUT}{held.origin} {asked.node}", held.size.to_bytes(8) + held.root
        if self._reader().meta(done) == head:
            return 0
        row = self._reader().ledger(held.origin)
        openings: dict[int, bytes] = {}
        contents: list[tuple[int, ledger_pb2.EntryContent]] = []
        count = 0
        runs = self._runs(asked, held, Edge.empty(), keys)
        async with contextlib.aclosing(runs):
            async for run in runs:
                for _, verified in run:
                    ours: Sequence[bytes] = ()
                    if row is not None and verified.first < row.size:
                        ours = self._reader().leaves(row.id, verified.first, min(row.size, verified.edge.size))
                    for place, entry in enumerate(verified.entries):
                        index = verified.first + place
                        if entry and parse_header(entry).kind is EntryKind.EPOCH_OPENING:
                            openings[index] = entry
                        elif entry and (place >= len(ours) or ours[place] != verified.leaves[place]):
                            with contextlib.suppress(SealError):
                                content = self._opener_here.content(
                                    held.origin, index, entry, lambda at: openings.get(at, b"")
                                )
                                if content is not None:
                                    contents.append((index, content))
                    await asyncio.sleep(0)
                while contents:
                    part, contents = contents[:SEALED_A_STEP], contents[SEALED_A_STEP:]
                    count += await self._sequencer.do(SealAgain(held.origin, asked.node, part), source=asked.node)
        await self._sequencer.do(RecordMeta(((done, head),)))
        log.warning("%s gave back %d reports of %s, which has forked", asked.node, count, held.origin)
        return count

    async def _read_last_beat(self, asked: _Asked, theirs: PartnerHoldings, held: HeldLedger) -> None:
        """How many decisions the last beat of the own witness ledger that the partner holds commits to."""
        tree = ProvenTree(theirs, held, asked.node)
        entry = await self._entry(asked, tree, held, held.size - 1)
        opening = await self._entry(asked, tree, held, parse_header(entry).epoch)
        payload = self._opener_here.payload(held.origin, held.size - 1, entry, lambda _: opening)
        heads = () if payload is None else read_beat(self._own.node, payload).heads
        values = keep_witnessed(self._reader(), heads, self._opener_here)
        if values:
            await self._sequencer.do(RecordMeta(values))

    async def _entry(self, asked: _Asked, tree: ProvenTree, held: HeldLedger, index: int) -> bytes:
        """One entry of the ledger that the partner holds, proved to stand under its root."""
        came = self._fetched(asked, held.origin, index)
        async with contextlib.aclosing(came):
            async for batch in came:
                if isinstance(batch, bytes) or not batch.first <= index < batch.first + batch.count:
                    break
                entry = entry_bundle.element(batch.entries, batch.count, index - batch.first)
                if leaf_hash(entry) != await tree.node(0, index):
                    raise LedgerError(f"entry {index} is not the one that this node signed")
                return entry
        raise LedgerError(f"entry {index} did not come")


def weight_of(batch: IncomingBatch) -> int:
    """Bytes that a batch takes in memory, about: what is not entries counts as they do."""
    absent = sum(len(leaf) + len(note) + 64 for _, leaf, note in batch.absent)
    return len(batch.entries) + len(batch.checkpoint) + absent


def _place(origin: Origin) -> tuple[bool, bool, int]:
    """What comes back first: releases before the withdrawals of them, which all stand in one lane."""
    return _is_witness(origin), origin.lane == Lane.FLASH, origin.generation


def _is_witness(origin: Origin) -> bool:
    return origin.lane == WITNESS


async def keep_taking_back(
    taking: TakingBack,
    heard: Callable[[], Mapping[str, bool]],
) -> None:
    """Takes back from each partner that is heard, until cancelled: at the start, whenever an own ledger has ended, and
    again where something failed. Each partner for itself: one that is slow keeps no other waiting.
    """
    async with asyncio.TaskGroup() as group:
        for node in heard():
            group.create_task(_keep(taking, node, heard))


async def _keep(taking: TakingBack, node: str, heard: Callable[[], Mapping[str, bool]]) -> None:
    settled: tuple[Origin, ...] | None = None
    pause = AGAIN_S
    while True:
        await asyncio.sleep(LOOK_S)
        if not heard()[node] or (standing := taking.standing(node)) == settled:
            continue
        try:
            count = await taking.take_back(node)
        except (*SILENT, LedgerError, ReleaseError) as error:
            log.warning("own ledgers cannot be compared with %s: %s", node, shown(str(error)))
            await asyncio.sleep(pause)
            pause = min(AGAIN_MAX_S, 2 * pause)
            continue
        pause = AGAIN_S
        if count == 0:
            settled = standing
