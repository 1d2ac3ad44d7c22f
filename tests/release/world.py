"""Nations with real keys, and one node of each with a real store, whose commits a test makes itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.identity.key_names import gateway_key_name
from gateway.identity.node_keys import NodeKeys
from gateway.ledger import bundle
from gateway.ledger.checkpoint import LogPublicKey
from gateway.ledger.cosignature import (
    Ed25519CosignatureVerifier,
    MLDSA44CosignatureVerifier,
    pq_name,
    receipt_name,
)
from gateway.ledger.note import Ed25519Verifier, Note
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import LedgerRow, Run, Store
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.release.batch import IncomingBatch
from gateway.release.heads import Heads
from gateway.release.opening import Opener
from gateway.release.pipeline import AcceptedReport, MayPush, TakeReport
from gateway.release.plan import Plan
from gateway.release.recovery.records import Recovery
from gateway.release.rulebook import Rulebook
from gateway.release.sequencer import Step
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import ReceiveBatch
from gateway.release.taking import take
from gateway.release.verdicts import Verdicts
from gateway.reports.limits import ReportLimits
from gateway.seal.keys import SealingPublicKey
from policy import compile_bundle
from tests.reports.examples import NOW

TRILATERAL: Final = Path(__file__).parents[2] / "policy" / "examples" / "trilateral"
LIMITS: Final = ReportLimits()
T = TypeVar("T")


@functools.cache
def keys_of(node: str) -> NodeKeys:
    """A nation's keys, the same in one run of the tests."""
    return NodeKeys.generate(gateway_key_pem=b"", gateway_certificate_pem=b"")


@functools.cache
def signatory_of(node: str) -> Signatory:
    """Its private keys."""
    return Signatory.from_keys(node, keys_of(node))


def public_keys(node: str, keys: NodeKeys) -> Partner:
    """Public keys, as a trust bundle gives them."""
    public = keys.public()
    return Partner(
        node=node,
        log=(LogPublicKey(public.log),),
        gateway=(Ed25519Verifier(gateway_key_name(node), public.log),),
        receipt=(Ed25519CosignatureVerifier(receipt_name(node), public.receipt),),
        pq=(MLDSA44CosignatureVerifier(pq_name(node), public.pq),),
        sealing=SealingPublicKey(public.sealing_mlkem768, public.sealing_x25519),
    )


@functools.cache
def partner_of(node: str) -> Partner:
    """Its public keys."""
    return public_keys(node, keys_of(node))


def rulebook_of(node: str = "JPN", partners: Iterable[str] = ("KOR", "USA")) -> Rulebook:
    """The example policy of a nation."""
    return Rulebook.load(TRILATERAL / node.lower(), node, partners)


TREATY: Final = """\
node: JPN
posture: ROUTINE
field_sets:
  warning: [envelope@1, threat@1, launch@1, track@1, impact@1, recall@1]
"""
RELEASE_ALL: Final = """\
rules:
  - name: everything
    effect: release
    reason: A test
    kinds: [LaunchDetection, Track, ImpactPrediction, Correction, Cancellation, AllClear]
    traffic_classes: [LIVE, EXERCISE, TEST]
    ceiling: SECRET
    fields: [warning]
"""
RELEASE_NOTHING: Final = "rules: []\n"


def rules(node: str = "JPN", /, *, _policy: str = TREATY, **partners: str) -> Rulebook:
    """A node's policy with these rules for each partner."""
    files = {"policy.yaml": _policy.replace("node: JPN", f"node: {node}").encode()}
    files |= {f"partners/{node}.yaml": f"partner: {node}\n{text}".encode() for node, text in partners.items()}
    policy = compile_bundle(files)
    return Rulebook(policy, tuple(sorted(partners)), policy.posture)


def anything(report: report_pb2.Report) -> bool:
    """The grant of a client who may push, and so recall, whatever there is."""
    return True


