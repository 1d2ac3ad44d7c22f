"""Whatever a partner sends, refused or not, costs it what it costs here, and other lanes and partners go on meanwhile.

JPN is the hostile one, with its true keys; KOR's real gateway follows it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio
from signalfire.v1 import exchange_pb2, ledger_pb2

from gateway.demo.deployment import Deployed
from gateway.exchange import allowance
from gateway.exchange.allowance import LINES, LINES_S, REFUSED_S, Allowance, Intake
from gateway.ledger.cosignature import cosign
from gateway.ledger.errors import StoreFull
from gateway.ledger.note import Note
from gateway.ledger.origin import WITNESS, Lane, Origin
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.batch import (
    ENTRY_BYTES,
    MAX_BATCH_ABSENT,
    MAX_BATCH_ENTRIES,
    MAX_UNUSABLE,
    STATEMENT_BYTES,
    IncomingBatch,
)
from gateway.release.errors import Exhausted, Unavailable
from gateway.release.steps import ReceiveBatch
from tests.exchange.dialler import FOLLOW, HEARTBEAT, signatory
from tests.exchange.origin import Follower, Forge, HostileOrigin, Script, quiet
from tests.exchange.test_hostile_origin import Scene
from tests.exchange.test_keeping_back import TO_KOR, Govern, caught_up, suspending
from tests.exchange.test_keeping_back import settled as settled  # a fixture
from tests.exchange.test_keeping_back import world as world  # another
from tests.node.nations import World, forget, report, running, settle
from tests.node.waiting import until

SAVED_UP: Final = 1 << 20
FEW_LINES: Final = 4


# --- the allowance


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_after_a_batch_that_was_refused_no_other_is_looked_at_until_its_time_is_over() -> None:
    clock = Clock()
    bucket = Allowance(100_000.0, 1e9, clock)
    bucket.charge(50_000)
    assert bucket.due_s() == 0, "what was saved up pays for it"
    bucket.refused(50_000)
    assert bucket.due_s() == pytest.approx(0.5)
    clock.now = 0.25
    bucket.refused(50_000)
    assert bucket.due_s() == pytest.approx(0.75), "each pays for itself"
    clock.now = 10.0
    assert bucket.due_s() == 0
    bucket.refused(1 << 40)
    assert bucket.due_s() == REFUSED_S


def test_what_was_refused_is_taken_from_what_was_saved_up_as_well() -> None:
    clock = Clock()
    bucket = Allowance(1000.0, 100_000.0, clock)
    bucket.charge(150_000)
    bucket.refused(150_000)
    assert bucket.due_s() == pytest.approx(50.0)
    clock.now = 50.0
    assert bucket.due_s() == pytest.approx(0.0)


def test_what_is_given_back_was_never_taken_and_no_more_is_saved_up_by_it() -> None:
    clock = Clock()
    intake = Intake(Allowance(1000.0, 100_000.0, clock), 1000.0, 100_000.0, clock)
    for lane in (Lane.FLASH, WITNESS):
        for _ in range(100):
            intake.charge(lane, 90_000)
            clock.now += 50.0
            intake.give_back(lane, 90_000)
            assert intake.due_s(lane) == 0
        intake.charge(lane, 1)
        intake.give_back(lane, 1)
        intake.charge(lane, 150_000)
        assert intake.due_s(lane) == pytest.approx(50.0)


def test_an_honest_partner_that_was_away_is_taken_in_at_full_speed_and_its_further_signatures_with_it() -> None:
    clock = Clock()
    intake = Intake(Allowance(1000.0, 1e6, clock), 1e6, 1e9, clock)
    for _ in range(1000):
        intake.charge(Lane.FLASH, 1_000_000)
        assert intake.due_s(Lane.FLASH) == 0
    # Of each ledger some came by each of several ways; then one a second and way.
    for lane in (*Lane, WITNESS):
        assert [intake.line_wait_s(lane) for _ in range(LINES)] == [0] * LINES
    for second in range(1, 1000):
        clock.now = float(second)
        assert [intake.line_wait_s(Lane.FLASH) for _ in range(LINES_S)] == [0] * LINES_S


def test_further_signatures_that_come_without_end_are_paced_and_delay_no_other_lane() -> None:
    intake = Intake(Allowance(1000.0, 1e6, Clock()), 1e6, 1e9, Clock())
    waits = [intake.line_wait_s(Lane.FLASH) for _ in range(LINES + 100)]
    assert waits[-1] == pytest.approx(100 / LINES_S)
    assert intake.line_wait_s(Lane.IMMEDIATE) == 0
    assert intake.due_s(Lane.FLASH) == 0, "batches have their own"


# --- on the wire


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    """Three nations; JPN's gateway never runs. What is saved up is little, and comes again slowly."""
    slow = {"partner_bytes_s": 4096, "partner_burst_bytes": SAVED_UP}
    return settle(tmp_path_factory.mktemp("nations"), "JPN", "KOR", "USA", limits={"exchange": slow})


