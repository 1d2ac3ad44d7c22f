"""RabbitMQ: a broker at each nation, quorum queues, and shovels that fetch from the origin.

The origin keeps two queues for each recipient, for alerts and for everything else, so that no alert waits behind
tracks. The recipient's broker dials the origin's: a shovel takes from each queue, publishes at home, and acknowledges
to the origin what its own broker confirmed. Producers publish with
confirms; a subscriber has a queue of its own at the recipient, and acknowledges. All queues are quorum queues, which
sync before they confirm; each has one member, for a nation's broker is one machine here, as its gateway is. All
connections are mutual TLS 1.3, and a client's user is the name in its certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from signalfire.v1 import report_pb2

from bench.brokers import certificates
from bench.brokers.certificates import Certificates
from bench.brokers.probe import arrives
from bench.brokers.servers import NotHere, Server, found, free_ports
from bench.brokers.submitting import submitted
from bench.system import SystemFailed

try:
    import aio_pika
    from aio_pika.abc import AbstractConnection, AbstractExchange, AbstractIncomingMessage
    from aio_pika.exceptions import AMQPError
except ModuleNotFoundError as error:
    raise NotHere(f"{error.name} is not here: `make bench-tools` installs aio-pika") from None

NODES: Final = ("origin", "recipient", "recipient-2")
"""Parts, brokers and their users by the same name. Producers are at the first; subscribers at the second."""
CLIENT: Final = "client"
EXCHANGE: Final = "reports"
UNREAD: Final = "unread"
"""Where a recipient keeps what no subscriber has a queue for."""
FLASH: Final = "flash"
OTHER: Final = "other"
QUORUM: Final = {"x-queue-type": "quorum"}
UNACKNOWLEDGED: Final = 8192
"""Messages that a subscriber or a shovel may have without having acknowledged one. A subscriber acknowledges when it
has caught up, or has half of that.
"""
PROGRAMS: Final = "/usr/lib/rabbitmq/bin"
"""Debian's own: what it puts on the path runs as a user of its own, on the machine's one broker."""


@dataclass(frozen=True)
class RabbitClients:
    """What a client must know."""

    certificates: Certificates
    ports: Mapping[str, int]

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[RabbitProducer]:
        """See `bench.system.Clients`."""
        async with self.connection("origin") as (connection, lost):
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            yield RabbitProducer(await channel.get_exchange(EXCHANGE, ensure=False), lost)

    @contextlib.asynccontextmanager
    async def subscriber(
        self, *, alerts: bool, node: str = "recipient"
    ) -> AsyncIterator[AsyncIterator[report_pb2.Report]]:
        """See `bench.system.Clients`; at another node where one is named."""
        come: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()

        async def comes(message: AbstractIncomingMessage) -> None:
            come.put_nowait(message)

        async with self.connection(node) as (connection, lost):
            lost.add_done_callback(lambda _: come.put_nowait(None))
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=UNACKNOWLEDGED)
            queue = await channel.declare_queue(f"subscriber-{uuid.uuid4()}", durable=True, arguments=dict(QUORUM))
            await queue.bind(EXCHANGE, FLASH if alerts else "#")
            consuming = await queue.consume(comes)
            yield _reports(come, lost)
            if not lost.done():
                # A quorum queue stays when its reader has gone.
                await queue.cancel(consuming)
                await queue.delete(if_unused=False, if_empty=False)

    @contextlib.asynccontextmanager
    async def connection(self, node: str) -> AsyncIterator[tuple[AbstractConnection, asyncio.Future[str]]]:
        """A connection to the broker of a node, and what gets a text when it breaks. Raises SystemFailed."""
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def closed(_: object, error: BaseException | None) -> None:
            if not lost.done():
                lost.set_result(f"{node}: {error!r}")

        try:
            connection = await aio_pika.connect(
                f"amqps://127.0.0.1:{self.ports[node]}/?auth=external", ssl_context=self.certificates.context(CLIENT)
            )
        except (OSError, AMQPError) as error:
            raise SystemFailed(f"no connection to the RabbitMQ broker of {node}: {error!r}") from error
        connection.close_callbacks.add(closed)
        async with connection:
            yield connection, lost


@dataclass(frozen=True)
class RabbitProducer:
    """See `bench.system.Producer`."""

    exchange: AbstractExchange
    lost: asyncio.Future[str]

    def submit(self, reports: AsyncIterator[report_pb2.Report], in_flight: int) -> AsyncIterator[str]:
        """See `bench.system.Producer`."""

        async def send(report: report_pb2.Report) -> asyncio.Future[Any]:
            message = aio_pika.Message(
                report.SerializeToString(),
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                message_id=report.report_id,
            )
            key = FLASH if report.precedence == report_pb2.PRECEDENCE_FLASH else OTHER
            return asyncio.create_task(self.exchange.publish(message, key, mandatory=True))

        return submitted(reports, in_flight, send, self.lost)


async def _reports(
    come: asyncio.Queue[AbstractIncomingMessage | None], lost: asyncio.Future[str]
) -> AsyncIterator[report_pb2.Report]:
    owed = 0
    while True:
        message = await come.get()
        if message is None:
            raise SystemFailed(f"the subscription is lost: {lost.result()}")
        owed += 1
        if come.empty() or owed >= UNACKNOWLEDGED // 2:
            await message.ack(multiple=True)
            owed = 0
        yield report_pb2.Report.FromString(message.body)


class RabbitMQ:
    """See `bench.system.System`."""

    name = "rabbitmq"

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        self._clients: RabbitClients | None = None

    async def start(self, directory: Path) -> None:
        """See `bench.system.System`."""
        program = found("rabbitmq-server", PROGRAMS)
        own = certificates.make(directory / "certificates", (*NODES, CLIENT))
        names, *ports = free_ports(1 + 2 * len(NODES))
        self._clients = RabbitClients(own, dict(zip(NODES, ports, strict=False)))
        # Brokers would start one that outlives them.
        self._servers["epmd"] = Server(
            [found("epmd"), "-address", "127.0.0.1", "-port", str(names)], directory / "epmd.log"
        )
        await self._servers["epmd"].listens(names)
        for node, between in zip(NODES, ports[len(NODES) :], strict=True):
            home = directory / node
            self._configure(home, own, node)
            environment = self._environment(home, node, names, between)
            self._servers[node] = Server([program], directory / f"{node}.log", environment)
        for node, port in self._clients.ports.items():
            await self._servers[node].listens(port)
        for node in NODES[1:]:
            await arrives(self._clients.producer(), self._clients.subscriber(alerts=False, node=node))

    def _environment(self, home: Path, node: str, names: int, between: int) -> Mapping[str, str]:
        """What keeps it away from the machine's own broker, and on 127.0.0.1. `names` is epmd's port; `between` is
        where brokers of a cluster would talk to it.
        """
        return {
            "HOME": str(home),
            "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
            "RABBITMQ_NODENAME": f"{node}@localhost",
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "store"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_DIST_PORT": str(between),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # Several Erlang machines share these processors, and each would bind its threads to the same ones.
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(names),
            # The script then becomes the Erlang machine, and does not stay as its parent.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _configure(self, home: Path, own: Certificates, node: str) -> None:
        home.mkdir()
        (home / "plugins").write_text("[rabbitmq_auth_mechanism_ssl, rabbitmq_shovel].\n")
        (home / "definitions.json").write_text(json.dumps(self._definitions(own, node), indent=1))
        (home / "rabbitmq.conf").write_text(
            f"""
