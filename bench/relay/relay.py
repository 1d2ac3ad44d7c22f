"""The plain relay as a system to compare with: three nodes, each a process (`bench/relay/node.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.relay.client import Place, RelayClients
from bench.relay.node import Config
from bench.system import SystemFailed
from gateway.identity import issuing, nation
from gateway.identity.spiffe import Role, SpiffeId, dns_name

ROOT: Final = Path(__file__).parents[2]
START_S: Final = 30.0
STOP_S: Final = 10.0
_PARTS: Final = {"JPN": "origin", "KOR": "recipient", "USA": "recipient 2"}
_ORIGIN: Final = "JPN"
_NAME: Final = "a"
_C2: Final = "c2"


class Relay:
    """A relay whose C2 systems send and get one report a message, as Signalfire's do."""

    name = "relay"
    chunk = 1

    def __init__(self) -> None:
        self._directory = Path()
        self._configs: dict[str, Config] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    async def start(self, directory: Path) -> None:
        """See `bench.system.System`."""
        self._directory = directory
        self._configure(directory)
        for node in self._configs:
            self._launch(node)
        for node in self._configs:
            await self._answers(node)

    def _launch(self, node: str) -> None:
        with (self._directory / f"{node}.log").open("ab") as log:
            self._running[node] = subprocess.Popen(
                [sys.executable, "-P", "-m", "bench.relay.node", str(self._directory / f"{node}.json")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto'}"},
            )

    def _configure(self, directory: Path) -> None:
        """Keys and configuration of every node."""
        now = datetime.now(UTC)
        authorities = tuple(
            str(nation.authority_certificate(directory / node / "pki", Role.GATEWAY)) for node in _PARTS
        )
        ports = _free_ports()
        exchange = f"127.0.0.1:{next(ports)}"
        for node in _PARTS:
            place = directory / node
            own = exchange if node == _ORIGIN else f"127.0.0.1:{next(ports)}"
            nation.create_nation(place / "pki", node, now=now)
            issuing.issue_gateway(place / "pki", _NAME, place / "keys", now=now, address=own)
            issuing.issue_c2(place / "pki", _C2, place / _C2, now=now)
            config = Config(
                node=node,
                keys=str(place / "keys"),
                store=str(place / "store.db"),
                national=f"127.0.0.1:{next(ports)}",
                exchange=own,
                partner_authorities=authorities,
                serves=tuple(each for each in _PARTS if each != node) if node == _ORIGIN else (),
                follows=None if node == _ORIGIN else (exchange, _server_name(_ORIGIN)),
            )
            config.write(directory / f"{node}.json")
            self._configs[node] = config

    async def _answers(self, node: str) -> None:
        """Returns when a node serves. The recipients dial the origin by themselves, again and again."""
        async with self._place(node).channel() as channel:
            ready = asyncio.ensure_future(channel.channel_ready())
            try:
                async with asyncio.timeout(START_S):
                    while not ready.done():
                        if self._running[node].poll() is not None:
                            raise SystemFailed(f"{node} of the relay ended; see {self._directory / f'{node}.log'}")
                        await asyncio.wait([ready], timeout=0.1)
            except TimeoutError:
                raise SystemFailed(f"{node} of the relay does not answer within {START_S:g} s") from None
            finally:
                ready.cancel()

    def _place(self, node: str) -> Place:
        return Place(self._configs[node].national, _server_name(node), self._directory / node / _C2)

    def clients(self) -> RelayClients:
        """See `bench.system.System`."""
        return RelayClients(self._place(_ORIGIN), self._place("KOR"), self.chunk)

    def processes(self) -> Mapping[str, int]:
        """See `bench.system.System`."""
        return {_PARTS[node]: process.pid for node, process in self._running.items()}

    async def stop(self) -> None:
        """See `bench.system.System`."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()
            process.wait()
        self._running.clear()


class BatchedRelay(Relay):
    """The same where C2 systems, too, send and get many reports a message: what the shape of Signalfire's contract
    with them costs by itself.
    """

    name = "relay-batched"
    chunk = 64


def _server_name(node: str) -> str:
    return dns_name(SpiffeId.of(node, Role.GATEWAY, _NAME))


def _free_ports() -> Iterator[int]:
    """Ports that nothing listens on now, each once."""
    with contextlib.ExitStack() as stack:
        while True:
            each = stack.enter_context(socket.socket())
            each.bind(("127.0.0.1", 0))
            yield each.getsockname()[1]
