"""A gateway that lost its store, or part of it, has from its partners what they hold, and doubles nothing."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.cli import main
from gateway.client import Received
from gateway.demo.deployment import PUSHER, Deployed
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import LedgerRow
from gateway.release.recovery.restored import DeclareSetBack
from tests.node.nations import World, cancellation, forget, report, running, settle
from tests.node.test_rotation import sound
from tests.node.waiting import until
from tests.patience import PATIENCE_S

FLASH = Origin.parse("signalfire/v1/JPN/KOR/flash/1")


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR")


def alert(**changes: Any) -> report_pb2.Report:
    return report(launch_detection__sensor_modality=report_pb2.SENSOR_MODALITY_SPACE_INFRARED, **changes)


async def recover(world: World, *options: str, key: Path | None = None) -> Result:
    """What the command says, beside the running gateway of JPN."""
    jpn = world.places["JPN"]
    arguments = [
        "ledger", "recover", "--config", str(jpn.config), "--credentials", str(jpn.directory / "officer"),
        "--gateway", jpn.national, "--recovery-key", str(key or jpn.directory / "pki" / "recovery.key"), *options,
    ]  # fmt: skip
    return await asyncio.to_thread(CliRunner().invoke, main, arguments)


def row(world: World, name: str, origin: Origin = FLASH) -> LedgerRow:
    found = world.ledger(name, origin)
    assert found is not None
    return found


async def taken_back(world: World, origin: Origin = FLASH) -> None:
    """Returns when JPN has what KOR holds of a ledger, and KOR's receipt for it."""
    await until(
        lambda: (
            (mine := world.ledger("JPN", origin)) is not None
            and (mine.size, mine.root, mine.agreed) == ((held := row(world, "KOR", origin)).size, held.root, held.size)
        ),
        f"{origin} came back",
    )


def deliveries(world: World, name: str = "KOR") -> Counter[str]:
    """How often each report was given to a C2 system that was there all the time."""
    return Counter(item.report.report_id for item in world.inboxes[name].items if isinstance(item, Received))


async def lose(world: World) -> None:
    """JPN's store is gone; the gateway starts again, and says so."""
    await world.stop("JPN")
    forget(world.places["JPN"])
    await world.start("JPN", restored=True)


async def test_after_a_total_loss_alerts_flow_at_once_in_the_next_generation(
    places: dict[str, Deployed], caplog: pytest.LogCaptureFixture
) -> None:
    async with running(places) as world:
        before = await world.carries("JPN", "KOR")
        await lose(world)
        after = await world.carries("JPN", "KOR")
        assert world.inboxes["KOR"].reports[after.report_id].ledger == str(FLASH.successor())
        await taken_back(world)
        assert deliveries(world) == {before.report_id: 1, after.report_id: 1}
        event = await world.event("JPN", "store-set-back")
        assert "lost, or restored" in event.detail
        alarms = (await world.places["KOR"].client("command").status()).alarms
        assert not [alarm for alarm in alarms if "contradicted" in alarm], "nobody forked"
    assert "next generation opens" not in caplog.text, "it was declared, and is no news"
    sound(places["JPN"])
    sound(places["KOR"])


async def test_what_is_submitted_again_after_a_loss_reaches_every_subscriber_once(places: dict[str, Deployed]) -> None:
    async with running(places) as world:
        pushed = [alert() for _ in range(3)]
        await world.push("JPN", *pushed)
        for each in pushed:
            await world.inboxes["KOR"].report(each.report_id)
        recalled = cancellation(pushed[0].report_id)
        await world.push("JPN", recalled)
        await world.inboxes["KOR"].withdrawal(pushed[0].report_id)
        await lose(world)
        await taken_back(world)
        told: list[c2_pb2.Resubmit] = []
        client = places["JPN"].client(PUSHER)
        again = [pushed[1], recalled, pushed[0], pushed[2]]
        answers = [result async for result in client.submit(again, on_resubmit=told.append)]
        assert told, "the wish comes first on the stream"
        assert "lost" in told[0].reason
        assert [result.report_id for result in answers if not result.accepted] == []
        fresh = await world.carries("JPN", "KOR")
        counts = deliveries(world)
        assert all(counts[each.report_id] == 1 for each in (*pushed, fresh)), counts
        assert world.inboxes["KOR"].withdrawn.count(pushed[0].report_id) == 1
    sound(places["JPN"])
    sound(places["KOR"])


