"""Nations' nodes inside this process, for benchmarks of one thing at a time: real keys, a real store, and the sequencer
of a gateway, which makes durable what it is given. There is no network, and no other process.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from signalfire.v1 import report_pb2

from bench.traffic import Traffic, new_tag
from gateway.identity.key_names import gateway_key_name
from gateway.identity.node_keys import NodeKeys
from gateway.ledger.checkpoint import LogPublicKey
from gateway.ledger.cosignature import Ed25519CosignatureVerifier, MLDSA44CosignatureVerifier, pq_name, receipt_name
from gateway.ledger.note import Ed25519Verifier
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Commit, StoreReader
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release.batch import IncomingBatch
from gateway.release.opening import Opener
from gateway.release.pipeline import TakeReport
from gateway.release.recovery.records import Recovery
from gateway.release.rulebook import Rulebook
from gateway.release.sequencer import Durable, Sequencer, SequencerLimits, Step
from gateway.release.signatory import Partner, Signatory
from gateway.seal.keys import SealingPrivateKey, SealingPublicKey

CLIENT: Final = "spiffe://jpn/c2/sensors"
"""Who submits."""
FILL: Final = 1024
"""Reports a commit while a store is filled."""
EVENTS_EVERY: Final = 50_000
"""Tracks after which other launches are tracked, as years bring them."""
BATCH_BYTES: Final = 1 << 20
"""Bytes of entries that are read at once, to be sent."""

# A commit takes all that was put, whatever it takes: its size is what is measured.
_LIMITS: Final = SequencerLimits(steps=1 << 16, bytes=1 << 30, fill_ms=600_000.0)


@functools.cache
def keys_of(node: str) -> NodeKeys:
    """A nation's keys, made once."""
    return NodeKeys.generate(gateway_key_pem=b"", gateway_certificate_pem=b"")


@functools.cache
def partner_of(node: str) -> Partner:
    """Its public keys, as a trust bundle gives them."""
    public = keys_of(node).public()
    return Partner(
        node=node,
        log=(LogPublicKey(public.log),),
        gateway=(Ed25519Verifier(gateway_key_name(node), public.log),),
        receipt=(Ed25519CosignatureVerifier(receipt_name(node), public.receipt),),
        pq=(MLDSA44CosignatureVerifier(pq_name(node), public.pq),),
        sealing=SealingPublicKey(public.sealing_mlkem768, public.sealing_x25519),
    )


class Timed(SqliteStore):
    """A store that tells what of the processor it took, seconds."""

    wrote = 0.0
    """For commits."""
    folded = 0.0
    """For folding its log into the file, which is due after some commits."""

    def commit(self, commit: Commit) -> None:
        """See SqliteStore."""
        began = time.thread_time()
        super().commit(commit)
        self.wrote += time.thread_time() - began

    def fold(self) -> None:
        """See SqliteStore."""
        began = time.thread_time()
        super().fold()
        self.folded += time.thread_time() - began


