"""An origin, its recipient, and two ways between them, of which a test moves every part by hand.

Everything that decides is the gateway's own: plans, steps, heads and stores, what a follower claims and how the claim
is judged. Of the gateway's two loops, which move messages and nothing else, only their order of things stands here:
`dial`, `send`, `take` and `hear` do one message each, as `gateway.exchange` does. Here nothing happens by itself, so a
test may stop either node before or after any commit, cut either way, and hold a message back for as long as it likes.

JPN is the origin and KOR the recipient. A *way* is a direct link or one through a carrier: either has a stream a lane,
in order; what is on its way when a stream is cut is lost, or comes again much later.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from signalfire.v1 import report_pb2

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.note import Note
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import CosignatureKind, FeedFilter, FeedItem, FeedRow
from gateway.release.batch import IncomingBatch
from gateway.release.claims import Agreement, Claim, claim_of, judge_claim
from gateway.release.errors import StepRefused
from gateway.release.evidence import Contradicted, KeepEvidence
from gateway.release.pipeline import TakeReport
from gateway.release.plan import Plan
from gateway.release.sequencer import Step
from gateway.release.steps import FollowSuccessor, GoBack, KeepCosignature
from gateway.release.succeeding import Succeed
from tests.release.world import RELEASE_ALL, Site, anything, as_sent, identifier, partner_of, rules
from tests.reports.examples import cancellation, launch_detection

ORIGIN: Final = "JPN"
RECIPIENT: Final = "KOR"
LANES: Final = (Lane.FLASH, Lane.IMMEDIATE)
WAYS: Final = ("direct", "carried")
RULES: Final = {ORIGIN: rules(KOR=RELEASE_ALL), RECIPIENT: rules(RECIPIENT, JPN="rules: []\n")}
_FEED: Final = FeedFilter(frozenset({1, 2, 3}))


class Crash(Enum):
    """Whether and where a node dies in a commit."""

    NONE = "none"
    BEFORE = "after it has signed, before anything is durable"
    AFTER = "when all is durable, before anybody is told"


class Crashed(Exception):
    """The node died in this commit, and was started again."""


@dataclass(slots=True)
class Stream:
    """One lane on one way. What was sent and not yet received stands in the two queues."""

    origin: Origin
    position: int
    to_recipient: deque[IncomingBatch | Origin] = field(default_factory=deque)
    """Batches; and, at the end of a ledger, its successor."""
    to_origin: deque[bytes] = field(default_factory=deque)
    """Receipts."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a store, and what was accepted and cancelled when it was taken."""

    path: Path
    accepted: Mapping[Lane, Sequence[str]]
    cancelled: set[str]


