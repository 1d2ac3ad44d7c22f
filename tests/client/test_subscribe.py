"""Receiving: every item once, in order, whatever the connection does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from signalfire.v1 import c2_pb2, report_pb2

from gateway.client import CaughtUp, ClientError, CursorTooOld, Received, Withdrawn
from gateway.client.receiving import Item
from tests.client.steered import Context, Home, Steered, Subscribing, settle
from tests.patience import PATIENCE_S

EXERCISE = [report_pb2.TRAFFIC_CLASS_EXERCISE]
Items = AsyncIterator[Sequence[c2_pb2.Item]]


def delivery(number: int) -> c2_pb2.Item:
    report = report_pb2.Report(report_id=f"report-{number}")
    return c2_pb2.Item(
        cursor=f"c{number}", delivery=c2_pb2.Delivery(report=report, received_from="KOR", ledger="line", index=number)
    )


def caught_up(number: int) -> c2_pb2.Item:
    return c2_pb2.Item(cursor=f"c{number}", caught_up=c2_pb2.CaughtUp())


def unknown(number: int) -> c2_pb2.Item:
    """A kind of item of a later version: field 15 of the item, which this version does not define."""
    return c2_pb2.Item.FromString(c2_pb2.Item(cursor=f"c{number}").SerializeToString() + b"\x7a\x02\x08\x01")


def giving(items: Sequence[c2_pb2.Item], code: grpc.StatusCode | None = None, *, at_once: int = 1) -> Subscribing:
    """Gives these, so many in a message, and then ends with `code`, or stays quiet."""

    async def behave(request: c2_pb2.SubscribeRequest, context: Context) -> Items:
        for begin in range(0, len(items), at_once):
            yield items[begin : begin + at_once]
        if code is not None:
            await context.abort(code, "gone")
        await asyncio.Event().wait()

    return behave


async def until_caught_up(home: Home, service: Steered, **wanted: str) -> list[Item]:
    async with asyncio.timeout(PATIENCE_S), home.serving(service) as address:
        return [item async for item in home.dial(address).subscribe(EXERCISE, follow=False, **wanted)]  # type: ignore[arg-type]  # only texts are given here


@pytest.mark.parametrize("at_once", [1, 2])
async def test_a_subscription_goes_on_after_the_last_item_that_it_gave(home: Home, at_once: int) -> None:
    service = Steered(
        subscribing=[
            giving([delivery(1), delivery(2)], grpc.StatusCode.UNAVAILABLE, at_once=at_once),
            giving([], grpc.StatusCode.UNAVAILABLE),
            giving([delivery(3)], grpc.StatusCode.CANCELLED),
            giving([delivery(4), caught_up(4)], at_once=at_once),
        ]
    )
    items = await until_caught_up(home, service, cursor="c0")
    assert [item.cursor for item in items] == ["c1", "c2", "c3", "c4", "c4"]
    assert [request.cursor for request in service.subscriptions] == ["c0", "c2", "c2", "c3"]


@pytest.mark.parametrize("at_once", [1, 3])
async def test_without_follow_it_ends_when_it_has_caught_up_and_with_it_goes_on(home: Home, at_once: int) -> None:
    service = Steered(subscribing=[giving([delivery(1), caught_up(1), delivery(2)], at_once=at_once)])
    assert [type(item) for item in await until_caught_up(home, service)] == [Received, CaughtUp]
    async with asyncio.timeout(PATIENCE_S), home.serving(service) as address:
        following = home.dial(address).subscribe(EXERCISE)
        assert [type(await anext(following)) for _ in range(3)] == [Received, CaughtUp, Received]
        await following.aclose()  # type: ignore[attr-defined]  # it is an async generator


async def test_an_item_of_a_kind_that_this_version_does_not_know_is_passed_over_and_not_asked_for_again(
    home: Home,
) -> None:
    service = Steered(
        subscribing=[
            giving([delivery(1), unknown(2)], grpc.StatusCode.UNAVAILABLE),
            giving([delivery(3), caught_up(3)]),
        ]
    )
    items = await until_caught_up(home, service)
    assert [item.cursor for item in items] == ["c1", "c3", "c3"]
    assert [request.cursor for request in service.subscriptions] == ["", "c2"]


async def test_items_hold_what_the_contract_says(home: Home) -> None:
    when = datetime(2026, 5, 1, 12, tzinfo=UTC)
    delivered = delivery(1)
    delivered.delivery.received_time.FromDatetime(when)
    delivered.delivery.pq_pending = delivered.delivery.withdrawn = True
    notice = c2_pb2.WithdrawalNotice(
        report_id="report-1",
        originator_node="KOR",
        traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE,
        precedence=report_pb2.PRECEDENCE_FLASH,
    )
    notice.time.FromDatetime(when)
    notice.received_time.FromDatetime(when)
    withdrawal = c2_pb2.Item(cursor="c2", withdrawal=notice)
    items = await until_caught_up(home, Steered(subscribing=[giving([delivered, withdrawal, caught_up(2)])]))
    assert items == [
        Received("c1", delivered.delivery.report, "KOR", "line", 1, when, True, True),
        Withdrawn("c2", "report-1", "KOR", when, report_pb2.TRAFFIC_CLASS_EXERCISE, report_pb2.PRECEDENCE_FLASH, when),
        CaughtUp("c2"),
    ]


async def test_everything_that_is_asked_for_reaches_the_gateway_also_after_a_lost_connection(home: Home) -> None:
    service = Steered(
        subscribing=[giving([delivery(1)], grpc.StatusCode.UNAVAILABLE), giving([caught_up(1)])],
    )
    async with asyncio.timeout(PATIENCE_S), home.serving(service) as address:
        items = home.dial(address).subscribe(
            EXERCISE,
            cursor="c0",
            kinds=[c2_pb2.REPORT_KIND_TRACK],
            originator_nodes=["KOR"],
            minimum_precedence=report_pb2.PRECEDENCE_IMMEDIATE,
            include_own=True,
            follow=False,
        )
        async for _ in items:
            pass
    wanted = c2_pb2.SubscribeRequest(
        cursor="c0",
        traffic_classes=EXERCISE,
        kinds=[c2_pb2.REPORT_KIND_TRACK],
        originator_nodes=["KOR"],
        minimum_precedence=report_pb2.PRECEDENCE_IMMEDIATE,
        include_own=True,
    )
    resumed = c2_pb2.SubscribeRequest()
    resumed.CopyFrom(wanted)
    resumed.cursor = "c1"
    assert service.subscriptions == [wanted, resumed]


async def test_a_refused_subscription_is_an_error_that_says_why(home: Home) -> None:
    service = Steered(subscribing=[giving([], grpc.StatusCode.PERMISSION_DENIED)])
    with pytest.raises(ClientError, match="PERMISSION_DENIED: gone"):
        await until_caught_up(home, service)


async def test_a_cursor_that_is_too_old_is_an_error_of_its_own(home: Home) -> None:
    service = Steered(subscribing=[giving([], grpc.StatusCode.OUT_OF_RANGE)])
    with pytest.raises(CursorTooOld, match=r"^gone$"):
        await until_caught_up(home, service)


async def test_a_subscriber_may_be_cancelled_while_nothing_comes(home: Home) -> None:
    async with asyncio.timeout(PATIENCE_S), home.serving(Steered(subscribing=[giving([delivery(1)])])) as address:
        got = asyncio.Event()

        async def receive() -> None:
            async for _ in home.dial(address).subscribe(EXERCISE):
                got.set()

        receiving = asyncio.create_task(receive())
        await got.wait()
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving


async def test_the_state_of_a_gateway_that_answers_is_told_and_one_that_does_not_is_a_connection_error(
    home: Home,
) -> None:
    async with home.serving(Steered()) as address:
        assert (await home.dial(address).status()).node == "JPN"
    with pytest.raises(ConnectionError, match=address):
        await home.dial(address).status()


async def test_a_server_of_another_nation_is_not_believed(home: Home, tmp_path: Path) -> None:
    elsewhere = settle(tmp_path, "KOR")
    async with elsewhere.serving(Steered()) as address:
        with pytest.raises(ClientError, match="not of the nation of these credentials"):
            await home.dial(address).status()