@pytest_asyncio.fixture
async def scene(places: dict[str, Deployed], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(allowance, "LINES", FEW_LINES)
    monkeypatch.setattr(allowance, "LINES_S", 1e-3)
    jpn, kor = signatory(places["JPN"]), signatory(places["KOR"])
    hostile = HostileOrigin(places["JPN"], "KOR")
    async with hostile.serving(), running(places, "KOR", "USA", linked=False) as world:
        yield Scene(world, hostile, Forge(jpn, kor), Forge(jpn, kor, "immediate"))
    forget(places["JPN"])


def to_kor(script: Script) -> Script:
    """Of the two that follow, KOR alone is told something."""

    async def played(follower: Follower) -> None:
        await (script if Origin.parse(follower.open.origin).recipient == "KOR" else quiet)(follower)

    return played


def from_the_start(*messages: dict[str, Any]) -> Script:
    """Sends these to whoever has nothing, and listens."""

    async def script(follower: Follower) -> None:
        await follower.opened()
        for message in messages if follower.open.size == 0 else ():
            await follower.send(**message)
        await follower.rest()

    return to_kor(script)


def size_of(scene: Scene) -> int:
    """Entries of KOR's replica."""
    replica = scene.replica()
    return 0 if replica is None else replica[0]


def wasteful(forge: Forge) -> exchange_pb2.Batch:
    """A batch under a false root, of few bytes and as many entries as there may be: each has to be hashed."""
    return forge.batch(*([b"x"] * MAX_BATCH_ENTRIES), checkpoint=forge.checkpoint(MAX_BATCH_ENTRIES, bytes(32)))


async def test_after_a_batch_that_was_refused_its_lane_waits_and_says_why_and_the_others_go_on(scene: Scene) -> None:
    jpn, kor = scene.flash.owner, signatory(scene.world.places["KOR"])
    bad, good = wasteful(scene.flash), Forge(jpn, kor).reports(report())
    streams: list[Follower] = []

    async def first_bad_then_good(follower: Follower) -> None:
        streams.append(follower)
        await follower.opened()
        await follower.send(batch=bad if len(streams) == 1 else good)
        await follower.rest()

    scene.plays("flash", to_kor(first_bad_then_good))
    await scene.flash_problem("do not give the root")
    heard = len(scene.jpn.sent(HEARTBEAT, "echo"))
    await scene.goes_on()
    # With each heartbeat a lane would be dialled again that has nothing to wait for.
    await until(lambda: len(scene.jpn.sent(HEARTBEAT, "echo")) > heard + 5, "more heartbeats")
    assert (len(streams), size_of(scene)) == (1, 0)
    assert "do not give the root" in scene.problem("flash")


async def test_a_further_signature_that_is_repeated_without_end_is_taken_ever_more_slowly(scene: Scene) -> None:
    good = scene.flash.reports(report())
    note = Note.parse(good.checkpoint)
    line = exchange_pb2.Cosignature(note=Note(note.text, (cosign(note.text, scene.flash.owner.pq, 1),)).encode())
    behind = scene.flash.reports(report())
    lines = [{"cosignature": line}] * (FEW_LINES + 1)
    scene.plays("flash", from_the_start({"batch": good}, *lines, {"batch": behind}))
    await until(lambda: size_of(scene) > 0, "the first batch")
    await scene.goes_on()
    assert size_of(scene) == good.count


@pytest.mark.parametrize(
    "ours", [Exhausted("no room", 1000), Unavailable("the store fails"), StoreFull("no room")], ids=repr
)
async def test_what_this_node_could_not_take_costs_its_partner_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, ours: Exception
) -> None:
    good = scene.flash.reports(*(report() for _ in range(300)))
    tries = 2 * SAVED_UP // len(good.entries) + 1
    sequencer, tried = scene.world.nodes["KOR"].parts.sequencer, 0
    do = sequencer.do

    async def full_for_a_while(step: Any, **more: Any) -> Any:
        nonlocal tried
        if isinstance(step, ReceiveBatch) and step.batch.origin == TO_KOR and tried < tries:
            tried += 1
            raise ours
        return await do(step, **more)

    monkeypatch.setattr(sequencer, "do", full_for_a_while)
    scene.plays("flash", from_the_start({"batch": good}))
    await until(lambda: size_of(scene) == good.count, "the batch, once there is room")
    assert tried == tries


