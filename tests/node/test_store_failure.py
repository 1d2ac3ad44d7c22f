"""A gateway whose disk fails says so on every channel, loses nothing, and goes on by itself when the disk is well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from signalfire.v1 import c2_pb2, report_pb2

from gateway.client import Received
from gateway.ledger.errors import StoreDamaged
from tests.faults.disk import CHANGING, Disk, Fault, What
from tests.faults.vfs import register_default
from tests.node.connecting import as_officer, as_system, first_decision, request_of, submit_bytes
from tests.node.nations import World, report, running, settle
from tests.node.waiting import until

JPN_LOG = "jpn/store.db-wal"


@pytest.fixture
def disk() -> Iterator[Disk]:
    """Under the stores of all gateways of this process."""
    made = Disk(volatile=False)
    end = register_default(made)
    yield made
    end()


@pytest_asyncio.fixture
async def world(tmp_path: Path, disk: Disk) -> AsyncIterator[World]:
    places = settle(tmp_path, "JPN", "KOR", limits={"commits": {"reopen_s": 0.05}})
    async with running(places) as made:
        yield made
        disk.mend()


async def status_of(world: World, name: str) -> c2_pb2.GetStatusResponse:
    return await world.places[name].officer().status()


async def test_a_full_disk_is_told_on_every_channel_and_what_was_refused_is_taken_once_when_there_is_room(
    world: World, disk: Disk
) -> None:
    await world.carries("JPN", "KOR")
    assert (await status_of(world, "JPN")).reports_accepted == 1
    disk.arm(Fault(What.FULL, 1, CHANGING, JPN_LOG, times=0))
    refused = report()
    (answer,) = await submit_bytes(world.places["JPN"], request_of(refused))
    assert answer.refused.code == c2_pb2.REFUSAL_CODE_UNAVAILABLE
    assert answer.refused.retry_after_ms > 0
    await until(lambda: "cannot be opened" in world.nodes["JPN"].status().reason, "the store is known to be full")

    # Whoever asks is answered: by what was last read, where the store alone knows.
    status = await status_of(world, "JPN")
    assert not status.accepting
    assert "make room" in status.reason
    assert status.lowest_precedence == report_pb2.PRECEDENCE_UNSPECIFIED
    assert any("make room" in alarm for alarm in status.alarms)
    assert status.reports_accepted == 1
    assert status.ledgers
    assert world.metric("JPN", "signalfire_store_failures_total", kind="full") >= 1
    # The partner hears it, signed; the heartbeats go on.
    await until(lambda: world.status("KOR", "JPN").not_accepting != "", "KOR knows that JPN takes nothing")
    assert world.status("KOR", "JPN").following
    # Officers and subscribers are told to try again.
    async with as_officer(world.places["JPN"]) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as unreadable:
            await first_decision(opened)
    assert unreadable.value.code() is grpc.StatusCode.UNAVAILABLE
    async with as_system(world.places["JPN"], "command") as opened:
        subscribe = opened.unary_stream(
            "/signalfire.v1.C2Service/Subscribe",
            request_serializer=c2_pb2.SubscribeRequest.SerializeToString,
            response_deserializer=c2_pb2.SubscribeResponse.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as unread:
            await subscribe(c2_pb2.SubscribeRequest(traffic_classes=[report_pb2.TRAFFIC_CLASS_LIVE])).read()
    assert unread.value.code() is grpc.StatusCode.UNAVAILABLE

    disk.mend()
    # The client sends again until it is taken, and subscribers go on from their cursors.
    assert (await world.push_one("JPN", refused)).accepted
    await world.inboxes["KOR"].report(refused.report_id)
    delivered = [item.report.report_id for item in world.inboxes["KOR"].items if isinstance(item, Received)]
    assert len(delivered) == len(set(delivered)) == 2
    await until(lambda: world.status("KOR", "JPN").not_accepting == "", "KOR knows that JPN takes reports")
    assert (await status_of(world, "JPN")).lowest_precedence == report_pb2.PRECEDENCE_ROUTINE


async def test_a_partners_batch_that_cannot_be_stored_is_taken_when_the_disk_is_well(world: World, disk: Disk) -> None:
    disk.arm(Fault(What.IO_ERROR, 1, CHANGING, JPN_LOG, times=3))
    await world.carries("KOR", "JPN")
    assert disk.met[What.IO_ERROR] >= 1


async def test_damage_that_is_met_in_reading_ends_what_is_taken_and_the_heartbeats_say_so(world: World) -> None:
    await world.carries("JPN", "KOR")
    # As its event loop's reader, or an officer's, reports it.
    world.nodes["JPN"].parts.store.failed(StoreDamaged("database disk image is malformed"))
    await until(lambda: "damaged" in world.nodes["JPN"].status().reason, "JPN knows of the damage")
    status = await status_of(world, "JPN")
    assert not status.accepting
    (answer,) = await submit_bytes(world.places["JPN"], request_of(report()))
    assert answer.refused.code == c2_pb2.REFUSAL_CODE_UNAVAILABLE
    await until(lambda: world.status("KOR", "JPN").not_accepting != "", "KOR knows that JPN takes nothing")
    assert world.metric("JPN", "signalfire_store_failures_total", kind="damaged") >= 1