class Site:
    """One node. `do` makes steps durable as the sequencer does, in one commit."""

    def __init__(
        self, node: str, path: Path, partners: Iterable[str] = ("JPN", "KOR", "USA"), *, vfs: str | None = None
    ) -> None:
        self.node = node
        self.path = path
        self._vfs = vfs
        self.signatory = signatory_of(node)
        self.partners = {other: partner_of(other) for other in partners if other != node}
        self.now_ns = NOW
        self.store: Store = SqliteStore(path, vfs=vfs)
        self.heads = Heads.restore(self.store)
        self.verdicts = Verdicts.restore(self.store, self.signatory.storage)
        self.opener = Opener(node, self.signatory.sealing)
        self.rulebook = rulebook_of(node, self.partners)
        self.clock_trusted = True
        self.partners_shown = True
        self.recovery: Recovery | None = None
        self.signed: list[tuple[Origin, Note]] = []
        """Checkpoints of the last commit."""

    def close(self) -> None:
        """Closes the store."""
        self.store.close()

    def restart(self) -> None:
        """Opens the store anew, as after a start."""
        self.store.close()
        self.store = SqliteStore(self.path, vfs=self._vfs)
        self.heads = Heads.restore(self.store)
        self.verdicts = Verdicts.restore(self.store, self.signatory.storage)

    def plan(self) -> Plan:
        """A plan on what is durable."""
        return Plan(
            self.heads,
            self.store,
            self.signatory,
            self.partners,
            lambda: self.now_ns,
            self.rulebook,
            verdicts=self.verdicts,
            clock_trusted=self.clock_trusted,
            partners_shown=self.partners_shown,
            recovery=self.recovery,
        )

    def keep(self, plan: Plan) -> None:
        """Signs, commits and moves the heads on."""
        self.signed = plan.finish()
        if not plan.empty:
            self.store.commit(plan.commit)
        self.heads.adopt(plan.ledgers.changed, plan.ledgers.ended)
        self.signatory = plan.signatory
        self.verdicts.adopt(plan.given_verdicts)
        if self.recovery is not None and plan.recording is not None:
            self.recovery.adopt(plan.recording)
        self.rulebook = plan.rulebook

    def do(self, step: Step[T]) -> T:
        """One step in a commit of its own."""
        plan = self.plan()
        done = step.apply(plan)
        self.keep(plan)
        return done

    def do_all(self, *steps: Step[Any], rulebook: Rulebook | None = None) -> list[Any]:
        """Several steps in one commit."""
        self.rulebook = rulebook or self.rulebook
        plan = self.plan()
        done = [step.apply(plan) for step in steps]
        self.keep(plan)
        return done

    def take(
        self, report: report_pb2.Report, rulebook: Rulebook | None = None, may_push: MayPush = anything
    ) -> AcceptedReport:
        """Takes a report of a C2 system."""
        self.rulebook = rulebook or self.rulebook

        async def do(step: Step[Any]) -> Any:
            return self.do(step)

        taking = take(TakeReport.of(report, "spiffe://jpn/c2/radar", may_push), do)
        try:
            # Nothing in it waits, so it runs to its end at once; also where a loop runs already.
            taking.send(None)
        except StopIteration as end:
            taken: AcceptedReport = end.value
            return taken
        raise AssertionError("it waits for something")

    def row(self, origin: Origin) -> LedgerRow:
        """A ledger that must be there."""
        row = self.store.ledger(origin)
        assert row is not None, origin
        return row

    def run(self, origin: Origin, first: int = 0, max_bytes: int = 1 << 30) -> Run:
        """A run that must be there."""
        run = self.store.run(self.row(origin).id, first, max_bytes)
        assert run is not None
        return run

    def contents(self, origin: Origin, opener: Opener | None = None) -> dict[int, ledger_pb2.EntryContent]:
        """What the entries of a ledger hold, by index; without the openings of epochs. Empty where there is none."""
        row = self.store.ledger(origin)
        if row is None or row.size == 0:
            return {}
        run = self.run(origin)
        entries = bundle.decode(run.entries, run.count, allow_absent=True)
        opener = opener or Opener(self.node, self.signatory.sealing)
        found = {
            index: opener.content(origin, index, entry, lambda at: entries[at])
            for index, entry in enumerate(entries)
            if entry
        }
        return {index: content for index, content in found.items() if content is not None}

    def decisions(self) -> list[ledger_pb2.DecisionRecord]:
        """The decisions on record."""
        contents = self.contents(Origin.decisions(self.node, 1)).values()
        return [content.decision_record for content in contents if content.HasField("decision_record")]

    def events(self) -> list[ledger_pb2.NodeEvent]:
        """What the node did or met, on record."""
        contents = self.contents(Origin.decisions(self.node, 1)).values()
        return [content.node_event for content in contents if content.HasField("node_event")]

    def reports(self, recipient: str) -> list[report_pb2.Report]:
        """The reports that were released to a recipient, lane by lane."""
        return [
            content.report
            for lane in Lane
            for content in self.contents(Origin.release(self.node, recipient, lane, 1)).values()
            if content.HasField("report")
        ]

    def withdrawals(self, recipient: str) -> list[tuple[str, str]]:
        """(lane, report id) of every withdrawal sent to a recipient."""
        return [
            (lane.value, content.withdrawal.report_id)
            for lane in Lane
            for content in self.contents(Origin.release(self.node, recipient, lane, 1)).values()
            if content.HasField("withdrawal")
        ]

    def incoming(self, origin: Origin, first: int = 0, max_bytes: int = 1 << 30) -> IncomingBatch:
        """A run of an own ledger as it arrives at its recipient."""
        return as_sent(origin, self.run(origin, first, max_bytes))

    def receive(self, batch: IncomingBatch, opener: Opener | None = None) -> ReceiveBatch:
        """The step that takes a partner's batch."""
        return ReceiveBatch(batch, self.partners[batch.origin.owner], opener or self.opener, LIMITS)


def as_sent(origin: Origin, run: Run) -> IncomingBatch:
    """A run as it travels."""
    absent = [(row.index, row.leaf_hash, row.note) for row in run.absent]
    return IncomingBatch(origin, run.first, run.count, run.entries, absent, run.checkpoint)


def identifier(report: report_pb2.Report) -> bytes:
    """The 16 bytes of a report's identifier."""
    return UUID(report.report_id).bytes


MakeSite = Callable[..., Site]
