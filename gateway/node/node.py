"""The life of one gateway: made, started, served, stopped.

Made: the keys are loaded, and every part is made of the configuration; nothing is open. Start: the store is opened and
its heads restored; the start, the officers' files and the partners' bundles are put on record; listeners open; partners
are dialled. What is wrong with configuration, keys or policy stops it before a port is open. Stop is the reverse.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from prometheus_client import start_http_server
from signalfire.v1 import c2_pb2

from gateway.clock import Clock
from gateway.config import Config
from gateway.exchange.tunnels.sockets import Sockets
from gateway.node import checks, starting, tasks
from gateway.node.listening import Listeners
from gateway.node.parts import Parts
from gateway.node.services import exchange_service, national_services
from gateway.release.plan import LATEST_TIME
from gateway.synchronisation import KernelClock, kernel_clock
from policy.approve import Prover

log = logging.getLogger(__package__)


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
        """`clock_is_right` and `restored` are what an operator declares at this start. Raises IdentityError or
        StartError.
        """
        self.config = config
        self.parts = Parts(config, clock or Clock(), kernel, prover)
        self.clock = self.parts.clock
        self.telemetry = self.parts.telemetry
        self._clock_is_right = clock_is_right
        self._restored = restored
        self._listeners = Listeners(self.parts)
        self.sockets: Sockets | None = None
        """Where tunnels meet this gateway's own gRPC; None before the start."""
        self.running: list[asyncio.Task[None]] = []
        """What runs by itself, in the order in which it was started."""

    # --- before the start

    def refused_files(self) -> list[str]:
        """What is wrong with the roster, the policy and the orders of the configuration."""
        return checks.refused_files(self.config)

    def require_own_keys(self) -> None:
        """Whether the keys are those of the store, where there is one. Raises KeyNotHeld or StoreError."""
        checks.require_the_stores_keys(self.parts)

    def remarks(self) -> list[str]:
        """What is allowed in the configuration's keys and roster, and should be known. The roster must be in order."""
        return checks.remarks(self.parts)

    def refused_bundles(self) -> dict[str, tuple[str, int]]:
        """Why the trust bundle files of partners are not believed, and the sequence on record that would be in use in
        their place, 0 for none; by node. Raises StoreError.
        """
        return checks.refused_bundles(self.parts)

    # --- starting

    async def start(self) -> None:
        """Opens the store, then the listeners, then dials. Raises StartError, StoreError or IdentityError."""
        parts, config = self.parts, self.config
        for remark in checks.key_remarks(parts):
            log.warning("%s", remark)
        newest_ns = await self._open_store()
        if self._restored:
            await starting.declare_restored(parts, newest_ns)
        else:
            starting.look_at_generations(parts)
        counter, runs = await starting.record_start(parts)
        if self._clock_is_right:
            await starting.declare_clock_right(parts, newest_ns)
        await starting.look_at_pruning(parts, newest_ns, clock_is_right=self._clock_is_right)
        await starting.take_up_files(parts)
        c2, officer = national_services(parts, runs)
        self.sockets = Sockets()
        exchange = exchange_service(parts, counter, self.sockets)
        await self._listeners.open(c2, officer, exchange, self.sockets.listener)
        self._run(tasks.following(parts, self.sockets))
        self._run(tasks.keeping_up(parts))
        if config.metrics is not None:
            host, _, port = config.metrics.listen.rpartition(":")
            start_http_server(int(port), host.strip("[]"), registry=self.telemetry.registry)
        log.info(
            "%s is up: C2 at %s, partners at %s", parts.identity.own, config.national.listen, config.exchange.listen
        )

    async def _open_store(self) -> int:
        """Opens the store, begins the time, and has the sequencer commit. Returns the newest time on record, POSIX
        nanoseconds; 0 where there is none.
        """
        store, sequencer = self.parts.store, self.parts.sequencer
        loop = asyncio.get_running_loop()
        store.on_damage(lambda error: loop.call_soon_threadsafe(sequencer.doubt, error))
        await sequencer.open()
        newest_ns = int.from_bytes(store.read().meta(LATEST_TIME) or b"")
        self.clock.begin(newest_ns, declared_right=self._clock_is_right)
        self._run([("sequencer", sequencer.run())])
        return newest_ns

    def _run(self, named: Iterable[tasks.Named]) -> None:
        for name, each in named:
            self.running.append(asyncio.create_task(each, name=name))

    # --- running

    async def serve(self) -> None:
        """Runs until cancelled; ends with an error if a part of the gateway does."""
        await asyncio.gather(*self.running)

    async def alive(self) -> None:
        """Returns once the sequencer has done what it was doing."""
        await self.parts.sequencer.alive()

    def status(self) -> c2_pb2.GetStatusResponse:
        """The state of this gateway, as GetStatus tells it."""
        return self.parts.status.tell()

    def in_short(self) -> str:
        """How the gateway is, in one line."""
        sequencer = self.parts.sequencer
        return sequencer.reason or f"{self.config.node} takes reports, {sequencer.waiting} wait"

    # --- stopping

    async def stop(self) -> None:
        """Ends calls, dials and commits, and closes the store; however far the start came."""
        await self._listeners.close()
        for task in reversed(self.running):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self.sockets is not None:
            self.sockets.close()
        await self.parts.reading.close()
        # The writer last: whoever closes a store last folds its write-ahead log into the file.
        self.parts.store.readers.close()
        await self.parts.sequencer.close()
        log.info("%s has stopped", self.parts.identity.own)
