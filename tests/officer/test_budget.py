"""Nobody fills the disk with records of his looks and of refused orders; and nothing keeps a good order from force."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from signalfire.v1 import officer_pb2, officer_pb2_grpc

from gateway.client import ClientError
from gateway.demo.deployment import Deployed
from gateway.identity.officer_keys import read_officer_key
from gateway.officer.access import MAX_ASKED, PUSHBACK
from gateway.officer.budget import LEAST, Budget
from policy.approve import Order, SignedOrder, Suspend, encode, sign
from tests.node.connecting import as_officer
from tests.node.nations import World, running, settle

LOOKS = 16
"""How many looks the bucket of the gateway here holds."""


def test_a_bucket_gives_what_it_holds_at_once_and_then_what_comes_in() -> None:
    now = [0.0]
    budget = Budget(LEAST / 4, LEAST * 3, lambda: now[0])
    assert [budget.wait_s("a", 1) for _ in range(3)] == [0, 0, 0]
    assert budget.wait_s("a", 1) == 4
    assert budget.wait_s("b", 1) == 0, "each has a bucket of his own"
    now[0] = 3.0
    assert budget.wait_s("a", 1) == 1
    now[0] = 4.0
    assert budget.wait_s("a", 1) == 0
    now[0] = 1000.0
    assert [budget.wait_s("a", LEAST * 2), budget.wait_s("a", LEAST * 2) > 0] == [0, True]


def test_what_is_larger_than_a_bucket_is_taken_from_a_full_one() -> None:
    now = [0.0]
    budget = Budget(1, LEAST, lambda: now[0])
    assert budget.wait_s("a", LEAST * 10) == 0
    assert budget.wait_s("a", 1) == LEAST


@pytest_asyncio.fixture
async def jpn(tmp_path: Path) -> AsyncIterator[tuple[World, Deployed]]:
    limits = {"officers": {"record_burst_bytes": LOOKS * LEAST, "record_bytes_per_s": 1.0}}
    places = settle(tmp_path, "JPN", "KOR", limits=limits)
    async with running({"JPN": places["JPN"]}, linked=False) as world:
        yield world, places["JPN"]


async def test_a_certificate_alone_fills_the_record_with_no_more_than_its_bucket(jpn: tuple[World, Deployed]) -> None:
    world, place = jpn
    async with as_officer(place) as opened:
        service = officer_pb2_grpc.OfficerServiceStub(opened)
        for _ in range(LOOKS):
            await service.SearchDecisions(officer_pb2.SearchDecisionsRequest())
        read = world.nodes["JPN"].parts.store.read
        size = {row.origin: row.size for row in read().ledgers() if row.origin.lane == "decisions"}
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError, match=r"would fill the disk; try again in \d+ s") as refused:
                await service.SearchDecisions(officer_pb2.SearchDecisionsRequest())
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert 0 < int(dict(refused.value.trailing_metadata())[PUSHBACK]) <= LEAST * 1000
        after = {row.origin: row.size for row in read().ledgers() if row.origin.lane == "decisions"}
        assert after == size
    # Who has looked too often can still bring an order; refused ones fill no more than their own bucket.
    officer = place.officer()
    for _ in range(LOOKS):
        assert (await officer.enact(await suspending(place))).refusals
    for _ in range(3):
        with pytest.raises(ClientError, match="RESOURCE_EXHAUSTED: the order was refused"):
            await officer.enact(await suspending(place))
    # And one that is in order is put in force at once.
    assert not (await officer.enact(await suspending(place, "alice"))).refusals
    assert "KOR" in world.nodes["JPN"].parts.governance.suspended


async def suspending(place: Deployed, *names: str) -> officer_pb2.SignedOrder:
    """The next order, which suspends KOR, signed by these officers."""
    status = await place.officer().policy_status()
    now = datetime.now(UTC)
    order = Order(
        place.node, status.sequence + 1, status.last_order_digest, now, now + timedelta(hours=1), Suspend("KOR", "Leak")
    )
    signed = SignedOrder(encode(order))
    for name in names:
        key = read_officer_key(place.officer_key(name))
        signed = sign(signed, key.name, key.node, key.seed)
    return signed.message()


async def test_what_was_asked_for_is_on_record_whole_whatever_decoys_stand_before_it(
    jpn: tuple[World, Deployed],
) -> None:
    _, place = jpn
    decoys = [f"{'z' * 250}{number}" for number in range(10)]
    wanted = officer_pb2.DecisionFilter(
        agreements=[*decoys, "trilateral-2023"], report_id=str(uuid.uuid4()), event_id="JPN-SECRET-1"
    )
    async with as_officer(place) as opened:
        service = officer_pb2_grpc.OfficerServiceStub(opened)
        asked = officer_pb2.SearchDecisionsRequest(filter=wanted, page_size=7, oldest_first=True)
        await service.SearchDecisions(asked)
        found = await service.SearchDecisions(
            officer_pb2.SearchDecisionsRequest(
                filter=officer_pb2.DecisionFilter(event_kinds=["audit-access"]), oldest_first=True
            )
        )
        event = found.entries[0].node_event
        assert officer_pb2.SearchDecisionsRequest.FromString(event.evidence[0]) == asked
        assert f"about the report {wanted.report_id}, about the event JPN-SECRET-1" in event.detail
        size = itertools.count(60)
        long = officer_pb2.DecisionFilter(rules=[f"{'z' * 250}{number}" for number in range(64)])
        long.agreements.extend(f"{'z' * 250}{next(size)}" for _ in range(10))
        assert long.ByteSize() > MAX_ASKED
        with pytest.raises(grpc.aio.AioRpcError, match=f"up to {MAX_ASKED} bytes") as refused:
            await service.SearchDecisions(officer_pb2.SearchDecisionsRequest(filter=long))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
