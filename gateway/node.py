"""One gateway as it runs: puts the rooms together, starts them in order, and stops them in order.

Start: configuration, keys and policy are read (anything wrong stops here, before a port is open); the store is
opened and its heads restored; the start and the partners' bundles are put on record; listeners open; partners are
dialled. Stop is the reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import grpc
from cryptography import x509
from prometheus_client import start_http_server
from signalfire.v1 import c2_pb2, exchange_pb2_grpc, officer_pb2_grpc
from signalfire.v1.ledger_pb2 import SUCCESSION_REASON_RESTORE

import gateway
from gateway.alarms import Alarms, ClockState
from gateway.audit.signers import Signers
from gateway.c2.feed import Feed, Runs
from gateway.c2.server import C2Servicer
from gateway.c2.unreadable import RefuseUnreadable
from gateway.clock import Clock, SteadyClock
from gateway.config import Config
from gateway.exchange.allowance import Allowance
from gateway.exchange.bundle_record import BundleRecord, TakeUp
from gateway.exchange.follower import PartnerFollower
from gateway.exchange.heartbeat import Counter
from gateway.exchange.in_band import InBand
from gateway.exchange.own_bundle import OwnBundle
from gateway.exchange.partners import Partners, Pinned
from gateway.exchange.rotation import Rotation
from gateway.exchange.server import ExchangeServicer
from gateway.exchange.tunnels.carrying import Carrying
from gateway.exchange.tunnels.sockets import Sockets
from gateway.expiry import ExpiryTold, expiries
from gateway.generations import Generations
from gateway.identity.keyring import Keyring
from gateway.identity.national import NationalAuthorities
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, NodeKeys
from gateway.identity.recovery_key import load_recovery_public
from gateway.identity.relocking import plainness
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.tls import KeyPairFiles, roots_from_files, server_credentials
from gateway.ledger.errors import LedgerError, StoreDamaged, StoreError, StoreVersionError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Store, StoreReader
from gateway.ledger.stores.readers import Readers
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.officer.access import Access
from gateway.officer.reading import Reading
from gateway.officer.recovering import Recovering
from gateway.officer.server import OfficerServicer
from gateway.reconciliation import Reconciling, keep_comparing
from gateway.release.errors import StepRefused, Unavailable
from gateway.release.governance import Governance, faults_of_files, read_roster
from gateway.release.key_switch import keys_on_record
from gateway.release.letting_go import WAITS, WHY_IT_WAITS, is_ahead, let_go
from gateway.release.opening import Opener
from gateway.release.own_keys import require_own_keys
from gateway.release.pending import take_up_pending
from gateway.release.plan import LATEST_TIME
from gateway.release.postquantum import sign_within_a_second
from gateway.release.recovery.records import Recovery
from gateway.release.recovery.restored import DeclareSetBack, SetBackWaiting
from gateway.release.recovery.waiting_lines import waiting_for
from gateway.release.room import Room, free_bytes
from gateway.release.sequencer import Durable, Sequencer
from gateway.release.signatory import Signatory
from gateway.release.steps import RecordEvent
from gateway.release.watch import Watch
from gateway.release.witnessing import keep_witness
from gateway.seal.keys import SealingPublicKey
from gateway.status import Status, precedence_of
from gateway.synchronisation import KernelClock, Synchronisation, kernel_clock
from gateway.taking_back import TakingBack, keep_taking_back
from gateway.telemetry import Telemetry
from gateway.watchdog import measure_lag
from policy.approve import Prover, State
from policy.approve.proofs import Proofs

log = logging.getLogger(__name__)

REFRESH_S = 1.0
"""Seconds between looks at the files that may change under a running gateway."""

EXPIRY_S = 60.0
"""Seconds between looks at what expires: it is told weeks ahead."""

KNOWN_WITHIN_S = 3.0
"""Seconds that partners are given at a start after a loss to show which generations there were: alerts wait for it."""

WAS_OPENED = (
    "%s was opened once, and the store knows %s at most: it was restored from a copy, or is another one. Stop, and"
    " start with --restored."
)
"""Said of a ledger, and of the generation of it that the store has."""

WAS_BEGUN = (
    "%s was begun, and the store knows %s at most. If the store was restored from a copy, or a partner's `signalfire"
    " status` shows that ledger, stop and start with --restored. Otherwise its opening was interrupted, by a crash or a"
    " commit that failed, and that is harmless."
)
"""The same, where the two look alike."""

STOP_GRACE_S = 1.0
"""Seconds that the open calls of C2 systems and officers are given to end when the gateway stops."""

_SERVER_OPTIONS = [
    # Reports are refused for their size one by one, with a reason; this only bounds what a call can make gRPC hold.
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.so_reuseport", 0),
    # Both ends ping, so that an open connection whose other end is gone is noticed.
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    # Compression would let a few bytes become many before anything is checked.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # What a connection may hold open before any of it is believed, and how long it may take over TLS or do nothing.
    ("grpc.max_concurrent_streams", 128),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
]


NO_RECOVERY = (
    "{keys}: there is no recovery.pub, so no recovery records are kept: were the store lost, partners could not give"
    " back what was decided. Copy it from the nation's directory, or make it with `signalfire pki recovery`."
)
"""What is remarked where the nation's recovery key is not there."""


