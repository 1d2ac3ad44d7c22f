"""Receiving what partners released, each item once, whatever happens to the connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import c2_pb2, c2_pb2_grpc, report_pb2

from gateway.client.connection import Connector
from gateway.client.pause import Pause


@dataclass(frozen=True, slots=True)
class Received:
    """A report, and where it came from (see `Delivery` in c2.proto)."""

    cursor: str
    report: report_pb2.Report
    received_from: str
    ledger: str
    index: int
    received_time: datetime
    pq_pending: bool
    withdrawn: bool


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A report that no longer stands (see `WithdrawalNotice` in c2.proto)."""

    cursor: str
    report_id: str
    originator_node: str
    time: datetime
    traffic_class: report_pb2.TrafficClass.ValueType
    precedence: report_pb2.Precedence.ValueType
    received_time: datetime


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything up to the moment of the call has been given; what follows is live."""

    cursor: str


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Item: TypeAlias = Received | Withdrawn | CaughtUp


async def subscribe(connector: Connector, request: c2_pb2.SubscribeRequest, follow: bool) -> AsyncIterator[Item]:
    """See `Client.subscribe`."""
    pause = Pause()
    while True:
        async with connector.attempt() as channel:
            async for response in c2_pb2_grpc.C2ServiceStub(channel).Subscribe(request):
                pause.reset()
                for given in response.items:
                    # From here on a new connection goes on after this item.
                    request.cursor = given.cursor
                    item = _item(given)
                    if item is not None:
                        yield item
                    if isinstance(item, CaughtUp) and not follow:
                        return
        await pause.wait()


def _item(given: c2_pb2.Item) -> Item | None:
    """An item as it is given; None for a kind of item that this version of the library does not know."""
    match given.WhichOneof("item"):
        case "delivery":
            delivery = given.delivery
            return Received(
                given.cursor,
                delivery.report,
                delivery.received_from,
                delivery.ledger,
                delivery.index,
                _time(delivery.received_time),
                delivery.pq_pending,
                delivery.withdrawn,
            )
        case "withdrawal":
            notice = given.withdrawal
            return Withdrawn(
                given.cursor,
                notice.report_id,
                notice.originator_node,
                _time(notice.time),
                notice.traffic_class,
                notice.precedence,
                _time(notice.received_time),
            )
        case "caught_up":
            return CaughtUp(given.cursor)
        case _:
            return None


def _time(stamp: Timestamp) -> datetime:
    """The same as `stamp.ToDatetime(UTC)` of a valid stamp, in a third of the time: each report has several."""
    return _EPOCH + timedelta(0, stamp.seconds, stamp.nanos // 1_000)