async def test_an_entry_that_cannot_be_used_is_charged_for_the_statement_about_it(scene: Scene) -> None:
    batches = [scene.flash.batch(*(b"\x01" * 45 for _ in range(MAX_UNUSABLE))) for _ in range(6)]
    scene.plays("flash", from_the_start(*({"batch": batch} for batch in batches)))
    # As bytes alone, and by the number of their entries, all of them are saved up for.
    assert sum(IncomingBatch.of(TO_KOR, batch).weight for batch in batches) < SAVED_UP
    paid_for = MAX_UNUSABLE * math.ceil(SAVED_UP / (MAX_UNUSABLE * (ENTRY_BYTES + STATEMENT_BYTES)))
    assert paid_for < scene.flash.edge.size
    await until(lambda: len(scene.jpn.sent(FOLLOW, "unopenable")) == paid_for, "a statement about the first of them")
    await scene.goes_on()
    assert size_of(scene) == paid_for


async def test_a_batch_full_of_what_was_passed_on_in_vain_is_charged_for_the_long_step_that_it_makes(
    scene: Scene,
) -> None:
    vain = [ledger_pb2.EntryContent(onward_report=ledger_pb2.OnwardReport())] * (MAX_UNUSABLE + 100)
    batch, behind = scene.flash.batch(*scene.flash.entries(*vain)), scene.flash.reports(report())
    assert IncomingBatch.of(TO_KOR, batch).weight + len(vain) * STATEMENT_BYTES < SAVED_UP
    scene.plays("flash", from_the_start({"batch": batch}, {"batch": behind}))
    await until(lambda: len(scene.jpn.sent(FOLLOW, "unopenable")) == len(vain), "a statement about each")
    await scene.goes_on()
    assert size_of(scene) == batch.count


async def test_however_many_entries_cannot_be_used_the_log_says_so_in_one_line(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    junk = 200
    batch = scene.flash.batch(*scene.flash.entries(), *(b"\x01" * 45 for _ in range(junk)))
    behind = scene.flash.reports(report())
    with caplog.at_level(logging.ERROR, logger="gateway.exchange.following"):
        scene.plays("flash", from_the_start({"batch": batch}, {"batch": behind}))
        await until(lambda: len(scene.jpn.sent(FOLLOW, "unopenable")) == junk, "a statement about each")
        await until(lambda: len(scene.jpn.sent(FOLLOW, "receipt")) == 2, "and what comes behind them")
    (said,) = [each.getMessage() for each in caplog.records if "cannot be used" in each.getMessage()]
    assert f"{junk} entries cannot be used; the first: entry 1: " in said
    assert scene.world.metric("KOR", "signalfire_unopenable_total", partner="JPN", direction="received") == junk


# --- what an honest one sends


async def test_however_much_is_kept_back_at_once_the_lane_goes_on_in_several_batches(world: World) -> None:
    await world.stop("KOR")
    results = await world.push("JPN", *(report(node="JPN") for _ in range(MAX_BATCH_ABSENT + 50)))
    assert all(result.accepted for result in results.values())
    await world.nodes["JPN"].parts.sequencer.do(Govern(suspending))
    await world.start("KOR")
    await caught_up(world)
    reader = SqliteReader(world.places["KOR"].store)
    row = reader.ledger(TO_KOR)
    assert row is not None
    assert [reader.entry(row.id, index) for index in range(row.size)] == [None] * row.size
    assert row.size > MAX_BATCH_ABSENT
    assert len(reader.checkpoints(row.id)) > 1
    reader.close()
