"""NATS JetStream: a server at each nation, joined by leaf nodes, and streams that mirror one another.

The recipients' servers dial the origin's as leaf nodes. Each has a JetStream domain of its own, and mirrors the
origin's streams, in files. There are two, for alerts and for everything else, so that no alert waits behind tracks.
Producers publish with acknowledgement; a subscriber reads the recipient's streams by consumers of its own, and
acknowledges. All connections are mutual TLS, and 1.3, for both ends can.

It comes twice, for JetStream by default acknowledges what it has written but not synced; every two minutes it syncs.
What was acknowledged since may be gone after a loss of power, so that ``nats`` does not keep the first two promises of
`bench.system`. ``nats-synced`` does: `sync_interval: always` has each message synced before it is acknowledged, at the
origin as at the recipients. That takes a server of 2.10 or later; Debian 12 has 2.9.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from signalfire.v1 import report_pb2

from bench.brokers import certificates
from bench.brokers.certificates import Certificates
from bench.brokers.probe import arrives
from bench.brokers.servers import LISTEN_S, NotHere, Server, found, free_ports
from bench.brokers.submitting import submitted
from bench.system import SystemFailed

try:
    import nats
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.errors import Error
    from nats.js import JetStreamContext
    from nats.js import api as jetstream
except ModuleNotFoundError as error:
    raise NotHere(f"{error.name} is not here: `make bench-tools` installs nats-py") from None

# The client puts TLS over a plain connection, at whose end asyncio says so, harmlessly, as a warning.
logging.getLogger("asyncio").addFilter(lambda record: "eof_received" not in str(record.msg))

NODES: Final = ("origin", "recipient", "recipient-2")
"""Parts, servers and JetStream domains by the same name. Producers are at the first; subscribers at the second."""
CLIENT: Final = "client"
FLASH: Final = "reports.flash"
OTHER: Final = "reports.other"
STREAMS: Final = {FLASH: "FLASH", OTHER: "OTHER"}
"""By their subjects: the origin's, and a recipient's mirrors of the same name."""
UNACKNOWLEDGED: Final = 8192
"""Messages that a subscriber may have without having acknowledged one; it acknowledges when it has caught up, or has
half of that.
"""


@dataclass(frozen=True)
class NatsClients:
    """What a client must know."""

    certificates: Certificates
    ports: Mapping[str, int]

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[NatsProducer]:
        """See `bench.system.Clients`."""
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with self.connection("origin", lost) as connection:
            yield NatsProducer(connection, lost)

    @contextlib.asynccontextmanager
    async def subscriber(
        self, *, alerts: bool, node: str = "recipient"
    ) -> AsyncIterator[AsyncIterator[report_pb2.Report]]:
        """See `bench.system.Clients`; at another node where one is named."""
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        come: asyncio.Queue[Msg | None] = asyncio.Queue()

        async def comes(message: Msg) -> None:
            come.put_nowait(message)

        lost.add_done_callback(lambda _: come.put_nowait(None))
        async with self.connection(node, lost) as connection:
            # Not the client's ordered consumer: it looks four times a second whether the server waits for it.
            for subject in (FLASH,) if alerts else STREAMS:
                await connection.jetstream().subscribe(
                    subject,
                    stream=STREAMS[subject],
                    cb=comes,
                    manual_ack=True,
                    config=jetstream.ConsumerConfig(
                        deliver_policy=jetstream.DeliverPolicy.NEW,
                        ack_policy=jetstream.AckPolicy.ALL,
                        max_ack_pending=UNACKNOWLEDGED,
                    ),
                )
            yield _reports(come, lost)

    @contextlib.asynccontextmanager
    async def connection(self, node: str, lost: asyncio.Future[str]) -> AsyncIterator[Client]:
        """A connection to the server of a node. `lost` gets a text when it breaks. Raises SystemFailed."""

        async def closed() -> None:
            if not lost.done():
                lost.set_result(f"{node} closed it")

        async def failed(error: Exception) -> None:
            if not lost.done():
                lost.set_result(f"{node}: {error!r}")

        try:
            connection = await nats.connect(
                f"tls://127.0.0.1:{self.ports[node]}",
                tls=self.certificates.context(CLIENT),
                allow_reconnect=False,
                closed_cb=closed,
                error_cb=failed,
            )
        except (OSError, Error) as error:
            raise SystemFailed(f"no connection to the NATS server of {node}: {error!r}") from error
        try:
            yield connection
        finally:
            await connection.close()


@dataclass(frozen=True)
class NatsProducer:
    """See `bench.system.Producer`."""

    connection: Client
    lost: asyncio.Future[str]

    def submit(self, reports: AsyncIterator[report_pb2.Report], in_flight: int) -> AsyncIterator[str]:
        """See `bench.system.Producer`."""
        context = self.connection.jetstream(publish_async_max_pending=in_flight)

        async def send(report: report_pb2.Report) -> asyncio.Future[Any]:
            subject = FLASH if report.precedence == report_pb2.PRECEDENCE_FLASH else OTHER
            try:
                return await context.publish_async(subject, report.SerializeToString())
            except (OSError, Error) as error:
                raise SystemFailed(f"report {report.report_id} was not sent: {error!r}") from error

        return submitted(reports, in_flight, send, self.lost)


async def _reports(come: asyncio.Queue[Msg | None], lost: asyncio.Future[str]) -> AsyncIterator[report_pb2.Report]:
    # By subject, and so by consumer: the acknowledgement of one message is that of all before it.
    last: dict[str, Msg] = {}
    owed = 0
    while True:
        message = await come.get()
        if message is None:
            raise SystemFailed(f"the subscription is lost: {lost.result()}")
        last[message.subject] = message
        owed += 1
        if come.empty() or owed >= UNACKNOWLEDGED // 2:
            for each in last.values():
                await each.ack()
            last.clear()
            owed = 0
        yield report_pb2.Report.FromString(message.data)


class Nats:
    """See `bench.system.System`."""

    name = "nats"
    synced = False
    """Whether each message is synced before it is acknowledged."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        self._clients: NatsClients | None = None

    async def start(self, directory: Path) -> None:
        """See `bench.system.System`."""
        program = found("nats-server")
        if self.synced:
            await _can_sync(program)
        own = certificates.make(directory / "certificates", (*NODES, CLIENT))
        leaf, *ports = free_ports(1 + len(NODES))
        self._clients = NatsClients(own, dict(zip(NODES, ports, strict=True)))
        for node, port in self._clients.ports.items():
            configuration = directory / f"{node}.conf"
            configuration.write_text(self._configuration(directory, own, node, port, leaf))
            self._servers[node] = Server([program, "--config", str(configuration)], directory / f"{node}.log")
            await self._servers[node].listens(port)
        try:
            async with asyncio.timeout(LISTEN_S):
                await self._make_streams(self._clients)
        except (TimeoutError, Error) as error:
            raise SystemFailed(f"streams could not be made: {error!r}; see the logs in {directory}") from error
        for node in NODES[1:]:
            await arrives(self._clients.producer(), self._clients.subscriber(alerts=False, node=node))

    def _configuration(self, directory: Path, own: Certificates, node: str, port: int, leaf: int) -> str:
        shown = f'cert_file: "{own.certificate(node)}", key_file: "{own.key(node)}", ca_file: "{own.authority}"'
        if node == "origin":
            joined = f'listen: "127.0.0.1:{leaf}", tls {{ {shown}, verify: true }}'
        else:
            joined = f'remotes: [ {{ url: "tls://127.0.0.1:{leaf}", tls {{ {shown} }} }} ]'
        sync = ", sync_interval: always" if self.synced else ""
        return f"""
server_name: {node}
listen: "127.0.0.1:{port}"
tls {{ {shown}, verify: true }}
leafnodes {{ {joined} }}
jetstream {{ domain: {node}, store_dir: "{directory / node}"{sync} }}
"""

    async def _make_streams(self, clients: NatsClients) -> None:
        loop = asyncio.get_running_loop()
        async with clients.connection("origin", loop.create_future()) as connection:
            for subject, name in STREAMS.items():
                await connection.jetstream().add_stream(
                    jetstream.StreamConfig(name=name, subjects=[subject], storage=jetstream.StorageType.FILE)
                )
        for node in NODES[1:]:
            async with clients.connection(node, loop.create_future()) as connection:
                await _joined(connection.jetstream(domain="origin"))
                origin = jetstream.ExternalStream(api="$JS.origin.API", deliver=f"deliver.{node}")
                for name in STREAMS.values():
                    mirror = jetstream.StreamSource(name=name, external=origin)
                    await connection.jetstream().add_stream(
                        jetstream.StreamConfig(name=name, mirror=mirror, storage=jetstream.StorageType.FILE)
                    )

    def clients(self) -> NatsClients:
        """See `bench.system.System`."""
        assert self._clients is not None
        return self._clients

    def processes(self) -> Mapping[str, int]:
        """See `bench.system.System`."""
        return {node.replace("-", " "): server.pid for node, server in self._servers.items()}

    async def stop(self) -> None:
        """See `bench.system.System`."""
        await asyncio.gather(*(server.stop() for server in self._servers.values()))
        self._servers.clear()


async def _can_sync(program: str) -> None:
    """Raises NotHere where the server is too old to sync each message."""
    asked = await asyncio.create_subprocess_exec(program, "--version", stdout=subprocess.PIPE)
    said = (await asked.communicate())[0].decode().strip()
    version = tuple(map(int, re.findall(r"\d+", said)[:2]))
    if version < (2, 10):
        raise NotHere(f"{said} cannot sync each message; 2.10 can: `make bench-tools` fetches one")


async def _joined(origin: JetStreamContext) -> None:
    """Returns once the origin's domain can be reached over the leaf node's connection."""
    while True:
        try:
            for name in STREAMS.values():
                await origin.stream_info(name)
            return
        except Error:
            await asyncio.sleep(0.05)


class NatsSynced(Nats):
    """The same, with each message synced before it is acknowledged."""

    name = "nats-synced"
    synced = True