listeners.tcp = none
listeners.ssl.1 = 127.0.0.1:{self.clients().ports[node]}
ssl_options.cacertfile = {own.authority}
ssl_options.certfile = {own.certificate(node)}
ssl_options.keyfile = {own.key(node)}
ssl_options.versions.1 = tlsv1.3
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
auth_mechanisms.1 = EXTERNAL
ssl_cert_login_from = common_name
load_definitions = {home / "definitions.json"}
"""
        )

    def _definitions(self, own: Certificates, node: str) -> Mapping[str, object]:
        """Users, exchanges, queues and shovels of a broker."""
        recipients = NODES[1:]
        if node == "origin":
            bound = {f"to-{recipient}-{key}": (EXCHANGE, key) for recipient in recipients for key in (FLASH, OTHER)}
        else:
            bound = {UNREAD: (UNREAD, "#")}
        users = (CLIENT, *(recipients if node == "origin" else (node,)))
        exchange: dict[str, object] = {"name": EXCHANGE, "type": "topic", "arguments": {}}
        unread: dict[str, object] = {"name": UNREAD, "type": "fanout", "arguments": {}}
        if node != "origin":
            exchange["arguments"] = {"alternate-exchange": UNREAD}
        here = {"vhost": "/", "durable": True, "auto_delete": False}
        return {
            "vhosts": [{"name": "/"}],
            "users": [
                {"name": user, "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ""}
                for user in users
            ],
            "permissions": [
                {"user": user, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"} for user in users
            ],
            "exchanges": [{**here, "internal": False, **made} for made in (exchange, unread)],
            "queues": [{**here, "name": queue, "arguments": QUORUM} for queue in bound],
            "bindings": [
                {
                    "vhost": "/",
                    "source": source,
                    "destination": queue,
                    "destination_type": "queue",
                    "routing_key": key,
                    "arguments": {},
                }
                for queue, (source, key) in bound.items()
            ],
            "parameters": [] if node == "origin" else [self._shovel(own, node, key) for key in (FLASH, OTHER)],
        }

    def _shovel(self, own: Certificates, node: str, key: str) -> Mapping[str, object]:
        shown = {
            "cacertfile": own.authority,
            "certfile": own.certificate(node),
            "keyfile": own.key(node),
            "verify": "verify_peer",
            "auth_mechanism": "external",
        }
        return {
            "component": "shovel",
            "vhost": "/",
            "name": f"{key}-from-origin",
            "value": {
                "src-protocol": "amqp091",
                "src-uri": f"amqps://127.0.0.1:{self.clients().ports['origin']}?{urlencode(shown, safe='/')}",
                "src-queue": f"to-{node}-{key}",
                "src-prefetch-count": UNACKNOWLEDGED,
                "dest-protocol": "amqp091",
                # Within the broker itself: no connection.
                "dest-uri": f"amqp://{node}@",
                "dest-exchange": EXCHANGE,
                "ack-mode": "on-confirm",
                "reconnect-delay": 1,
            },
        }

    def clients(self) -> RabbitClients:
        """See `bench.system.System`."""
        assert self._clients is not None
        return self._clients

    def processes(self) -> Mapping[str, int]:
        """See `bench.system.System`."""
        return {node.replace("-", " "): server.pid for node, server in self._servers.items()}

    async def stop(self) -> None:
        """See `bench.system.System`."""
        # The directory of names last: brokers that end take themselves out of it.
        for names in (NODES, ("epmd",)):
            await asyncio.gather(*(self._servers[name].stop() for name in names if name in self._servers))
        self._servers.clear()
