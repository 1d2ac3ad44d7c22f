"""A short course of commits on a disk that fails: one node's real sequencer, a C2 system that sends again what is not
acknowledged, and a partner with a store of its own that follows, confirms, and never forgets what it was shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from signalfire.v1 import report_pb2

from gateway.audit.verify import verify_store
from gateway.ledger.errors import StoreDamaged, StoreError, StoreInDoubt
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, StoreReader
from gateway.ledger.stores.readers import Readers
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release.errors import Unavailable
from gateway.release.opening import Opener
from gateway.release.pipeline import AcceptedReport, TakeReport
from gateway.release.sequencer import Durable, Sequencer, SequencerLimits
from gateway.release.steps import KeepCosignature, ReceiveBatch, SignPostQuantum
from gateway.reports.limits import ReportLimits
from tests.faults.disk import Disk
from tests.patience import PATIENCE_S
from tests.release.world import RELEASE_ALL, Site, anything, as_sent, identifier, partner_of, rules, signatory_of
from tests.reports.examples import NOW, launch_detection

TO_KOR: Final = Origin("JPN", "KOR", "flash", 1)
FROM_KOR: Final = Origin("KOR", "JPN", "flash", 1)


class Sealed:
    """Every (key, nonce) under which something was sealed in this process."""

    def __init__(self) -> None:
        self.twice: list[bytes] = []
        self._seen: set[tuple[bytes, bytes]] = set()

    def cipher(self, key: bytes) -> Any:
        """Stands before the real cipher of epochs, and takes note."""
        sealed, real = self, AESGCMSIV(key)

        class Noting:
            def encrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
                if (key, nonce) in sealed._seen:
                    sealed.twice.append(nonce)
                sealed._seen.add((key, nonce))
                return real.encrypt(nonce, data, associated)

            def decrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
                return real.decrypt(nonce, data, associated)

        return Noting()


class Course:
    """Four reports, each followed by the partner; then a batch of the partner, and a post-quantum line."""

    def __init__(self, directory: Path, disk: Disk, vfs: str, sound: str, store: Path | None = None) -> None:
        self.path = store or directory / "jpn.db"
        self.disk = disk
        self.reports = [launch_detection(seed) for seed in range(4)]
        self.acknowledged: dict[bytes, int] = {}
        """How often each report was acknowledged as taken, and not as a duplicate."""
        self.refusals = 0
        self.failures: list[StoreError] = []
        # Nothing goes wrong with the partner's disk, and nothing is waited for there.
        self.kor = Site("KOR", directory / "kor.db", vfs=sound)
        # A report of the partner's own, which JPN receives.
        self.kor.rulebook = rules("KOR", JPN=RELEASE_ALL)
        self.kor.take(launch_detection(9, originator_node="KOR", marking__policy="KOR", marking__releasable_to=["JPN"]))
        self.cuts_power = False
        """The machine loses power as soon as what was in doubt has been shown again, for the first time."""
        self._vfs = vfs
        self._shown: dict[tuple[Origin, int], set[str]] = defaultdict(set)
        self._ticks = itertools.count()
        self._begin()

    def _begin(self) -> None:
        self.readers = Readers(lambda: SqliteReader(self.path, vfs=self._vfs))
        self.changed = asyncio.Event()
        self.sequencer = Sequencer(
            lambda: SqliteStore(self.path, vfs=self._vfs),
            signatory_of("JPN"),
            lambda: {"KOR": partner_of("KOR")},
            now_ns=lambda: NOW + next(self._ticks),
            limits=SequencerLimits(reopen_s=0.001),
            listener=self._listen,
            monotonic=lambda: 0.0,
            rulebook=lambda store: rules(KOR=RELEASE_ALL),
            readers=self.readers,
            on_failure=self.failures.append,
        )
        self._running: asyncio.Task[None] | None = None
        self._ended = False

    def _listen(self, what: Durable) -> None:
        for origin, note in what.checkpoints:
            self._show(origin, note)
        if what.reopened:
            self.changed.set()

    def _show(self, origin: Origin, note: Note) -> None:
        self._shown[origin, int(note.text.split("\n")[1])].add(note.text)

    # --- the process

    async def start(self) -> None:
        """Starts, as often as it takes where the disk fails at once."""
        while True:
            try:
                await self.sequencer.open()
            except StoreDamaged:
                raise
            except StoreError:
                self.refusals += 1
                if self.disk.off:
                    self._again()
                self.disk.mend()
                continue
            break
        self._running = asyncio.create_task(self.sequencer.run())

    async def stop(self) -> None:
        """Ends in order, as far as the disk lets it."""
        await self._end()
        self._ended = True
        with contextlib.suppress(StoreError):
            await self.sequencer.close()

    async def _end(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self.readers.close()

    async def vanish(self) -> None:
        """Lets go of everything without a further look at the disk, as a process that is killed."""
        if self._ended:
            return
        await self._end()
        self._ended = True
        await self.sequencer.abandon()

    def _again(self) -> None:
        """The machine, or the process, starts again."""
        if self.disk.lost_power:
            self.disk.power_on()
        else:
            self.disk.start()
        self._begin()

    async def _next(self) -> None:
        """Waits until the sequencer takes steps again, or starts another where this one's disk is gone."""
        self.refusals += 1
        if self.disk.off:
            await self._restart()
        else:
            self.disk.mend()
            await self._reopened()
        if self.cuts_power:
            self.cuts_power = False
            self.show()
            self.disk.power_cut(self.refusals)
            await self._restart()

    async def _reopened(self) -> None:
        """Returns when the sequencer has recovered; starts another where the disk has gone for good meanwhile."""
        while not self.changed.is_set():
            if self.disk.off:
                await self._restart()
                return
            assert not any(isinstance(error, StoreDamaged) for error in self.failures), self.failures
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), 0.01)
        self.changed.clear()

    async def _restart(self) -> None:
        await self.vanish()
        self._again()
        await self.start()

    async def do(self, step: Any) -> Any:
        """Asks until it is done, as C2 systems and partners do."""
        while True:
            try:
                return await self.sequencer.do(step)
            except Unavailable:
                await self._next()

    # --- what is done

    async def run(self) -> None:
        """All of it."""
        async with asyncio.timeout(PATIENCE_S):
            await self.start()
            for report in self.reports:
                await self.push(report)
                await self.follow()
            await self.receive()
            await self.do(SignPostQuantum(TO_KOR))

    async def push(self, report: report_pb2.Report) -> None:
        """A report, until it is acknowledged."""
        answer = await self.do(TakeReport.of(report, "spiffe://jpn/c2/radar", anything))
        assert isinstance(answer, AcceptedReport)
        self.acknowledged.setdefault(identifier(report), 0)
        self.acknowledged[identifier(report)] += not answer.duplicate

    async def follow(self) -> None:
        """The partner takes all that is shown, and confirms it."""
        receipt = self.show()
        if receipt is not None:
            await self.do(KeepCosignature(TO_KOR, CosignatureKind.RECEIPT, receipt, partner_of("KOR")))

    def show(self) -> bytes | None:
        """The partner takes all that is shown. Returns its receipt, where that is anything new."""
        try:
            reader = self.readers.shared()
            row = reader.ledger(TO_KOR)
            head = self.kor.heads.get(TO_KOR)
            size = 0 if head is None else head.edge.size
            assert size <= (0 if row is None else row.size), "the partner holds more than the store shows"
            run = None if row is None else reader.run(row.id, size, 1 << 20)
        except StoreError as error:
            # It dials again later.
            if self.disk.off or isinstance(error, StoreInDoubt):
                return None
            raise
        if run is None:
            return None
        return self.kor.do(self.kor.receive(as_sent(TO_KOR, run))).receipt

    async def receive(self) -> None:
        """A batch of the partner, until it is confirmed."""
        batch, opener = self.kor.incoming(FROM_KOR), Opener("JPN", signatory_of("JPN").sealing)
        while self.sequencer.head(FROM_KOR) is None:
            try:
                await self.sequencer.do(ReceiveBatch(batch, partner_of("KOR"), opener, ReportLimits()))
            except Unavailable:
                # The follower asks anew from where the replica ends then.
                await self._next()

    # --- what must hold

    def verify(self) -> None:
        """From scratch, by what is on the disk: everything acknowledged is there, once; nobody saw two histories."""
        reader = SqliteReader(self.path)
        try:
            outcome = verify_store(reader, signatory_of("JPN"), {"KOR": partner_of("KOR")})
            assert outcome.findings == []
            assert reader.damage() == []
            kept = [row.report_id for seq in range(1, reader.last_report() + 1) if (row := reader.report_at(seq))]
            assert sorted(kept) == sorted(self.acknowledged) == sorted(map(identifier, self.reports))
            assert outcome.released == len(self.reports)
            for ledger in reader.ledgers():
                for _, raw in reader.checkpoints(ledger.id):
                    self._show(ledger.origin, Note.parse(raw))
            assert {texts for texts in map(frozenset, self._shown.values()) if len(texts) > 1} == set()
            self._verify_partner(reader)
        finally:
            reader.close()
            self.kor.close()

    def _verify_partner(self, reader: StoreReader) -> None:
        own = reader.ledger(TO_KOR)
        head = self.kor.heads.get(TO_KOR)
        if own is not None and (run := reader.run(own.id, 0 if head is None else head.edge.size, 1 << 20)) is not None:
            # It follows what it has not seen yet: which is what it would have been shown before, and no other.
            self.kor.do(self.kor.receive(as_sent(TO_KOR, run)))
        held = self.kor.store.ledger(TO_KOR)
        assert held is not None
        assert own is not None
        assert (held.size, held.root) == (own.size, own.root)
        assert self.kor.store.counts().received == len(self.reports)
        replica, theirs = reader.ledger(FROM_KOR), self.kor.store.ledger(FROM_KOR)
        assert replica is not None
        assert theirs is not None
        assert (replica.size, replica.root) == (theirs.size, theirs.root)
