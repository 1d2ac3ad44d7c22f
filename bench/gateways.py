"""Signalfire as a system to compare: three nations, each gateway a process, with everything on.

JPN is the origin, KOR and USA are the recipients. Each has its keys and its policy, JPN's with fifty rules for each
partner (`bench/policy50.py`); every report is decided, copied, sealed, signed and put on record, every batch verified,
opened and receipted, every commit is signed again after quantum computers. Of the limits only those differ from what a
new installation has that would bound one C2 system (its quota, and how much of what it pushes may wait).

C2 systems use the generated stubs and nothing else; those of `LibraryGateways` use the client library.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.client.connection import Connector, Credentials

# isort: split
import grpc
from signalfire.v1 import c2_pb2, c2_pb2_grpc, report_pb2

from bench import policy50
from bench.system import Clients, SystemFailed
from gateway.client import CaughtUp, ClientError, Received
from gateway.client.sending import REQUEST_REPORTS
from gateway.demo.deployment import GATEWAY_NAME, PUSHER, READER, Deployed, Gateway, deploy
from gateway.demo.errors import DemoError
from gateway.identity.spiffe import Role, SpiffeId, dns_name

EXAMPLES: Final = policy50.EXAMPLE.parent
_PARTS: Final = {"JPN": "origin", "KOR": "recipient", "USA": "recipient 2"}
_MAX_AGE_S: Final = 3600.0
FIRST_START_S: Final = 600.0
"""A first start proves the policy, which takes half a minute of a processor."""
LINKED_S: Final = 60.0

LIMITS: Final[Mapping[str, object]] = {
    "reports": {"flag_behind_s": _MAX_AGE_S, "max_age_s": _MAX_AGE_S},
    "orders": {"max_proof_s": FIRST_START_S},
    "quotas": {
        "reports_s": 1_000_000,
        "reports_burst": 1 << 30,
        "bytes_s": 1 << 32,
        "bytes_burst": 1 << 40,
        "alerts_s": 1_000_000,
        "alerts_burst": 1 << 30,
    },
    "c2": {"in_flight": 65_536},
    # ROUTINE fills half of it, and one C2 system half of that.
    "commits": {"queue": 65_536, "queue_bytes": 1 << 28},
}


@dataclass(frozen=True, slots=True)
class StubClients:
    """See `bench.system.Clients`: C2 systems that use the generated stubs."""

    origin: Deployed
    recipient: Deployed

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[StubProducer]:
        """See `bench.system.Clients`."""
        async with _dialled(self.origin, PUSHER) as channel:
            yield StubProducer(c2_pb2_grpc.C2ServiceStub(channel))

    @contextlib.asynccontextmanager
    async def subscriber(self, *, alerts: bool) -> AsyncIterator[AsyncIterator[report_pb2.Report]]:
        """See `bench.system.Clients`."""
        request = c2_pb2.SubscribeRequest(
            traffic_classes=[report_pb2.TRAFFIC_CLASS_EXERCISE], minimum_precedence=_lowest(alerts)
        )
        async with _dialled(self.recipient, READER) as channel:
            call = c2_pb2_grpc.C2ServiceStub(channel).Subscribe(request)
            responses = aiter(call)
            # What was there before is passed over; then the subscription is in force.
            while not (await anext(responses)).items[-1].HasField("caught_up"):
                pass
            yield _delivered(responses)
            call.cancel()


class StubProducer:
    """Submits over one connection; each `submit` is a stream."""

    def __init__(self, stub: c2_pb2_grpc.C2ServiceAsyncStub) -> None:
        self._stub = stub

    async def submit(self, reports: AsyncIterator[report_pb2.Report], in_flight: int) -> AsyncIterator[str]:
        """See `bench.system.Producer`."""
        call = self._stub.Submit()
        room = asyncio.Semaphore(in_flight)
        given: asyncio.Queue[report_pb2.Report | None] = asyncio.Queue()

        async def take() -> None:
            async for report in reports:
                await room.acquire()
                given.put_nowait(report)
            given.put_nowait(None)

        async def write() -> None:
            last = False
            while not last:
                # What came while the request before was written goes in one.
                some = [await given.get()]
                while len(some) < REQUEST_REPORTS and not given.empty():
                    some.append(given.get_nowait())
                last = some[-1] is None
                if together := [report for report in some if report is not None]:
                    await call.write(c2_pb2.SubmitRequest(reports=together))
            await call.done_writing()

        working = [asyncio.create_task(work()) for work in (take, write)]
        try:
            async for response in call:
                for answer in response.answers:
                    if not answer.HasField("accepted"):
                        raise SystemFailed(f"JPN refused a report: {answer}")
                    room.release()
                    yield answer.report_id
            await asyncio.gather(*working)
        except grpc.aio.AioRpcError as error:
            raise SystemFailed(f"JPN ended a submission: {error.code().name}: {error.details()}") from error
        finally:
            for task in working:
                task.cancel()
            call.cancel()


async def _delivered(responses: AsyncIterator[c2_pb2.SubscribeResponse]) -> AsyncIterator[report_pb2.Report]:
    try:
        async for response in responses:
            for item in response.items:
                if item.HasField("delivery"):
                    yield item.delivery.report
    except grpc.aio.AioRpcError as error:
        raise SystemFailed(f"KOR ended a subscription: {error.code().name}: {error.details()}") from error


def _dialled(place: Deployed, name: str) -> AbstractAsyncContextManager[grpc.aio.Channel]:
    credentials = Credentials.from_directory(place.directory / "c2" / name)
    server_name = dns_name(SpiffeId.of(place.node, Role.GATEWAY, GATEWAY_NAME))
    return Connector(credentials, place.national, server_name, None).dial()


def _lowest(alerts: bool) -> report_pb2.Precedence.ValueType:
    return report_pb2.PRECEDENCE_FLASH if alerts else report_pb2.PRECEDENCE_UNSPECIFIED


@dataclass(frozen=True, slots=True)
class LibraryClients:
    """See `bench.system.Clients`: C2 systems that use the client library."""

    origin: Deployed
    recipient: Deployed

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[LibraryProducer]:
        """See `bench.system.Clients`."""
        yield LibraryProducer(self.origin)

    @contextlib.asynccontextmanager
    async def subscriber(self, *, alerts: bool) -> AsyncIterator[AsyncIterator[report_pb2.Report]]:
        """See `bench.system.Clients`."""
        items = self.recipient.client(READER).subscribe(
            [report_pb2.TRAFFIC_CLASS_EXERCISE], minimum_precedence=_lowest(alerts)
        )
        while not isinstance(await anext(items), CaughtUp):
            pass
        yield (item.report async for item in items if isinstance(item, Received))


class LibraryProducer:
    """Submits by the client library; each `submit` is a connection."""

    def __init__(self, place: Deployed) -> None:
        self._client = place.client(PUSHER)

    async def submit(self, reports: AsyncIterator[report_pb2.Report], in_flight: int) -> AsyncIterator[str]:
        """See `bench.system.Producer`."""
        try:
            async for result in self._client.submit(reports, in_flight=in_flight):
                if not result.accepted:
                    raise SystemFailed(f"JPN refused a report: {result.violations}")
                yield result.report_id
        except ClientError as error:
            raise SystemFailed(f"JPN refused a submission: {error}") from error


class Gateways:
    """Three gateways. `small`: under the example policy, which is proved in no time, for tests of the benchmark."""

    name = "signalfire"

    def __init__(self, *, small: bool = False) -> None:
        self._small = small
        self._prepared: Path | None = None
        self._places: Mapping[str, Deployed] = {}
        self._running: dict[str, Gateway] = {}

    async def start(self, directory: Path) -> None:
        """See `bench.system.System`."""
        try:
            if self._prepared is None:
                self._prepared = await self._prepare()
            shutil.copytree(self._prepared, directory, dirs_exist_ok=True)
            await self._run(directory)
        except (DemoError, TimeoutError) as error:
            raise SystemFailed(f"Signalfire does not start: {error}") from error

    async def _prepare(self) -> Path:
        """Deploys the nations once, and puts their policies in force: proving them would be most of every start."""
        directory = Path(tempfile.mkdtemp())
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        policies = {node: EXAMPLES / node.lower() for node in _PARTS}
        with tempfile.TemporaryDirectory() as written:
            if not self._small:
                policies["JPN"] = Path(written) / "jpn"
                policy50.write(policies["JPN"])
            self._places = deploy(
                directory, policies, now=datetime.now(UTC), max_age_s=_MAX_AGE_S, changes={"limits": LIMITS}
            )
        await self._run(directory)
        await self.stop()
        return directory

    async def _run(self, directory: Path) -> None:
        """Starts the gateways in `directory`, and waits until each follows each."""
        self._places = {
            node: Deployed(node, directory / node.lower(), place.national, place.exchange)
            for node, place in self._places.items()
        }
        self._running = {node: Gateway(place) for node, place in self._places.items()}
        for gateway in self._running.values():
            gateway.start()
        for gateway in self._running.values():
            await gateway.ready(FIRST_START_S)
        async with asyncio.timeout(LINKED_S):
            for place in self._places.values():
                await _linked(place)

    def clients(self) -> Clients:
        """See `bench.system.System`."""
        return StubClients(self._places["JPN"], self._places["KOR"])

    def processes(self) -> Mapping[str, int]:
        """See `bench.system.System`."""
        return {_PARTS[node]: gateway.pid for node, gateway in self._running.items() if gateway.pid is not None}

    async def stop(self) -> None:
        """See `bench.system.System`."""
        for gateway in self._running.values():
            gateway.tell_to_stop()
        for gateway in self._running.values():
            gateway.stop()
        self._running.clear()


class LibraryGateways(Gateways):
    """The same with C2 systems that use the client library: what it costs them."""

    name = "signalfire-library"

    def clients(self) -> Clients:
        """See `bench.system.System`."""
        return LibraryClients(self._places["JPN"], self._places["KOR"])


async def _linked(place: Deployed) -> None:
    """Returns once a gateway follows each of its partners, and is followed by each."""
    while True:
        status = await place.officer().status()
        if status.accepting and all(partner.following and partner.followed for partner in status.partners):
            return
        await asyncio.sleep(0.1)
