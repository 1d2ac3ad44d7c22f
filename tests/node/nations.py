"""Gateways of several nations in this process: deployed as `gateway.demo.deployment` writes them, on the loopback.

A `World` runs real nodes. Its inboxes are subscriptions that never end, one a nation, so that a test waits for a report
and not for a time. A world that is left checks that none of its gateways ended by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import apsw
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway import config as configuration
from gateway.client import CaughtUp, Received, Result, Withdrawn
from gateway.clock import Clock
from gateway.demo.deployment import PUSHER, READER, Deployed, approve, deploy
from gateway.identity import issuing
from gateway.ledger.origin import WITNESS, Origin
from gateway.ledger.stores import CosignatureKind, LedgerRow
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.node import Node
from gateway.release.plan import LATEST_TIME
from gateway.reports.kinds import Kind
from policy import Bundle
from policy.approve.proofs import Proofs
from tests.node.waiting import EVERY_CLASS, Inbox, until
from tests.patience import PATIENCE_S
from tests.reports import examples

TRILATERAL: Final = Path(__file__).parents[2] / "policy" / "examples" / "trilateral"

NARROW, UNGRANTED = "narrow", "stranger"
"""C2 systems of every nation: one with few grants, and one with none."""


class _Remembered:
    """The gateway's own proofs, each made once in a run of the tests: every world puts the same policies in force."""

    def __init__(self) -> None:
        self._proofs = Proofs(time.monotonic)
        self._unproved: dict[bytes, Sequence[str]] = {}
        self._loosening: dict[tuple[bytes, bytes], str] = {}

    def within(self, _: timedelta) -> _Remembered:
        return self

    def unproved(self, bundle: Bundle) -> Sequence[str]:
        if bundle.digest not in self._unproved:
            self._unproved[bundle.digest] = self._proofs.unproved(bundle)
        return self._unproved[bundle.digest]

    def loosening(self, old: Bundle, new: Bundle) -> str:
        both = (old.digest, new.digest)
        if both not in self._loosening:
            self._loosening[both] = self._proofs.loosening(old, new)
        return self._loosening[both]


PROOFS: Final = _Remembered()

_ALL_KINDS: Final = ["LaunchDetection", "Track", "ImpactPrediction", "Correction", "Cancellation", "AllClear"]
_CLASSES: Final = ["LIVE", "EXERCISE", "TEST"]

CLIENTS: Final[Mapping[str, Any]] = {
    PUSHER: {
        "push": {
            "stations": ["*"],
            "kinds": _ALL_KINDS,
            "traffic_classes": [*_CLASSES],
            "precedences": ["FLASH", "IMMEDIATE", "PRIORITY", "ROUTINE"],
            "ceiling": "TOP_SECRET",
        }
    },
    READER: {
        "read": {
            "traffic_classes": [*_CLASSES],
            "ceiling": "TOP_SECRET",
            "caveats": ["SPACE-DERIVED", "KOR-USA ONLY"],
        }
    },
    NARROW: {
        "push": {
            "stations": ["radar-1", "ship-*"],
            "kinds": ["LaunchDetection"],
            "traffic_classes": ["EXERCISE"],
            "precedences": ["FLASH"],
            "ceiling": "CONFIDENTIAL",
        },
        "read": {"traffic_classes": ["LIVE"], "ceiling": "CONFIDENTIAL", "caveats": ["SPACE-DERIVED"]},
    },
}

QUICK_EXCHANGE: Final = {
    "heartbeat_s": 0.1,
    "silence_s": 5.0,
    "handshake_s": 10.0,
    "backoff_min_s": 0.02,
    "backoff_max_s": 0.1,
}


def settle(
    directory: Path, *nodes: str, limits: Mapping[str, Mapping[str, object]] | None = None
) -> dict[str, Deployed]:
    """Writes the deployment of these nations, all partners of each other, under the trilateral example policies.

    `limits` are settings of the configuration's sections of that name, over those that make tests quick.
    """
    now = datetime.now(UTC)
    sections = {name: dict(section) for name, section in (limits or {}).items()}
    sections["exchange"] = {**QUICK_EXCHANGE, **sections.get("exchange", {})}
    # One beat, at the start: stores then hold still unless something happens.
    sections["witness"] = {"interval_s": 3600, **sections.get("witness", {})}
    places = deploy(
        directory,
        {node: TRILATERAL / node.lower() for node in nodes},
        now=now,
        max_age_s=3600,
        changes={"clients": dict(CLIENTS), "limits": sections},
    )
    for node, place in places.items():
        for name in (NARROW, UNGRANTED):
            issuing.issue_c2(place.directory / "pki", name, place.directory / "c2" / name, now=now)
        # Of the trilateral policies only those towards nations that are here.
        for policy in (place.directory / "policy" / "partners").glob("*.yaml"):
            if policy.stem not in nodes:
                policy.unlink()
        approve(place, now=now)
        assert node == place.node
    return places