class Node:
    """One node: what it is given becomes durable. Entered, its store is open."""

    def __init__(
        self,
        signatory: Signatory,
        path: Path,
        partners: Callable[[], Mapping[str, Partner]],
        rulebook: Callable[[StoreReader], Rulebook],
        recovery: SealingPublicKey | None,
        *,
        vfs: str | None = None,
    ) -> None:
        """`recovery` is the key of recovery records."""
        self.signatory = signatory
        self.path = path
        self.opener = Opener(signatory.node, signatory.sealing)
        self.commits = 0
        """So many were made."""
        self.cpu_seconds = 0.0
        """What the last call of `do` took of the processor, until it was answered."""
        self.store: Timed
        """While it is open."""
        self._vfs = vfs
        self._working: asyncio.Task[None] | None = None
        self._sequencer = Sequencer(
            self._open,
            signatory,
            partners,
            now_ns=time.time_ns,
            limits=_LIMITS,
            listener=self._committed,
            monotonic=time.monotonic,
            rulebook=rulebook,
            recovery=None if recovery is None else Recovery(recovery),
        )

    @classmethod
    def of(
        cls,
        node: str,
        path: Path,
        partners: Iterable[str],
        rulebook: Rulebook,
        *,
        vfs: str | None = None,
    ) -> Node:
        """A node with keys of its own, under a policy."""
        others = {other: partner_of(other) for other in partners}
        signatory, recovery = Signatory.from_keys(node, keys_of(node)), SealingPrivateKey.generate().public
        return cls(signatory, path, lambda: others, lambda _: rulebook, recovery, vfs=vfs)

    async def __aenter__(self) -> Node:
        await self._sequencer.open()
        self._working = asyncio.create_task(self._sequencer.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
        await self._sequencer.close()

    def _open(self) -> Timed:
        self.store = Timed(self.path, vfs=self._vfs)
        return self.store

    def _committed(self, what: Durable) -> None:
        self.commits += 1

    async def do(self, *steps: Step[Any]) -> list[Any]:
        """Makes steps durable, and returns what each gave. The store's log is folded where that was due, which is none
        of the time of the processor that is told. Raises what one of the steps raised.
        """
        began = time.process_time()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outcomes: list[Any] = []

        def settled(outcome: Any) -> None:
            outcomes.append(outcome)
            if len(outcomes) == len(steps):
                done.set_result(None)

        for step in steps:
            self._sequencer.put(step, settled)
        await done
        self.cpu_seconds = time.process_time() - began
        # The sequencer's turn: only then is the log folded, where that is due.
        await asyncio.sleep(0)
        await self._sequencer.alive()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return outcomes

    async def commit(self, *steps: Step[Any]) -> list[Any]:
        """The same in one commit. Raises RuntimeError where it took more."""
        before = self.commits
        outcomes = await self.do(*steps)
        if self.commits != before + 1:
            raise RuntimeError(f"{len(steps)} steps took {self.commits - before} commits, and are measured as one")
        return outcomes

    def sizes(self) -> dict[Origin, int]:
        """Entries of each ledger that is there."""
        reader = SqliteReader(self.path)
        try:
            return {row.origin: row.size for row in reader.ledgers()}
        finally:
            reader.close()

    def batches(self, origin: Origin, first: int) -> Iterator[IncomingBatch]:
        """What an own ledger holds from `first` on, as it travels."""
        reader = SqliteReader(self.path)
        try:
            row = reader.ledger(origin)
            while row is not None and (run := reader.run(row.id, first, BATCH_BYTES)) is not None:
                yield IncomingBatch(origin, run.first, run.count, run.entries, (), run.checkpoint)
                first = run.first + run.count
        finally:
            reader.close()


def taken(reports: Iterable[report_pb2.Report]) -> list[TakeReport]:
    """The steps that take reports from a C2 system which may push anything."""
    return [TakeReport.of(report, CLIENT, _anything) for report in reports]


def _anything(report: report_pb2.Report) -> bool:
    return True


class Pushing:
    """Tracks that may go to some partners. `launch` comes first."""

    def __init__(self, node: Node, partners: Sequence[str]) -> None:
        self._node = node
        self._partners = partners
        self._sent = 0
        self._tag = new_tag()
        self._traffic = Traffic()

    async def launch(self) -> None:
        """Has the node take the detections of other launches than before, to which tracks refer from now on."""
        self._traffic = Traffic()
        await self._node.do(*taken(self._for_all(self._traffic.launches())))

    async def push(self, count: int) -> float:
        """Has the node take so many tracks in one commit. Returns the seconds of the processor that it took, without
        folding the log.
        """
        numbers = range(self._sent, self._sent + count)
        tracks = self._for_all([self._traffic.track(self._tag, number) for number in numbers])
        self._sent += count
        began = time.process_time()
        steps = taken(tracks)
        made = time.process_time() - began
        await self._node.commit(*steps)
        return made + self._node.cpu_seconds

    def _for_all(self, reports: Sequence[report_pb2.Report]) -> Sequence[report_pb2.Report]:
        for report in reports:
            report.marking.releasable_to[:] = self._partners
        return reports


async def fill(node: Node, partners: Sequence[str], entries: int, told: Callable[[int], None]) -> None:
    """Has a node take tracks, in large commits, until its ledgers hold so many entries together. `told` is told how
    many they hold.
    """
    pushing = Pushing(node, partners)
    tracked = EVENTS_EVERY
    while (held := sum(node.sizes().values())) < entries:
        told(held)
        if tracked >= EVENTS_EVERY:
            tracked = 0
            await pushing.launch()
            continue
        # A report makes an entry in the ledger for each partner, and one in that of the decisions.
        count = max(1, min(FILL, (entries - held) // (len(partners) + 1)))
        await pushing.push(count)
        tracked += count
    told(entries)


def holds(path: Path) -> dict[str, float]:
    """What the store at `path` holds: own reports, entries of own ledgers, and megabytes of the file and its log."""
    reader = SqliteReader(path)
    try:
        entries = sum(row.size for row in reader.ledgers() if not row.replica)
        files = [each for each in (path, path.with_name(path.name + "-wal")) if each.exists()]
        megabytes = sum(each.stat().st_size for each in files) / 1e6
        return {"reports": reader.last_report(), "entries": entries, "mb": megabytes}
    finally:
        reader.close()