class StartError(Exception):
    """The gateway cannot start; the text says why and how to mend it."""


class Node:
    """One gateway. `start`, then `serve` until cancelled, then `stop`."""

    def __init__(
        self,
        config: Config,
        clock: Clock | None = None,
        *,
        clock_is_right: bool = False,
        restored: bool = False,
        prover: Prover | None = None,
        kernel: Callable[[], KernelClock | None] = kernel_clock,
    ) -> None:
        self.config = config
        self._wall = clock or Clock()
        self._clock_is_right = clock_is_right
        self._restored = restored
        self._synchronisation = Synchronisation(config.clock.synchronised, kernel)
        self.clock = SteadyClock(self._wall, lambda: self._synchronisation.problem)
        self.telemetry = Telemetry()
        self._watch = Watch()
        self._started = self.clock.now()
        lock = config.key_lock()
        keys = NodeKeys.load(config.keys, lock)
        self._own = SpiffeId.from_certificate(x509.load_pem_x509_certificate(keys.gateway_certificate_pem))
        if self._own.node != config.node or self._own.role is not Role.GATEWAY:
            raise StartError(
                f"{config.keys / GATEWAY_CERTIFICATE}: is the certificate of {self._own}, and the configuration is that"
                f" of {config.node}. Issue one with `signalfire pki gateway`, or correct `node`."
            )
        self._signatory = Signatory.from_ring(config.node, Keyring.load(config.keys, lock))
        self._recovery = load_recovery_public(config.keys, config.node)
        self._pair = KeyPairFiles.of_gateway(config.keys, lock)
        self._governance = Governance(
            partners=config.partners,
            signatory=self._signatory,
            reader=self._read,
            prover=prover or Proofs(self.clock.monotonic),
            limits=config.limits.orders.limits(),
            now=self.clock.now,
            clock_trusted=self.clock.trusted,
        )
        self._governance.on_refusal(
            lambda refusal: self.telemetry.refused_orders.labels(reason=refusal.reason.value).inc()
        )
        self._pinned = [Pinned(node, partner.root, partner.bundle) for node, partner in config.partners.items()]
        self._partners = Partners(self._pinned, self.clock.now, self._recorded_sequence, self._recorded_bundle)
        self._own_bundle = OwnBundle(
            self._signatory,
            self.clock.now,
            root="" if config.trust is None else config.trust.root,
            path=None if config.trust is None else config.trust.bundle,
            last_sequence=self._recorded_sequence,
            recorded=self._recorded_bundle,
        )
        self._report_limits = config.limits.reports.limits()
        self._room = Room(lambda: free_bytes(config.store), config.store_limits())
        self._readers = Readers(lambda: SqliteReader(config.store, on_failure=self._store_failed))
        self._generations = Generations(config.store, config.node)
        self._opened_before = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sequencer = Sequencer(
            self._open_store,
            self._signatory,
            self._partners.keys,
            now_ns=self.clock.now_ns,
            limits=config.commit_limits(),
            listener=self._durable,
            monotonic=self.clock.monotonic,
            rulebook=self._governance.restore,
            clock_trusted=self.clock.trusted,
            room=self._room,
            readers=self._readers,
            on_failure=self._store_failed,
            recovery=None if self._recovery is None else Recovery(SealingPublicKey.parse(self._recovery)),
            opening=self._generations.begin,
            opened=self._generations.keep,
        )
        self._governance.attach(self._sequencer)
        self._in_band = InBand(
            self._partners,
            self._sequencer,
            self._own_bundle,
            telemetry=self.telemetry,
            monotonic=self.clock.monotonic,
        )
        self._rotation = Rotation(
            config.keys,
            lock,
            signatory=self._signatory,
            own=self._own_bundle,
            partners=self._partners,
            sequencer=self._sequencer,
            reader=self._read,
            watch=self._watch,
            telemetry=self.telemetry,
            monotonic=self.clock.monotonic,
            silent_s=config.limits.keys.silent_s,
        )
        self._alarms = Alarms(
            config.node,
            config.alarm_limits(),
            self._partners.links,
            self._sequencer.heads,
            self._sequencer.current,
            self._read,
            self.telemetry,
            self.clock.monotonic,
            self._partners.keys,
            self._clock_state,
            lambda: self._sequencer.rulebook.policy is not None,
            self.clock.now,
        )
        self._taking_back = TakingBack(
            own=self._own,
            signatory=self._signatory,
            own_bundle=self._own_bundle,
            partners=self._partners,
            sequencer=self._sequencer,
            reader=self._read,
            key_pair=self._pair,
            limits=config.exchange_limits(),
            in_band=self._in_band,
        )
        self._reconciling = Reconciling(
            own=self._own,
            signatory=self._signatory,
            partners=self._partners,
            sequencer=self._sequencer,
            reader=self._read,
            key_pair=self._pair,
            limits=config.exchange_limits(),
            in_band=self._in_band,
        )
        self._reading = Reading(self._readers.open, self._signatory)
        self._readers.on_shut(self._reading.let_go)
        self._status = Status(
            config.node,
            self._started,
            self.clock.now,
            self._sequencer,
            self._partners,
            self._room,
            self._read,
            lambda: self._alarms.standing,
            lambda: self.clock.problem or "",
            lambda: {} if self._carrying is None else self._carrying.carried,
        )
        self._sockets: Sockets | None = None
        self._carrying: Carrying | None = None
        self._servers: list[grpc.aio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []

    def _open_store(self) -> Store:
        # One that was there and is gone is not made anew: its disk may have been unmounted.
        store = SqliteStore(self.config.store, must_exist=self._opened_before)
        self._opened_before = True
        return store

    def _read(self) -> StoreReader:
        """The event loop's reader. Raises StoreError."""
        return self._readers.shared()

    def _store_failed(self, error: StoreError) -> None:
        """Counts a failure of the store, in whichever thread. Of a damaged one nothing more is made durable."""
        self.telemetry.store_failures.labels(kind=error.kind).inc()
        if isinstance(error, StoreDamaged) and self._loop is not None:
            self._loop.call_soon_threadsafe(self._sequencer.doubt, error)

    def status(self) -> c2_pb2.GetStatusResponse:
        """The state of this gateway, as GetStatus tells it."""
        return self._status.tell()

    async def alive(self) -> None:
        """Returns once the sequencer has done what it was doing."""
        await self._sequencer.alive()

    def in_short(self) -> str:
        """How the gateway is, in one line."""
        return self._sequencer.reason or f"{self.config.node} takes reports, {self._sequencer.waiting} wait"

    def _signers(self) -> Mapping[str, Signers]:
        """The keys in use of this node, and of the partners whose bundles are in force."""
        found = {node: Signers.of(partner) for node, partner in self._partners.keys().items()}
        found[self.config.node] = Signers.of_own(self._signatory)
        return found

    def _governed(self, state: State) -> None:
        self.telemetry.policy_sequence.set(state.sequence)
        self.telemetry.suspended_partners.set(len(state.suspensions))

    def _durable(self, what: Durable) -> None:
        if what.reopened:
            self._governance.announce()
        self._watch.durable(what)
        self.telemetry.commits.observe(what.seconds)
        self.telemetry.commit_steps.observe(what.steps)

    def refused_bundles(self) -> dict[str, tuple[str, int]]:
        """Why the trust bundle files of partners are not believed, and the sequence on record that would be in use in
        their place, 0 for none; by node, for a check before the start. Raises StoreError.
        """
        with contextlib.ExitStack() as stack:
            record = None
            if self.config.store.exists():
                with contextlib.suppress(StoreVersionError):
                    record = BundleRecord(stack.enter_context(contextlib.closing(SqliteReader(self.config.store))).meta)
            found = Partners.load(
                self._pinned,
                self.clock.now,
                lambda node: 0 if record is None else record.sequence(node, self._root_of(node)),
                lambda node: None if record is None else record.note(node, self._root_of(node)),
            )
        refused = {}
        for node, why in found.refused.items():
            bundle = found.bundle(node)
            refused[node] = (why, 0 if bundle is None else bundle.sequence)
        for pin in self._pinned:
            bundle = found.bundle(pin.node)
            if pin.node not in refused and bundle is not None and found.note(pin.node) != pin.bundle.read_bytes():
                refused[pin.node] = (f"{pin.bundle} is older than what is on record", bundle.sequence)
        return refused

    def refused_files(self) -> list[str]:
        """What is wrong with the roster, the policy and the orders of the configuration, before the start."""
        return faults_of_files(self.config.node, self.config.roster, self.config.policy, self.config.order)

    def require_own_keys(self) -> None:
        """Whether the keys are those of the store, where there is one. Raises KeyNotHeld or StoreError."""
        if not self.config.store.exists():
            return
        try:
            with contextlib.closing(SqliteReader(self.config.store)) as reader:
                require_own_keys(reader, self._signatory.using(keys_on_record(reader)))
        except StoreVersionError as error:
            # It is brought up to date at the start, which asks again.
            log.warning("whether the keys are those of the store is asked at the start: %s", error)

    def remarks(self) -> list[str]:
        """What is allowed in the configuration's keys and roster, and should be known. The roster must be in order."""
        return [*self._key_remarks(), *read_roster(self.config.roster, self.config.node).remarks()]

    def _key_remarks(self) -> list[str]:
        keys = self.config.keys
        without = [] if self._recovery is not None else [NO_RECOVERY.format(keys=keys)]
        national = NationalAuthorities(keys, self.config.node)
        return [*plainness(keys), *without, *national.remarks(self.clock.now())]

    # --- starting

    async def start(self) -> None:
        """Opens the store, then the listeners, then dials. Raises StartError, StoreError or IdentityError."""
        for remark in self._key_remarks():
            log.warning("%s", remark)
        self._loop = asyncio.get_running_loop()
        await self._sequencer.open()
        newest_ns = int.from_bytes(self._read().meta(LATEST_TIME) or b"")
        self.clock.begin(newest_ns, declared_right=self._clock_is_right)
        sequencing = asyncio.create_task(self._sequencer.run(), name="sequencer")
        self._tasks.append(sequencing)
        if self._restored:
            await self._declare_restored(newest_ns)
        else:
            self._look_at_generations()
        counter = Counter(int.from_bytes(self._read().meta("heartbeat") or b""), self.clock.now_ns())
        runs = Runs.continued(self._read().meta("runs") or b"", self._signatory.random(8), self._read().last_feed())
        await self._sequencer.do(
            RecordEvent(
                "started",
                f"Signalfire {gateway.__version__}, {self._own}, policy {self._sequencer.rulebook.digest.hex()}",
                meta=(("heartbeat", counter.base.to_bytes(8)), ("runs", runs.encode())),
            )
        )
        await self._declare_clock_right(newest_ns)
        await self._look_at_pruning(newest_ns)
        self._governance.on_change(self._governed)
        await self._governance.take_up_files(self.config.roster, self.config.policy, self.config.order)
        await self._governance.end_posture()
        self._partners.restore()
        self._own_bundle.restore()
        await self._take_up_bundles()
        await self._rotation.look()
        await self._listen(counter, runs)
        opener = Opener(self.config.node, self._signatory.sealing)
        witness = self.config.witness_limits()
        for node in self._partners:
            follower = PartnerFollower(
                node,
                own=self._own,
                key_pair=self._pair,
                signatory=self._signatory,
                partners=self._partners,
                sequencer=self._sequencer,
                reader=self._read,
                opener=opener,
                report_limits=self._report_limits,
                limits=self.config.exchange_limits(),
                telemetry=self.telemetry,
                in_band=self._in_band,
                now_ns=self.clock.now_ns,
                monotonic=self.clock.monotonic,
                allowance=Allowance(witness.bytes_per_s, witness.burst_bytes, self.clock.monotonic),
                sockets=self._sockets,
                carry=self.config.limits.carry.limits(),
            )
            self._tasks.append(asyncio.create_task(follower.run(), name=f"follow {node}"))
        self._tasks.append(asyncio.create_task(self._look_around(), name="look around"))
        self._tasks.append(asyncio.create_task(self._look_at_expiry(), name="expiry"))
        self._tasks.append(
            asyncio.create_task(
                measure_lag(self.telemetry.loop_lag.observe, self.clock.monotonic), name="event loop's lag"
            )
        )
        self._tasks.append(
            asyncio.create_task(
                take_up_pending(
                    self._sequencer,
                    self._read,
                    self.clock.now_ns,
                    self.clock.trusted,
                    self._can_be_told,
                    self.telemetry.decided,
                    self._withdrawals_wait,
                ),
                name="pending",
            )
        )
        self._tasks.append(
            asyncio.create_task(
                sign_within_a_second(
                    self._sequencer, self._watch, self.telemetry, self.config.node, self.clock.monotonic
                ),
                name="post-quantum",
            )
        )
        self._tasks.append(
            asyncio.create_task(
                keep_witness(
                    self._sequencer,
                    frozenset(self._partners),
                    self.config.witness_limits().interval_s,
                    self.clock.monotonic,
                ),
                name="witness",
            )
        )
        self._tasks.append(
            asyncio.create_task(
                keep_comparing(self._reconciling, self._partners.links, witness.compare_s, self.clock.monotonic),
                name="compare witnesses",
            )
        )
        self._tasks.append(asyncio.create_task(keep_taking_back(self._taking_back, self._heard), name="own ledgers"))
        self._tasks.append(
            asyncio.create_task(
                let_go(
                    self._sequencer, self._read, self.config.retention.days(), self.clock.now_ns, self._count_pruned
                ),
                name="retention",
            )
        )
        if self.config.metrics is not None:
            host, _, port = self.config.metrics.listen.rpartition(":")
            start_http_server(int(port), host.strip("[]"), registry=self.telemetry.registry)
        log.info(
            "%s is up: C2 at %s, partners at %s", self._own, self.config.national.listen, self.config.exchange.listen
        )

    async def _declare_restored(self, newest_ns: int) -> None:
        """Ends every own ledger before anything is written to one that partners may hold otherwise."""
        # With the keys of the bundles as they are: what takes them up on record would be written to such a ledger.
        self._partners.restore()
        self._partners.refresh()
        self._own_bundle.restore()
        self._own_bundle.refresh()
        # Nor is the newest generation of a ledger opened anew, where the store does not know it.
        known = (*self._generations.known(), *await self._taking_back.newest(KNOWN_WITHIN_S))
        why = "the operator has declared that the store was lost, or restored from a copy"
        step = DeclareSetBack(why, None, SUCCESSION_REASON_RESTORE, since_ns=newest_ns, known=known)
        opened = await self._sequencer.do(step)
        log.warning("%s: %d ledgers go on in their next generations", why, len(opened))

    def _look_at_generations(self) -> None:
        """Keeps the file of generations as the store has them, and says so where that is ahead of the store."""
        opened: tuple[Origin, ...] = ()
        begun: tuple[Origin, ...] = ()
        # Where it does not read, that is said when it is to be kept.
        with contextlib.suppress(StoreError):
            opened, begun = self._generations.opened(), self._generations.begun()
        for origin, words in [*((each, WAS_OPENED) for each in opened), *((each, WAS_BEGUN) for each in begun)]:
            current = self._sequencer.current(origin.owner, origin.recipient, origin.lane)
            if current.generation < origin.generation:
                log.critical(words, origin, current)
        standing = (head.origin for head in self._sequencer.heads() if not head.replica)
        self._generations.keep([*standing])

    async def _listen(self, counter: Counter, runs: Runs) -> None:
        opener = Opener(self.config.node, self._signatory.sealing)

        national = NationalAuthorities(self.config.keys, self.config.node)
        feed = Feed(self.config.node, runs, self._read, self._watch, opener, self._signatory.storage)
        c2 = C2Servicer(
            node=self.config.node,
            authorities=national,
            grants=self.config.grants(),
            sequencer=self._sequencer,
            feed=feed,
            status=self._status.tell,
            telemetry=self.telemetry,
            limits=self.config.c2_limits(),
            quotas=self.config.quotas(),
            monotonic=self.clock.monotonic,
            report_limits=self._report_limits,
            now=self.clock.now,
            now_ns=self.clock.now_ns,
            clock_trusted=self.clock.trusted,
        )
        officer = OfficerServicer(
            node=self.config.node,
            partners=self.config.partners,
            access=Access(
                authorities=national,
                sequencer=self._sequencer,
                telemetry=self.telemetry,
                limits=self.config.officer_limits(),
                now=self.clock.now,
                monotonic=self.clock.monotonic,
            ),
            reading=self._reading,
            watch=self._watch,
            governance=self._governance,
            now_ns=self.clock.now_ns,
            reconcile=self._reconciling.compare,
            key_status=self._rotation.status,
            signers=self._signers,
            recovering=Recovering(self._signatory, self._sequencer, self._read),
        )
        limits = self.config.exchange_limits()
        self._sockets = Sockets()
        self._carrying = Carrying(
            own=self._own,
            signatory=self._signatory,
            partners=self._partners,
            rulebook=lambda: self._sequencer.rulebook,
            key_pair=self._pair,
            in_band=self._in_band,
            sockets=self._sockets,
            telemetry=self.telemetry,
            limits=self.config.limits.carry.limits(),
            exchange=limits,
            now_ns=self.clock.now_ns,
            monotonic=self.clock.monotonic,
        )
        exchange = ExchangeServicer(
            own=self._own,
            signatory=self._signatory,
            partners=self._partners,
            sequencer=self._sequencer,
            reader=self._read,
            watch=self._watch,
            telemetry=self.telemetry,
            in_band=self._in_band,
            own_bundle=self._own_bundle,
            limits=self.config.exchange_limits(),
            counter=counter,
            now=self.clock.now,
            now_ns=self.clock.now_ns,
            monotonic_ns=self.clock.monotonic_ns,
            clock_trusted=self.clock.trusted,
            carrying=self._carrying,
            sockets=self._sockets,
            hedge_s=self.config.limits.carry.hedge_s,
        )
        keys = self.config.keys
        connections = "grpc.max_allowed_incoming_connections"
        home = grpc.aio.server(
            interceptors=[RefuseUnreadable()],
            options=[*_SERVER_OPTIONS, (connections, self.config.limits.c2.connections)],
        )
        home.add_generic_rpc_handlers((c2.handler(),))
        officer_pb2_grpc.add_OfficerServiceServicer_to_server(officer, home)
        abroad = grpc.aio.server(options=[*_SERVER_OPTIONS, (connections, self.config.limits.exchange.connections)])
        exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(exchange, abroad)
        for server, address, roots in (
            (home, self.config.national.listen, roots_from_files(keys / "c2-ca.crt.pem", keys / "officer-ca.crt.pem")),
            (abroad, self.config.exchange.listen, self._roots_abroad),
        ):
            try:
                server.add_secure_port(address, server_credentials(self._pair, roots))
            except RuntimeError as error:
                raise StartError(
                    f"cannot listen at {address}: {error}. Choose another address, or stop what is there."
                ) from error
            if server is abroad:
                # What comes through a tunnel is served as if it came from outside.
                server.add_secure_port(self._sockets.listener, server_credentials(self._pair, roots))
            await server.start()
            self._servers.append(server)

    def _roots_abroad(self) -> bytes:
        """The authorities of the partners whose bundles are in force.

        Where there is none, this gateway's own certificate, which is no authority: the listener opens, and admits
        nobody until a bundle comes.
        """
        return self._partners.roots() or self._pair.certificate.read_bytes()

    # --- running

    def _recorded_sequence(self, node: str) -> int:
        return BundleRecord(self._read().meta).sequence(node, self._root_of(node))

    def _recorded_bundle(self, node: str) -> bytes | None:
        return BundleRecord(self._read().meta).note(node, self._root_of(node))

    def _root_of(self, node: str) -> str:
        """The root that is pinned for a partner, or for this node."""
        if node in self.config.partners:
            return self.config.partners[node].root
        return "" if self.config.trust is None else self.config.trust.root

    async def _take_up_bundles(self) -> None:
        """Takes up bundles that have changed, and puts their sequences on record. Raises Unavailable or StoreError."""
        self._partners.refresh()
        for node in self._partners:
            bundle = self._partners.bundle(node)
            note = self._partners.note(node)
            if bundle is None or note is None:
                continue
            self.telemetry.bundle_sequence.labels(node=node).set(bundle.sequence)
            root = self._partners.root(node)
            record = BundleRecord(self._read().meta)
            if bundle.sequence >= record.sequence(node, root) and not record.holds(node, root, note):
                await self._sequencer.do(TakeUp(bundle, note, root, "from its file"))

    async def _declare_clock_right(self, newest_ns: int) -> None:
        """Puts on record that an operator declared a clock right that is behind the newest time on record."""
        if self._clock_is_right and newest_ns > (now_ns := self.clock.now_ns()):
            when = datetime.fromtimestamp(newest_ns / 1e9, UTC).isoformat()
            detail = f"the newest time on record was {when}"
            await self._sequencer.do(
                RecordEvent("clock-declared-right", detail, meta=((LATEST_TIME, now_ns.to_bytes(8)),))
            )

    async def _look_at_pruning(self, newest_ns: int) -> None:
        """Has nothing pruned by a clock that is far ahead of `newest_ns`, the newest time on record before this start,
        until an operator declares it right.
        """
        waits = bool(self._read().meta(WAITS))
        if self._clock_is_right and waits:
            detail = "contents may be pruned by the clock again"
            # An event of its own: that the clock ran ahead of the record says nothing for times that go back.
            await self._sequencer.do(RecordEvent("pruning-resumed", detail, meta=((WAITS, b""),)))
        elif not self._clock_is_right and not waits and is_ahead(self.clock.now_ns(), newest_ns):
            log.error("nothing is pruned: %s", WHY_IT_WAITS)
            detail = f"nothing is pruned: {WHY_IT_WAITS}"
            await self._sequencer.do(RecordEvent("pruning-waits", detail, meta=((WAITS, b"1"),)))

    def _can_be_told(self, partner: str) -> bool:
        return partner in self._partners.keys() and partner not in self._sequencer.rulebook.suspended  # noqa: SIM118

    def _withdrawals_wait(self, counts: Mapping[str, int]) -> None:
        for node in self._partners:
            self.telemetry.untold.labels(partner=node).set(counts.get(node, 0))

    def _heard(self) -> Mapping[str, bool]:
        return {node: self._partners.links[node].heartbeat_at is not None for node in self._partners}

    async def _set_back_waiting(self) -> None:
        """Sets back the ledgers that waited for their recipients' keys."""
        for partner in waiting_for(self._read()) & self._partners.keys().keys():
            await self._sequencer.do(SetBackWaiting(partner))

    def _count_pruned(self, what: str, count: int) -> None:
        self.telemetry.pruned.labels(what=what).inc(count)

    async def serve(self) -> None:
        """Runs until cancelled; ends with an error if a part of the gateway does."""
        await asyncio.gather(*self._tasks)

    async def _look_at_expiry(self) -> None:
        """Keeps the metric of what expires true."""
        told = ExpiryTold(self.telemetry.expiry)
        while True:
            bundles = {node: self._partners.bundle(node) for node in self._partners}
            policy = self._sequencer.rulebook.policy
            told.tell(expiries(self.config.keys, self.config.node, self._own_bundle.bundle, bundles, policy))
            await asyncio.sleep(EXPIRY_S)

    async def _look_around(self) -> None:
        """Takes up bundles that have changed, and keeps the gauges true."""
        while True:
            try:
                await self._governance.end_posture()
                await self._take_up_bundles()
                await self._set_back_waiting()
                await self._rotation.look()
            except (StepRefused, Unavailable, LedgerError) as error:
                log.error("bundles and keys could not be put on record and are tried again: %s", error)
            self._look_at_clock()
            self._look_for_alarms()
            for node in self._partners:
                lanes = sum(streams > 0 for streams in self._partners.links[node].followed.values())
                self.telemetry.followed_lanes.labels(partner=node).set(lanes)
            self.telemetry.waiting.set(self._sequencer.waiting)
            self._look_at_store()
            await asyncio.sleep(REFRESH_S)

    def _look_at_store(self) -> None:
        self._room.look()
        takes = self._sequencer.takes
        self.telemetry.accepting.set(takes is not None)
        self.telemetry.lowest_precedence.set(precedence_of(takes))
        if self._room.free_bytes is not None:
            self.telemetry.store_free.set(self._room.free_bytes)

    def _look_at_clock(self) -> None:
        self._synchronisation.look()
        self.telemetry.clock_trusted(self.clock.trusted())
        kernel = self._synchronisation.kernel
        if kernel is not None:
            self.telemetry.clock_max_error.set(kernel.max_error_s)

    def _clock_state(self) -> ClockState:
        return ClockState(self.clock.problem or "", self._synchronisation.remark)

    def _look_for_alarms(self) -> None:
        try:
            risen, fallen = self._alarms.look()
        except LedgerError as error:
            log.error("alarms cannot be looked for: %s", error)
            return
        for alarm in risen:
            log.log(logging.CRITICAL if alarm.critical else logging.ERROR, "alarm: %s", alarm.text)
        for alarm in fallen:
            log.info("over: %s", alarm.text)

    async def stop(self) -> None:
        """Ends calls, dials and commits, and closes the store."""
        # A C2 system's reports in flight get their answers. A partner's streams never end by themselves, and a partner
        # resumes from what it has: they end at once.
        await asyncio.gather(
            *(server.stop(grace) for server, grace in zip(self._servers, (STOP_GRACE_S, None), strict=False))
        )
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._sockets is not None:
            self._sockets.close()
        await self._reading.close()
        # The writer last: whoever closes a store last folds its write-ahead log into the file.
        self._readers.close()
        await self._sequencer.close()
        log.info("%s has stopped", self._own)