# --- reports


def report(kind: Kind = Kind.LAUNCH_DETECTION, node: str = "JPN", **changes: Any) -> report_pb2.Report:
    """A valid report of `node` made just now, that the example policies release; changes as in `tests.reports`."""
    made = examples.EXAMPLES[kind]()
    made.report_id = str(uuid.uuid4())
    made.originator_node = node
    made.marking.policy = node
    del made.marking.caveats[:]
    del made.marking.onward_release[:]
    made.marking.releasable_to[:] = sorted({"JPN", "KOR", "USA"} - {node})
    _shift(made, time.time_ns() - examples.NOW)
    return examples.change(made, **changes)


def cancellation(*report_ids: str, node: str = "JPN", **changes: Any) -> report_pb2.Report:
    """A cancellation of these reports."""
    return report(Kind.CANCELLATION, node, cancellation__report_ids=report_ids, **changes)


def _shift(message: Message, by_ns: int) -> None:
    if isinstance(message, Timestamp):
        message.FromNanoseconds(message.ToNanoseconds() + by_ns)
        return
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for each in value if isinstance(value, Sequence) or hasattr(value, "add") else [value]:
                _shift(each, by_ns)


# --- running


@dataclass(slots=True)
class Wall:
    """A machine's wall clock, which a test sets; it runs as this machine's does."""

    offset_ns: int = 0

    def set(self, seconds: float) -> None:
        """Sets it so far ahead of this machine's."""
        self.offset_ns = int(seconds * 1e9)

    def clock(self) -> Clock:
        """The clocks of that machine."""
        return Clock(now_ns=lambda: time.time_ns() + self.offset_ns)


