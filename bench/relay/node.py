"""One node of the relay, a process: ``python -m bench.relay.node CONFIG``, where CONFIG is a JSON file of `Config`.

What a good engineer writes in an afternoon who needs none of what Signalfire is for: gRPC with mutual TLS, reports
parsed, serialised again for each partner and stored, many in a commit, synced before they are acknowledged; the partner
reads them as a stream of batches, stores them as well, gives them to its C2 systems and confirms. There is no policy,
signature, seal, ledger, receipt, quota or precedence.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import (
    KeyPairFiles,
    channel_credentials,
    channel_options,
    roots_from_files,
    server_credentials,
)

# isort: split
import grpc
from signalfire.v1 import report_pb2

from bench.relay import wire
from bench.relay.store import Arrived, Confirmed, Store, Submitted
from bench.relay.wire import Frame

FEED: Final = "feed"
"""The line that subscribers read."""
_OPTIONS: Final = [("grpc.max_receive_message_length", 4 << 20), ("grpc.so_reuseport", 0)]


@dataclass(frozen=True, slots=True)
class Config:
    """Of one node. Paths are absolute."""

    node: str
    keys: str
    """The node's keys and certificate, and the authority of its C2 systems."""
    store: str
    national: str
    exchange: str
    partner_authorities: tuple[str, ...]
    """Files with the authorities of all partners."""
    serves: tuple[str, ...] = ()
    """Partners for whom there is a line here."""
    follows: tuple[str, str] | None = None
    """Address and TLS name of the one whose line is read."""

    def write(self, path: Path) -> None:
        """Writes it."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Config:
        """The same read."""
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        # JSON knows lists alone.
        given: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in read.items()}
        return cls(**given)


class Node:
    """A node that runs."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pair = KeyPairFiles.of_gateway(Path(config.keys))
        self._store = Store(Path(config.store), [FEED, *config.serves])

    async def run(self) -> None:
        """Until it is ended."""
        await self._store.open()
        keys, config = Path(self._config.keys), self._config
        servers = [
            self._server(
                config.national,
                [keys / "c2-ca.crt.pem"],
                {
                    "Submit": grpc.stream_stream_rpc_method_handler(self._submit),
                    "Subscribe": grpc.unary_stream_rpc_method_handler(self._subscribe),
                },
            ),
            self._server(
                config.exchange,
                [Path(each) for each in config.partner_authorities],
                {"Follow": grpc.stream_stream_rpc_method_handler(self._follow)},
            ),
        ]
        for server in servers:
            await server.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store.run())
            if config.follows is not None:
                group.create_task(self._keep_following(*config.follows))

    def _server(self, address: str, authorities: list[Path], methods: dict[str, Any]) -> grpc.aio.Server:
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("relay.Relay", methods),))
        server.add_secure_port(address, server_credentials(self._pair, roots_from_files(*authorities)))
        return server

    # --- C2 systems

    async def _submit(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        taken = done = said = 0
        told = asyncio.Event()

        def durable() -> None:
            nonlocal done
            done += 1
            told.set()

        async def read() -> None:
            nonlocal taken
            async for message in requests:
                for frame in wire.decode(message):
                    taken += 1
                    await self._store.put(self._submitted(frame.body), durable)

        reading = asyncio.create_task(read())
        reading.add_done_callback(lambda _: told.set())
        try:
            while not reading.done() or said < taken:
                await told.wait()
                told.clear()
                said = done
                yield wire.encode_number(said)
            await reading
        finally:
            reading.cancel()

    def _submitted(self, body: bytes) -> Submitted:
        """Raises DecodeError."""
        report = report_pb2.Report.FromString(body)
        copies = {partner: report.SerializeToString() for partner in self._config.serves}
        return Submitted(report.report_id, report.precedence, body, copies)

    async def _subscribe(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        wish = wire.decode_wish(request)
        line = self._store.lines[FEED]
        number = min(wish.number, line.last)
        yield b""
        while True:
            frames = await self._store.after(line, number)
            number = frames[-1].number
            for message in wire.chunks([frame for frame in frames if frame.precedence >= wish.precedence], wish.chunk):
                yield message

    # --- partners

    async def _follow(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        (caller,) = context.auth_context()["peer_spiffe_id"]
        partner = SpiffeId.parse(caller.decode("ascii")).node
        line = self._store.lines[partner]
        number = wire.decode_number(await anext(requests))

        async def confirmed() -> None:
            async for message in requests:
                await self._store.put(Confirmed(partner, wire.decode_number(message)), lambda: None)

        confirming = asyncio.create_task(confirmed())
        try:
            while True:
                frames = await self._store.after(line, number)
                yield wire.encode(frames)
                number = frames[-1].number
        finally:
            confirming.cancel()

    async def _keep_following(self, address: str, server_name: str) -> None:
        roots = roots_from_files(*(Path(each) for each in self._config.partner_authorities))
        while True:
            credentials = channel_credentials(self._pair, roots)
            try:
                async with grpc.aio.secure_channel(
                    address, credentials, [*_OPTIONS, *channel_options(server_name)]
                ) as channel:
                    await self._read_line(channel)
            except grpc.aio.AioRpcError as error:
                print(f"{address}: {error.code().name}: {error.details()}", file=sys.stderr, flush=True)
            await asyncio.sleep(0.1)

    async def _read_line(self, channel: grpc.aio.Channel) -> None:
        call: Any = channel.stream_stream(wire.FOLLOW)()
        received = self._store.lines[FEED].last
        await call.write(wire.encode_number(received))
        told = asyncio.Event()

        def durable() -> None:
            told.set()

        async def confirm() -> None:
            while True:
                await told.wait()
                told.clear()
                await call.write(wire.encode_number(self._store.lines[FEED].last))

        confirming = asyncio.create_task(confirm())
        try:
            async for message in call:
                frames = [_checked(frame) for frame in wire.decode(message)]
                await self._store.put(Arrived(FEED, frames), durable)
        finally:
            confirming.cancel()


def _checked(frame: Frame) -> Frame:
    """A frame that holds a report. Raises DecodeError."""
    return frame._replace(precedence=report_pb2.Report.FromString(frame.body).precedence)


def main() -> None:
    """Runs the node of the configuration that the command line names."""
    asyncio.run(Node(Config.read(Path(sys.argv[1]))).run())


if __name__ == "__main__":
    main()