async def test_a_second_wish_is_told_on_a_stream_that_is_open_and_what_it_asks_for_is_taken_on_it(
    places: dict[str, Deployed],
) -> None:
    told: asyncio.Queue[c2_pb2.Resubmit] = asyncio.Queue()
    given: asyncio.Queue[report_pb2.Report] = asyncio.Queue()

    async def reports() -> AsyncIterator[report_pb2.Report]:
        while True:
            yield await given.get()

    async with running(places) as world, asyncio.timeout(PATIENCE_S):
        results = places["JPN"].client(PUSHER).submit(reports(), on_resubmit=told.put_nowait)
        first = alert()
        given.put_nowait(first)
        assert (await anext(results)).accepted
        assert told.empty()
        sequencer = world.nodes["JPN"].parts.sequencer
        for why in ("the disk", "the copy"):
            await sequencer.do(DeclareSetBack(why, (), ledger_pb2.SUCCESSION_REASON_RESTORE))
            assert why in (await told.get()).reason
        given.put_nowait(first)
        assert (await anext(results)).duplicate
        assert isinstance(results, AsyncGenerator)
        await results.aclose()
    sound(places["JPN"])


async def test_records_are_rebuilt_with_the_recovery_key_and_withdrawals_reach_who_had_the_report(
    places: dict[str, Deployed],
) -> None:
    async with running(places) as world:
        one = await world.carries("JPN", "KOR")
        unreleased = alert(marking__releasable_to=[])
        assert (await world.push_one("JPN", unreleased)).accepted
        two = await world.carries("JPN", "KOR")
        await lose(world)
        await taken_back(world)
        done = await recover(world)
        assert "flash/1" in done.output, done.output
        explained = await places["JPN"].officer().explain(one.report_id)
        assert explained.ByteSize()
        decided = await world.decisions("JPN", unreleased.report_id)
        assert decided["KOR"].outcome == ledger_pb2.OUTCOME_WITHHELD
        released = await world.decisions("JPN", two.report_id)
        assert released["KOR"].ledger == str(FLASH)
        assert (await world.push_one("JPN", cancellation(one.report_id))).accepted
        await world.inboxes["KOR"].withdrawal(one.report_id)
        for each in (one, unreleased, two):
            result = await world.push_one("JPN", each)
            assert result.duplicate, each
        assert max(deliveries(world).values()) == 1
        again = await recover(world, "--finished")
        assert again.exit_code in (0, 3), again.output
        assert not (await places["JPN"].client("command").status()).HasField("resubmit")
        await world.carries("JPN", "KOR")
    sound(places["JPN"])
    sound(places["KOR"])


async def test_an_older_copy_is_noticed_and_the_lost_tail_comes_back(
    places: dict[str, Deployed], tmp_path: Path
) -> None:
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        await world.stop("JPN")
        shutil.copy(places["JPN"].store, tmp_path / "copy.db")
        await world.start("JPN")
        await world.linked()
        lost = [await world.carries("JPN", "KOR") for _ in range(3)]
        await world.stop("JPN")
        forget(places["JPN"])
        shutil.copy(tmp_path / "copy.db", places["JPN"].store)
        places["JPN"].store.chmod(0o600)
        await world.start("JPN", restored=True)
        await world.carries("JPN", "KOR")
        await taken_back(world)
        assert (await recover(world)).exit_code in (0, 3)
        for each in lost:
            assert (await world.push_one("JPN", each)).duplicate
        assert max(deliveries(world).values()) == 1
    sound(places["JPN"])
    sound(places["KOR"])


async def test_a_store_that_was_written_to_before_it_noticed_has_its_other_history_sealed_again(
    places: dict[str, Deployed], tmp_path: Path
) -> None:
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        await world.stop("JPN")
        shutil.copy(places["JPN"].store, tmp_path / "copy.db")
        await world.start("JPN")
        await world.linked()
        lost = [await world.carries("JPN", "KOR") for _ in range(2)]
        await world.stop("KOR")
        await world.stop("JPN")
        forget(places["JPN"])
        shutil.copy(tmp_path / "copy.db", places["JPN"].store)
        places["JPN"].store.chmod(0o600)
        await world.start("JPN")
        forked = alert()
        assert (await world.push_one("JPN", forked)).accepted
        await world.start("KOR")
        await world.linked()
        await world.inboxes["KOR"].report(forked.report_id)
        await until(
            lambda: world.nodes["JPN"].parts.store.read().meta(f"taken back {FLASH} KOR") is not None,
            "the fork was taken",
        )
        assert (await recover(world)).exit_code in (0, 3)
        for each in lost:
            assert (await world.push_one("JPN", each)).duplicate
            assert (await world.push_one("JPN", cancellation(each.report_id))).accepted
            await world.inboxes["KOR"].withdrawal(each.report_id)
    sound(places["JPN"])
    sound(places["KOR"])


async def test_another_recovery_key_opens_nothing_and_the_gateway_says_what_is_missing(
    places: dict[str, Deployed], tmp_path: Path
) -> None:
    made = await asyncio.to_thread(
        CliRunner().invoke, main, ["pki", "init", "JPN", "--dir", str(tmp_path / "other"), "--unlocked"]
    )
    assert made.exit_code == 0, made.output
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        await lose(world)
        await taken_back(world)
        done = await recover(world, key=tmp_path / "other" / "recovery.key")
        assert done.exit_code == 3
        assert "is the recovery key" in done.output
        assert Lane.FLASH.value in done.output