class Exchange:
    """The two nodes, the ways, and what has to be true of them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sites = {node: Site(node, directory / f"{node}.db", (ORIGIN, RECIPIENT)) for node in RULES}
        for node, site in self.sites.items():
            site.rulebook = RULES[node]
        self.streams: dict[tuple[str, Lane], Stream] = {}
        self.stale: list[IncomingBatch] = []
        """What was on its way when its stream was cut."""
        self.handed: dict[str, report_pb2.Report] = {}
        """Every report that a C2 system has handed over, in its order; it keeps them until they are acknowledged, and
        for when the gateway asks for them again."""
        self.acknowledged: set[str] = set()
        self.lost: set[str] = set()
        """Acknowledged, and gone with a store that was restored: C2 systems are asked for them again."""
        self.accepted: dict[Lane, list[str]] = {lane: [] for lane in LANES}
        """What JPN's store has accepted, in order."""
        self.cancelled: set[str] = set()
        """What JPN has told KOR the end of."""
        self.seen: dict[Origin, dict[int, set[bytes]]] = {}
        """Roots of every checkpoint that ever left JPN, by ledger and size."""
        self.set_back: set[Origin] = set()
        """Ledgers that JPN's store held more of, once."""
        self.recipient_set_back = False
        self.restored = 0
        self.dials: Counter[Lane] = Counter()
        self._backups: dict[str, Copy] = {}
        self._copies = 0
        self._seed = 0

    @property
    def jpn(self) -> Site:
        """The origin."""
        return self.sites[ORIGIN]

    @property
    def kor(self) -> Site:
        """The recipient."""
        return self.sites[RECIPIENT]

    def close(self) -> None:
        """Closes both stores."""
        for site in self.sites.values():
            site.close()

    # --- a node

    def commit(self, node: str, *steps: Step[Any], crash: Crash = Crash.NONE) -> list[Any]:
        """One commit, as `Sequencer` makes it: what each step gave, or the error that refused it. Raises Crashed."""
        site = self.sites[node]
        plan = self.plan(site)
        outcomes: list[Any] = []
        for step in steps:
            try:
                outcomes.append(step.apply(plan))
            except (LedgerError, StepRefused) as error:
                outcomes.append(error)
        match crash:
            case Crash.NONE:
                site.keep(plan)
            case Crash.BEFORE:
                plan.finish()
                self.restart(node)
                raise Crashed
            case Crash.AFTER:
                plan.finish()
                site.store.commit(plan.commit)
                self.restart(node)
                raise Crashed
        return outcomes

    def plan(self, site: Site) -> Plan:
        """A commit in preparation."""
        return site.plan()

    def restart(self, node: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        """A node is killed and starts from its store. No stream survives it."""
        for way, lane in list(self.streams):
            self.cut(way, lane)
        before = self.sites[node]
        before.close()
        meanwhile()
        site = self.sites[node] = Site(node, before.path, (ORIGIN, RECIPIENT))
        site.rulebook, site.now_ns = RULES[node], before.now_ns

    def copy_of(self, node: str) -> Copy:
        """Takes a copy of a store, with what is true of it."""
        self._copies += 1
        path = self.directory / f"{node}.{self._copies}.copy"
        self.restart(node, lambda: shutil.copy(self.sites[node].path, path))
        return Copy(path, {lane: list(ids) for lane, ids in self.accepted.items()}, set(self.cancelled))

    def back_up(self, node: str) -> None:
        """Takes the copy that `restore` puts in place."""
        self._backups[node] = self.copy_of(node)

    def has_backup(self, node: str) -> bool:
        """Whether there is a copy of its store."""
        return node in self._backups

    def restore(self, node: str, copy: Copy | None = None) -> None:
        """Puts a copy of a store in its place; the last one unless told otherwise."""
        copy = copy or self._backups[node]
        held = [head.origin for head in self.sites[node].heads if head.origin.owner == node]

        def put_in_place() -> None:
            for path in self.directory.glob(f"{node}.db*"):
                path.unlink()
            shutil.copy(copy.path, self.directory / f"{node}.db")

        self.restart(node, put_in_place)
        if node == RECIPIENT:
            self.recipient_set_back = True
            return
        self.restored += 1
        self.set_back.update(held)
        self.lost |= self.acknowledged - {each for ids in copy.accepted.values() for each in ids}
        self.accepted = {lane: list(ids) for lane, ids in copy.accepted.items()}
        self.cancelled = set(copy.cancelled)

    # --- C2 systems of JPN

    def new_report(self, lane: Lane) -> report_pb2.Report:
        """A report of that lane's precedence which nobody has seen."""
        self._seed += 1
        return launch_detection(self._seed, precedence=1 + list(reversed(Lane)).index(lane))

    def new_cancellation(self, of: str) -> report_pb2.Report:
        """A FLASH report that an earlier one does not stand."""
        self._seed += 1
        return cancellation(self._seed, precedence=report_pb2.PRECEDENCE_FLASH, cancellation__report_ids=[of])

    def submit(self, *reports: report_pb2.Report, crash: Crash = Crash.NONE) -> list[Any]:
        """C2 hands reports over, in one commit. What is durable is acknowledged; after a crash nothing is."""
        for report in reports:
            self.handed.setdefault(report.report_id, report)
        known = {each for ids in self.accepted.values() for each in ids}
        steps = [TakeReport.of(report, "spiffe://jpn/c2/radar", anything) for report in reports]
        try:
            outcomes = self.commit(ORIGIN, *steps, crash=crash)
        except Crashed:
            if crash is Crash.AFTER:
                for report in reports:
                    self._has_accepted(report, known)
            raise
        for report, outcome in zip(reports, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                assert outcome.duplicate == (report.report_id in known), "it is taken once"
                self._has_accepted(report, known)
                self.acknowledged.add(report.report_id)
                self.lost.discard(report.report_id)
        return outcomes

    def _has_accepted(self, report: report_pb2.Report, known: set[str]) -> None:
        if report.report_id in known or self.jpn.store.report(identifier(report)) is None:
            return
        known.add(report.report_id)
        self.accepted[list(reversed(Lane))[report.precedence - 1]].append(report.report_id)
        self.cancelled.update(each for each in report.cancellation.report_ids if each in known)

    @property
    def owed(self) -> list[report_pb2.Report]:
        """What C2 hands over again: what was never acknowledged, or is asked for again."""
        return [each for name, each in self.handed.items() if name not in self.acknowledged or name in self.lost]

    # --- the ways

    def dial(self, way: str, lane: Lane, crash: Crash = Crash.NONE) -> bool:
        """KOR opens a stream and says what it has; JPN judges that. Returns whether the stream is open."""
        self.cut(way, lane)
        self.dials[lane] += 1
        origin = self.kor.heads.current(ORIGIN, RECIPIENT, lane.value)
        claim = self.claim(origin)
        found = judge_claim(
            self.jpn.store,
            origin,
            claim,
            current=self.jpn.heads.current(ORIGIN, RECIPIENT, lane.value),
            keys=[self.jpn.signatory.log.public],
            retired=(),
        )
        if found is Agreement.PREFIX:
            stream = self.streams[way, lane] = Stream(origin, claim.size)
            self._give_receipt(stream)
            return True
        if found is Agreement.NOT_OPEN:
            self.goes_back(origin)
        if isinstance(found, Agreement):
            return False
        (successor,) = self.commit(ORIGIN, Succeed(origin, found.reason, found.evidence), crash=crash)
        assert isinstance(successor, Origin), successor
        self.streams[way, lane] = Stream(origin, claim.size, deque([successor]))
        return True

    def claim(self, origin: Origin) -> Claim:
        """What KOR says that it has."""
        return claim_of(self.kor.store, origin)

    def goes_back(self, origin: Origin) -> None:
        """JPN does not know the generation that KOR asked for."""
        self.commit(RECIPIENT, GoBack(origin))

    def _give_receipt(self, stream: Stream) -> None:
        """The last receipt may have been lost with the stream that bore it."""
        row = self.kor.store.ledger(stream.origin)
        if row is not None:
            held = self.kor.store.cosignature(row.id, CosignatureKind.RECEIPT, RECIPIENT)
            if held is not None:
                stream.to_origin.append(held.note)

    def cut(self, way: str, lane: Lane) -> None:
        """A stream ends; what was on its way may turn up again."""
        stream = self.streams.pop((way, lane), None)
        if stream is not None:
            self.stale += [each for each in stream.to_recipient if isinstance(each, IncomingBatch)]

    def send(self, way: str, lane: Lane, max_bytes: int = 1 << 20) -> bool:
        """JPN sends the next batch, or says that the ledger has ended. Returns whether there was anything."""
        stream = self.streams.get((way, lane))
        row = None if stream is None else self.jpn.store.ledger(stream.origin)
        if stream is None or row is None or any(isinstance(each, Origin) for each in stream.to_recipient):
            return False
        run = self.jpn.store.run(row.id, stream.position, max_bytes)
        if run is None:
            if row.successor is None or stream.position < row.size:
                return False
            stream.to_recipient.append(row.successor)
            return True
        batch = as_sent(stream.origin, run)
        checkpoint = Checkpoint.parse(Note.parse(batch.checkpoint).text)
        self.seen.setdefault(stream.origin, {}).setdefault(checkpoint.size, set()).add(checkpoint.root)
        stream.to_recipient.append(batch)
        stream.position = run.first + run.count
        return True

    def take(self, way: str, lane: Lane, crash: Crash = Crash.NONE) -> bool:
        """KOR takes the next message of a stream. Returns whether there was one."""
        stream = self.streams.get((way, lane))
        if stream is None or not stream.to_recipient:
            return False
        message = stream.to_recipient.popleft()
        if isinstance(message, Origin):
            self.commit(RECIPIENT, FollowSuccessor(stream.origin, message), crash=crash)
            self.cut(way, lane)
            return True
        outcome = self.receive(message, crash)
        if isinstance(outcome, Exception):
            self.cut(way, lane)
        else:
            stream.to_origin.append(outcome)
        return True

    def receive(self, batch: IncomingBatch, crash: Crash = Crash.NONE) -> bytes | Exception:
        """KOR takes a batch, whoever brings it. Returns the receipt that may go, or why it is refused."""
        (outcome,) = self.commit(RECIPIENT, self.kor.receive(batch), crash=crash)
        if isinstance(outcome, Contradicted):
            self.commit(RECIPIENT, KeepEvidence(outcome.found))
        if isinstance(outcome, Exception):
            return outcome
        receipt: bytes = outcome.receipt
        return receipt

    def hear(self, way: str, lane: Lane, crash: Crash = Crash.NONE) -> bool:
        """JPN takes the next receipt of a stream. Returns whether there was one."""
        stream = self.streams.get((way, lane))
        if stream is None or not stream.to_origin:
            return False
        (outcome,) = self.commit(ORIGIN, self.receipt_step(stream.origin, stream.to_origin.popleft()), crash=crash)
        if isinstance(outcome, Exception):
            self.cut(way, lane)
        return True

    def receipt_step(self, origin: Origin, note: bytes) -> KeepCosignature:
        """What JPN does with a receipt."""
        return KeepCosignature(origin, CosignatureKind.RECEIPT, note, partner_of(RECIPIENT))

    # --- what KOR's subscribers have

    def feed(self) -> Sequence[FeedRow]:
        """Everything that KOR's subscribers are given."""
        rows, _ = self.kor.store.feed(0, 1 << 20, _FEED)
        return [row for row in rows if row.originator == ORIGIN]

    def delivered(self, item: FeedItem = FeedItem.REPORT) -> list[bytes]:
        """Identifiers of what they are given, in order."""
        return [row.report_id for row in self.feed() if row.item is item]

    # --- once faults stop

    def settle(self, way: str = WAYS[0]) -> int:
        """Nothing fails any more, and one way is open: moves every part until all is still. Returns the number of
        dials that the lane needed which needed most. Raises AssertionError where it does not come to rest.
        """
        self.submit(*self.owed)
        for each in list(self.streams):
            if each[0] != way:
                self.cut(*each)
        self.dials.clear()
        for lane in LANES:
            # What a lane may have to do: learn that it was set back, end each generation, and take what stands there.
            while True:
                while self.send(way, lane) or self.take(way, lane) or self.hear(way, lane):
                    pass
                if self.settled(way, lane):
                    break
                assert self.dials[lane] < 4 + 2 * self.restored, f"{lane}: it does not come to rest"
                with contextlib.suppress(Crashed):
                    self.dial(way, lane)
        return max(self.dials.values(), default=0)

    def settled(self, way: str, lane: Lane) -> bool:
        """Whether the open stream of a lane has brought everything."""
        stream = self.streams.get((way, lane))
        current = self.jpn.heads.current(ORIGIN, RECIPIENT, lane.value)
        if stream is None or stream.origin != current:
            return False
        head = self.jpn.heads.get(current)
        size = 0 if head is None else head.edge.size
        if size == 0:
            return True
        replica = self.kor.heads.get(current)
        receipt = self.jpn.store.cosignature(self.jpn.row(current).id, CosignatureKind.RECEIPT, RECIPIENT)
        return replica is not None and receipt is not None and replica.edge.size == receipt.size == size