@dataclass(slots=True)
class World:
    """Gateways that are running."""

    places: Mapping[str, Deployed]
    nodes: dict[str, Node] = field(default_factory=dict)
    inboxes: dict[str, Inbox] = field(default_factory=dict)
    walls: defaultdict[str, Wall] = field(default_factory=lambda: defaultdict(Wall))
    _serving: dict[str, list[asyncio.Task[None]]] = field(default_factory=dict)

    async def start(self, name: str, *, restored: bool = False) -> Node:
        """Starts one nation's gateway, and a C2 system that receives from it."""
        config = configuration.load(self.places[name].config)
        node = Node(config, self.walls[name].clock(), restored=restored, prover=PROOFS)
        try:
            await node.start()
        except BaseException:  # also where the test itself is cancelled: no port stays taken
            await node.stop()
            raise
        inbox = Inbox()
        self.nodes[name], self.inboxes[name] = node, inbox
        self._serving[name] = [
            asyncio.create_task(node.serve()),
            asyncio.create_task(inbox.fill(self.places[name].client(READER))),
        ]
        return node

    async def stop(self, name: str) -> None:
        """Stops it. Raises AssertionError when it had ended by itself."""
        serving, receiving = self._serving.pop(name)
        ended = serving.exception() if serving.done() else None
        for task in (receiving, serving):
            task.cancel()
        await asyncio.gather(serving, receiving, return_exceptions=True)
        await self.nodes.pop(name).stop()
        assert ended is None, f"the gateway of {name} ended by itself: {ended!r}"

    async def linked(self) -> None:
        """Returns when every gateway follows every other one in all lanes, hears it, and holds its first beat."""
        for name in self.nodes:
            for other in set(self.nodes) - {name}:
                await until(lambda name=name, other=other: self.following(name, other), f"{name} follows {other}")  # type: ignore[misc]
                await until(lambda name=name, other=other: self.witnessed(name, other), f"{name} signed for {other}")  # type: ignore[misc]

    def following(self, name: str, other: str) -> bool:
        """Whether `name` follows `other` in all lanes, and hears it."""
        status = self.status(name, other)
        return status.following and not status.problem and self.lanes_followed(other, name) == 5

    def witnessed(self, name: str, other: str) -> bool:
        """Whether `other` holds the receipt of `name` for a beat of its witness ledger."""
        node = self.nodes[other]
        head = node.parts.sequencer.head(node.parts.sequencer.current(other, None, WITNESS))
        kind = CosignatureKind.RECEIPT
        return head is not None and node.parts.store.read().cosignature(head.id, kind, name, head.edge.size) is not None

    def lanes_followed(self, origin: str, follower: str) -> int:
        """Lanes of `origin` that `follower` follows now, the witness ledger among them, as `origin` sees it."""
        link = self.nodes[origin].parts.partners.links[follower]
        return sum(count > 0 for count in link.followed.values())

    def status(self, name: str, partner: str) -> c2_pb2.PartnerStatus:
        """What `name` says of its link with `partner`."""
        return next(each for each in self.nodes[name].status().partners if each.node == partner)

    def metric(self, name: str, metric: str, **labels: str) -> float:
        """A metric of one gateway; 0 where it was never counted."""
        return self.nodes[name].telemetry.registry.get_sample_value(metric, labels) or 0.0

    # --- C2 systems

    async def push(self, name: str, *reports: report_pb2.Report, system: str = PUSHER) -> dict[str, Result]:
        """Pushes reports through the client library; answers by identifier."""
        async with asyncio.timeout(PATIENCE_S):
            return {result.report_id: result async for result in self.places[name].client(system).submit(reports)}

    async def push_one(self, name: str, pushed: report_pb2.Report, system: str = PUSHER) -> Result:
        """Pushes one report."""
        (result,) = (await self.push(name, pushed, system=system)).values()
        return result

    async def carries(self, origin: str, *recipients: str) -> report_pb2.Report:
        """Pushes a good report and returns it once `recipients` have it: the gateways serve on."""
        good = report(node=origin, launch_detection__sensor_modality=report_pb2.SENSOR_MODALITY_SPACE_INFRARED)
        result = await self.push_one(origin, good)
        assert result.accepted, result
        for recipient in recipients:
            delivered = await self.inboxes[recipient].report(good.report_id)
            assert delivered.received_from == origin
        return good

    async def collect(
        self, name: str, classes: Iterable[Any] = EVERY_CLASS, **options: Any
    ) -> list[Received | Withdrawn | CaughtUp]:
        """Everything that a subscription gives up to the moment of the call, `CaughtUp` included."""
        system = options.pop("system", READER)
        async with asyncio.timeout(PATIENCE_S):
            subscription = self.places[name].client(system).subscribe(classes, follow=False, **options)
            return [item async for item in subscription]

    async def decisions(self, name: str, report_id: str) -> dict[str, ledger_pb2.Decision]:
        """What was decided about a report, by partner, as the officer sees it."""
        async with asyncio.timeout(PATIENCE_S):
            async for record in self.places[name].officer().watch_decisions():
                if record.decision_record.report_id == report_id:
                    return {decision.partner: decision for decision in record.decision_record.decisions}
        raise AssertionError(f"{name} recorded no decision about {report_id}")

    async def event(self, name: str, kind: str) -> ledger_pb2.NodeEvent:
        """The first event of that kind on record."""
        async with asyncio.timeout(PATIENCE_S):
            async for record in self.places[name].officer().watch_decisions():
                if record.node_event.kind == kind:
                    return record.node_event
        raise AssertionError(f"{name} recorded no event {kind}")

    def ledger(self, name: str, origin: Origin | str) -> LedgerRow | None:
        """A ledger as the store of `name` holds it."""
        reader = SqliteReader(self.places[name].store)
        try:
            return reader.ledger(Origin.parse(str(origin)))
        finally:
            reader.close()


@contextlib.asynccontextmanager
async def running(places: Mapping[str, Deployed], *names: str, linked: bool = True) -> AsyncIterator[World]:
    """Runs the gateways of these nations, or of all, on fresh stores."""
    world = World(places)
    try:
        for name in names or tuple(places):
            forget(places[name])
            await world.start(name)
        if linked:
            await world.linked()
        yield world
    finally:
        # All at once: each waits for streams that another keeps open.
        outcomes = await asyncio.gather(*(world.stop(name) for name in list(world.nodes)), return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


def forget(place: Deployed) -> None:
    """Takes away the store of a gateway that does not run."""
    for path in place.directory.glob("store.db*"):
        path.unlink()


def holdings(place: Deployed) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of a store, but for the further signatures that come by themselves, and the time."""
    # Through the one library of the process: a second SQLite in it would break the locks of the first.
    with contextlib.closing(apsw.Connection(str(place.store), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        tables = [str(name) for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        held = {
            table: sorted(db.execute(f"SELECT * FROM {table}"), key=repr) for table in tables if table != "cosignature"
        }
        return held | {"meta": [row for row in held["meta"] if row[0] != LATEST_TIME]}
