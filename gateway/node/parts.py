"""What a gateway consists of: every part made, from the configuration, and tied to the others. Nothing is opened here.

Each part takes what it needs of those before it. Two ties go the other way: `governance` is given the sequencer that
makes orders durable, and `status` is told what is carried once a listener opens (`gateway.node.services`).
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.alarms import Alarms, ClockState
from gateway.clock import Clock, SteadyClock
from gateway.config import Config
from gateway.exchange.bundle_record import BundleRecord
from gateway.exchange.in_band import InBand
from gateway.exchange.own_bundle import OwnBundle
from gateway.exchange.partners import Partners, Pinned
from gateway.exchange.rotation import Rotation
from gateway.expiry import ExpiryTold
from gateway.generations import Generations
from gateway.node.identity import load_identity
from gateway.node.shown import Shown
from gateway.node.store import NodeStore
from gateway.officer.reading import Reading
from gateway.reconciliation import Reconciling
from gateway.release.governance import Governance
from gateway.release.recovery.records import Recovery
from gateway.release.room import Room, free_bytes
from gateway.release.sequencer import Durable, Sequencer
from gateway.release.watch import Watch
from gateway.seal.keys import SealingPublicKey
from gateway.status import Status
from gateway.synchronisation import KernelClock, Synchronisation
from gateway.taking_back import TakingBack
from gateway.telemetry import Telemetry
from policy.approve import Prover
from policy.approve.proofs import Proofs


class Parts:
    """The parts of one gateway. They belong to the event loop's thread, but for what says otherwise."""

    def __init__(
        self, config: Config, machine: Clock, kernel: Callable[[], KernelClock | None], prover: Prover | None
    ) -> None:
        """`machine` and `kernel` give the machine's clocks. Raises IdentityError or StartError."""
        self.config = config
        self.telemetry = Telemetry()

        # Time, and who this is.
        self.synchronisation = Synchronisation(config.clock.synchronised, kernel)
        self.clock = SteadyClock(machine, lambda: self.synchronisation.problem)
        self.started = self.clock.now()
        self.identity = load_identity(config)
        self.signatory = self.identity.signatory

        # The store, and what may come into it.
        self.store = NodeStore(config.store, self.telemetry)
        self.room = Room(lambda: free_bytes(config.store), config.store_limits())
        self.generations = Generations(config.store, config.node)
        self.report_limits = config.limits.reports.limits()

        # What is in force by the officers' orders.
        self.governance = Governance(
            partners=config.partners,
            signatory=self.signatory,
            reader=self.store.read,
            prover=prover or Proofs(self.clock.monotonic),
            limits=config.limits.orders.limits(),
            now=self.clock.now,
            clock_trusted=self.clock.trusted,
        )
        self.governance.on_refusal(
            lambda refusal: self.telemetry.refused_orders.labels(reason=refusal.reason.value).inc()
        )

        # The bundles: those of the partners, and the own one.
        self.pinned = [Pinned(node, partner.root, partner.bundle) for node, partner in config.partners.items()]
        self.partners = Partners(self.pinned, self.clock.now, self.recorded_sequence, self.recorded_bundle)
        self.own_bundle = OwnBundle(
            self.signatory,
            self.clock.now,
            root="" if config.trust is None else config.trust.root,
            path=None if config.trust is None else config.trust.bundle,
            last_sequence=self.recorded_sequence,
            recorded=self.recorded_bundle,
        )

        # What makes everything durable, and who hears of it.
        self.watch = Watch()
        recovery = self.identity.recovery
        self.sequencer = Sequencer(
            self.store.open,
            self.signatory,
            self.partners.keys,
            now_ns=self.clock.now_ns,
            limits=config.commit_limits(),
            listener=self._durable,
            monotonic=self.clock.monotonic,
            rulebook=self.governance.restore,
            clock_trusted=self.clock.trusted,
            partners_shown=Shown(self.partners.links, self.clock.monotonic).by_all,
            room=self.room,
            readers=self.store.readers,
            on_failure=self.store.failed,
            recovery=None if recovery is None else Recovery(SealingPublicKey.parse(recovery)),
            opening=self.generations.begin,
            opened=self.generations.keep,
        )
        self.governance.attach(self.sequencer)

        # Bundles and keys that change while it runs.
        self.in_band = InBand(
            self.partners,
            self.sequencer,
            self.own_bundle,
            telemetry=self.telemetry,
            monotonic=self.clock.monotonic,
        )
        self.rotation = Rotation(
            config.keys,
            self.identity.lock,
            signatory=self.signatory,
            own=self.own_bundle,
            partners=self.partners,
            sequencer=self.sequencer,
            reader=self.store.read,
            watch=self.watch,
            telemetry=self.telemetry,
            monotonic=self.clock.monotonic,
            silent_s=config.limits.keys.silent_s,
        )

        # What is wrong, and what partners hold otherwise.
        self.expiry = ExpiryTold(self.telemetry.expiry)
        self.alarms = Alarms(
            config.node,
            config.alarm_limits(),
            self.partners.links,
            self.sequencer.heads,
            self.sequencer.current,
            self.store.read,
            self.telemetry,
            self.clock.monotonic,
            self.partners.keys,
            lambda: ClockState(self.clock.problem or "", self.synchronisation.remark),
            lambda: self.sequencer.rulebook.digest,
            self.clock.now,
            lambda: self.expiry.found,
        )
        self.taking_back = TakingBack(
            own=self.identity.own,
            signatory=self.signatory,
            own_bundle=self.own_bundle,
            partners=self.partners,
            sequencer=self.sequencer,
            reader=self.store.read,
            key_pair=self.identity.pair,
            limits=config.exchange_limits(),
            in_band=self.in_band,
        )
        self.reconciling = Reconciling(
            own=self.identity.own,
            signatory=self.signatory,
            partners=self.partners,
            sequencer=self.sequencer,
            reader=self.store.read,
            key_pair=self.identity.pair,
            limits=config.exchange_limits(),
            in_band=self.in_band,
        )

        # What is told, and read for officers.
        self.reading = Reading(self.store.readers.open, self.signatory)
        self.store.readers.on_shut(self.reading.let_go)
        self.status = Status(
            config.node,
            self.started,
            self.clock.now,
            self.sequencer,
            self.partners,
            self.room,
            self.store.read,
            lambda: self.alarms.standing,
            lambda: self.clock.problem or "",
        )

    def root_of(self, node: str) -> str:
        """The root that is pinned for a partner, or for this node."""
        if node in self.config.partners:
            return self.config.partners[node].root
        return "" if self.config.trust is None else self.config.trust.root

    def recorded_sequence(self, node: str) -> int:
        """The sequence on record of the newest bundle under that root; 0 where there is none. Raises StoreError."""
        return BundleRecord(self.store.read().meta).sequence(node, self.root_of(node))

    def recorded_bundle(self, node: str) -> bytes | None:
        """The note of that bundle. Raises StoreError."""
        return BundleRecord(self.store.read().meta).note(node, self.root_of(node))

    def _durable(self, what: Durable) -> None:
        if what.reopened:
            self.governance.announce()
        self.watch.durable(what)
        self.telemetry.commits.observe(what.seconds)
        self.telemetry.commit_steps.observe(what.steps)
