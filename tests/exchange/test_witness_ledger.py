"""Witness ledgers between real gateways: every partner signs for what it cannot read, and a node that was set back, or
that contradicts itself, is caught by those who did.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result
from signalfire.v1 import exchange_pb2

from gateway import config as configuration
from gateway.cli import main
from gateway.cli.ledger import verify_configured
from gateway.demo.deployment import READER, Deployed
from gateway.exchange.allowance import LEAST, Allowance
from gateway.exchange.limits import ExchangeLimits
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.opening import Opener
from gateway.seal.errors import SealError
from tests.exchange.dialler import HEARTBEAT, PATIENT, dialled, signatory
from tests.exchange.origin import Follower, Forge, HostileOrigin
from tests.node.nations import World, forget, report, running, settle
from tests.node.waiting import until
from tests.patience import PATIENCE_S

WITNESS = Origin.witness("JPN", 1)
FLASH = Origin.release("JPN", "KOR", "flash", 1)


def entries(place: Deployed, origin: Origin = WITNESS) -> list[bytes]:
    """What a nation's store holds of a ledger."""
    reader = SqliteReader(place.store)
    try:
        row = reader.ledger(origin)
        return [] if row is None else [reader.entry(row.id, index) or b"" for index in range(row.size)]
    finally:
        reader.close()


def size(world: World, name: str, origin: Origin = WITNESS) -> int:
    row = world.ledger(name, origin)
    return 0 if row is None else row.size


def findings(world: World, name: str) -> list[str]:
    """What `ledger verify` finds in a nation's store."""
    return [str(each) for each in verify_configured(configuration.load(world.places[name].config), quiet=True).findings]


def alarms(world: World, name: str) -> list[str]:
    return list(world.nodes[name].status().alarms)


# --- between honest gateways

AT_LEISURE = {"handshake_s": ExchangeLimits().handshake_s}
"""Three that start at once, on a machine that does much else, have the time that they have by default."""


async def test_every_partner_keeps_and_signs_every_beat_and_reads_none(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", "USA", limits={"witness": {"interval_s": 0.1}, "exchange": AT_LEISURE})
    async with running(places) as world:
        before = size(world, "JPN")
        await world.carries("JPN", "KOR", "USA")
        await until(lambda: size(world, "JPN") > before + 3, "JPN's witness ledger beats on")
        beats = size(world, "JPN")
        for name in ("KOR", "USA"):
            await until(lambda name=name: size(world, name) >= beats, f"{name} has them")  # type: ignore[misc]
            assert world.metric("JPN", "signalfire_receipts_total", partner=name, lane="witness") > 0
        await until(lambda: not any(alarms(world, name) for name in places), "nothing is wrong")
    for name in ("KOR", "USA"):
        held = entries(places[name])
        assert held == entries(places["JPN"])[: len(held)]
        opener = Opener(name, signatory(places[name]).sealing)
        for index, entry in enumerate(held):
            with pytest.raises(SealError):
                opener.payload(WITNESS, index, entry, held.__getitem__)
        assert len({len(entry) for entry in held[1:]}) == 1, "one size, whatever happened"
    for name in places:
        assert findings(world, name) == []


async def test_a_partner_that_is_released_nothing_sees_the_same_beats(tmp_path: Path) -> None:
    sizes = []
    for quiet in (True, False):
        places = settle(
            tmp_path / str(quiet), "JPN", "KOR", "USA", limits={"witness": {"interval_s": 0.15}, "exchange": AT_LEISURE}
        )
        async with running(places) as world:
            if not quiet:
                for _ in range(3):
                    await world.push_one("JPN", report(marking__releasable_to=["USA"]))
            await until(lambda: size(world, "KOR") >= 6, "KOR has some beats")
        held = entries(places["KOR"])[:6]
        sizes.append([len(entry) for entry in held])
    assert sizes[0] == sizes[1]


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR", limits={"witness": {"interval_s": 0.1}, "exchange": PATIENT})


async def test_a_node_that_is_restored_from_a_copy_is_shown_so_and_goes_on(
    pair: dict[str, Deployed], tmp_path: Path
) -> None:
    async with running(pair) as world:
        await world.carries("JPN", "KOR")
        await world.stop("JPN")
        shutil.copy(pair["JPN"].store, tmp_path / "copy.db")
        await world.start("JPN")
        await world.linked()
        await world.carries("JPN", "KOR")
        await until(lambda: size(world, "KOR") == size(world, "JPN"), "KOR has signed for what comes now")
        await world.stop("JPN")
        forget(pair["JPN"])
        shutil.copy(tmp_path / "copy.db", pair["JPN"].store)
        await world.start("JPN")
        await until(lambda: size(world, "KOR", WITNESS.successor()) > 2, "KOR follows the next generation")
        event = await world.event("JPN", "decisions-set-back")
        (evidence,) = event.evidence
        assert evidence.startswith(f"{WITNESS}\n".encode())
        assert size(world, "JPN", Origin.decisions("JPN", 2)) > 0
        await world.carries("JPN", "KOR")
        await until(lambda: not alarms(world, "KOR") and not alarms(world, "JPN"), "every alarm is over")
        kept, ours = entries(pair["KOR"]), entries(pair["JPN"])
        assert kept[-1] not in ours, "the lost history is kept where it was signed for"
    assert findings(world, "JPN") == []
    assert findings(world, "KOR") == []


async def test_a_claim_without_signature_is_an_alarm_and_no_more(pair: dict[str, Deployed]) -> None:
    async with running(pair, "JPN", linked=False) as world:
        async with dialled(pair["KOR"], pair["JPN"]) as stream:
            await stream.prove()
            await stream.send(open=exchange_pb2.Open(origin=str(WITNESS), size=2, root=bytes(32)))
            assert (await stream.ended()).code.name == "FAILED_PRECONDITION"
        await until(lambda: any("lane to KOR, witness" in each for each in alarms(world, "JPN")), "an alarm stands")
        assert world.metric("JPN", "signalfire_roots_differ", partner="KOR") == 1
        assert size(world, "JPN", WITNESS.successor()) == 0
        async with dialled(pair["KOR"], pair["JPN"]) as stream:
            assert (await stream.open(WITNESS)).WhichOneof("message") == "opened"
            assert (await stream.read()).batch.count >= 2
        await until(lambda: world.metric("JPN", "signalfire_roots_differ", partner="KOR") == 0, "the alarm is over")


# --- a hostile origin


class Scene:
    """JPN as its scripts have it, and KOR's real gateway."""

    def __init__(self, world: World, jpn: HostileOrigin) -> None:
        self.world = world
        self.jpn = jpn
        self.witness = Forge(jpn.keys, signatory(world.places["KOR"]))
        self.witness.origin = WITNESS
        self.flash = Forge(jpn.keys, signatory(world.places["KOR"]))

    def problem(self, lane: str) -> str:
        return self.world.nodes["KOR"].parts.partners.links["JPN"].problems.get(lane, "")

    def send(self, lane: str, *batches: exchange_pb2.Batch) -> None:
        """From now on JPN sends these in a lane; streams that are open end."""

        async def script(follower: Follower) -> None:
            await follower.opened()
            for batch in batches:
                if batch.first >= follower.open.size:
                    await follower.send(batch=batch)
            await follower.rest()

        self.jpn.lanes[lane] = script
        for each in self.jpn.open_streams.pop(lane, []):
            each.cancel()

    async def told(self, words: str) -> None:
        await until(lambda: any(words in each for each in alarms(self.world, "KOR")), f"an alarm says {words!r}")

    async def flash_goes_on(self) -> None:
        """What comes in another lane is delivered all the while."""
        good = report()
        self.send("flash", self.flash.reports(good))
        await self.world.inboxes["KOR"].report(good.report_id)


@pytest_asyncio.fixture
async def scene(pair: dict[str, Deployed]) -> AsyncIterator[Scene]:
    hostile = HostileOrigin(pair["JPN"], "KOR")
    async with hostile.serving(), running(pair, "KOR", linked=False) as world:
        yield Scene(world, hostile)


async def test_an_entry_that_is_given_as_its_hash_is_refused(scene: Scene) -> None:
    batch = scene.witness.reports(report())
    opening, entry = bundle.decode(batch.entries, 2)
    reason = EntryStatement(EntryStatementKind.ABSENT, "JPN", WITNESS, 1, leaf_hash(entry), "pruned")
    batch.entries = bundle.encode([opening, b""], allow_absent=True)
    batch.absent.add(index=1, leaf_hash=leaf_hash(entry), note=reason.sign(scene.jpn.keys.gateway))
    scene.send("witness", batch)
    await until(lambda: "home ledger" in scene.problem("witness"), "KOR says why")
    assert size(scene.world, "KOR") == 0
    await scene.flash_goes_on()


async def test_a_root_that_the_entries_do_not_give_is_an_alarm_until_a_batch_fits(scene: Scene) -> None:
    first, second = scene.witness.reports(report()), scene.witness.reports(report())
    spoilt = exchange_pb2.Batch()
    spoilt.CopyFrom(second)
    spoilt.checkpoint = scene.witness.checkpoint(3, bytes(range(32)))
    scene.send("witness", first, spoilt)
    await scene.told("do not give the root that JPN signed")
    assert size(scene.world, "KOR") == 2
    await scene.flash_goes_on()
    scene.send("witness", first, second)
    await until(lambda: scene.world.metric("KOR", "signalfire_roots_differ", partner="JPN") == 0, "it is over")
    assert size(scene.world, "KOR") == 3


async def test_two_signed_roots_of_one_size_are_kept_told_exported_and_checked(scene: Scene, tmp_path: Path) -> None:
    scene.send("witness", scene.witness.reports(report()))
    await until(lambda: size(scene.world, "KOR") == 2, "KOR holds JPN's witness ledger")
    again = Forge(scene.jpn.keys, signatory(scene.world.places["KOR"]))
    again.origin = WITNESS
    other = again.reports(report())

    async def script(follower: Follower) -> None:
        await follower.opened()
        await follower.send(batch=other)
        await follower.rest()

    scene.jpn.lanes["witness"] = script
    for each in scene.jpn.open_streams.pop("witness", []):
        each.cancel()
    await scene.told("JPN has contradicted itself")
    await until(lambda: "two roots at size 2" in scene.problem("witness"), "the lane is closed")
    event = await scene.world.event("KOR", "fork-evidence")
    assert len(event.evidence) == 2
    await scene.flash_goes_on()

    made = CliRunner().invoke(
        main, ["ledger", "evidence", "--config", str(scene.world.places["KOR"].config), "--out", str(tmp_path / "out")]
    )
    assert made.exit_code == 0, made.output
    (file,) = (tmp_path / "out").iterdir()
    assert str(file) in made.output
    check = ["ledger", "check-evidence", str(file)]
    proved = CliRunner().invoke(main, [*check, *trust(scene.world.places["JPN"])])
    assert (proved.exit_code, proved.output.startswith("PROVED: JPN contradicted itself.")) == (0, True), proved.output
    other_nation = CliRunner().invoke(main, [*check, *trust(scene.world.places["KOR"]), "--json"])
    assert (other_nation.exit_code, json.loads(other_nation.output)["proved"]) == (3, False)


def trust(place: Deployed) -> list[str]:
    """The options that name a nation's trust bundle and root."""
    pki = place.directory / "pki"
    return ["--bundle", str(pki / "bundle.note"), "--root", str(pki / "root.vkey")]


async def test_a_heartbeat_against_a_checkpoint_of_an_earlier_size_is_evidence(scene: Scene) -> None:
    batches = [scene.flash.reports(report()), scene.flash.reports(report())]
    scene.send("flash", *batches)
    await until(lambda: size(scene.world, "KOR", FLASH) == 3, "KOR has both batches")

    async def contradict(follower: Follower) -> None:
        pulse = scene.jpn.pulse(2**62, Checkpoint(FLASH, 2, bytes(range(32))))
        await follower.send(pulse=pulse)
        await follower.rest()

    scene.jpn.heartbeat = contradict
    for each in scene.jpn.open_streams.pop(HEARTBEAT, []):
        each.cancel()
    await scene.told("two roots at size 2")
    event = await scene.world.event("KOR", "fork-evidence")
    assert b"/heartbeat\n" in event.evidence[1]


async def test_a_fork_that_a_heartbeat_shows_opens_the_lane_anew_once(scene: Scene) -> None:
    batches = [scene.flash.reports(report()), scene.flash.reports(report())]
    opened: list[int] = []
    pulses = 0

    async def script(follower: Follower) -> None:
        await follower.opened()
        opened.append(follower.open.size)
        for batch in batches[0 if follower.open.size == 0 else 2 :]:
            await follower.send(batch=batch)
        await follower.rest()

    async def contradict(follower: Follower) -> None:
        nonlocal pulses
        pulses += 1
        await follower.send(pulse=scene.jpn.pulse(2**62 + pulses, Checkpoint(FLASH, 2, bytes(range(32)))))
        await follower.rest()

    scene.jpn.lanes["flash"] = script
    for each in scene.jpn.open_streams.pop("flash", []):
        each.cancel()
    await until(lambda: size(scene.world, "KOR", FLASH) == 3, "KOR has both batches")
    before = len(opened)
    scene.jpn.heartbeat = contradict
    for each in scene.jpn.open_streams.pop(HEARTBEAT, []):
        each.cancel()
    await until(lambda: len(opened) > before, "the lane is opened anew")
    await until(lambda: pulses > 4, "the contradiction is told again and again")
    assert opened[before:] == [3]


async def test_a_ledger_that_shrinks_between_heartbeats_is_evidence_and_heard(scene: Scene) -> None:
    heads = [Checkpoint(FLASH, 9, bytes(32)), Checkpoint(FLASH, 4, bytes(range(32)))]
    told = asyncio.Event()

    async def shrink(follower: Follower) -> None:
        with contextlib.suppress(StopAsyncIteration):
            for counter, head in enumerate(heads):
                await follower.send(pulse=scene.jpn.pulse(2**62 + counter, head))
                await follower.read()
            told.set()
            await follower.rest()

    scene.jpn.heartbeat = shrink
    for each in scene.jpn.open_streams.pop(HEARTBEAT, []):
        each.cancel()
    async with asyncio.timeout(PATIENCE_S):
        await told.wait()
    event = await scene.world.event("KOR", "fork-evidence")
    assert "shrank from 9 entries to 4" in event.detail


async def test_a_partner_that_falls_silent_is_an_alarm(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", limits={"alarms": {"partner_silent_s": 0.3, "receipt_overdue_s": 0.3}})
    async with running(places) as world:
        await until(lambda: not alarms(world, "JPN"), "all is well")
        await world.stop("KOR")
        await until(lambda: any("KOR is silent" in each for each in alarms(world, "JPN")), "silence is told")
        await world.push_one("JPN", report())
        await until(lambda: any("no receipt in lane flash" in each for each in alarms(world, "JPN")), "so is this")
        told = await status(places["JPN"])
        assert told.exit_code == 3
        assert "ALARM: KOR is silent" in told.output
        assert any(
            "KOR is silent" in each for each in json.loads((await status(places["JPN"], "--json")).output)["alarms"]
        )
        await world.start("KOR")
        await until(lambda: not alarms(world, "JPN"), "both are over")
        await world.linked()
        async with asyncio.timeout(PATIENCE_S):
            # A busy machine is silent for so short a time now and then.
            while (quiet := await status(places["JPN"])).exit_code == 3:
                assert "ALARM" in quiet.output
        assert (quiet.exit_code, "ALARM" in quiet.output) == (0, False), quiet.output


async def status(place: Deployed, *options: str) -> Result:
    """What `signalfire status` says to a C2 system."""
    asked = ["status", "--credentials", str(place.directory / "c2" / READER), "--gateway", place.national, *options]
    return await asyncio.to_thread(CliRunner().invoke, main, asked)


# --- what a witness ledger may cost


def test_an_allowance_lets_a_burst_through_and_then_no_more_than_its_rate() -> None:
    now = [0.0]
    allowance = Allowance(bytes_per_s=1000, burst_bytes=100_000, monotonic=lambda: now[0])
    taken = 0
    while now[0] < 3600:
        wait_s = allowance.wait_s(10_000)
        taken += 10_000
        now[0] += wait_s
    assert taken <= 100_000 + 1000 * now[0] + 10_000


def test_a_batch_of_next_to_nothing_still_costs_something() -> None:
    allowance = Allowance(bytes_per_s=LEAST, burst_bytes=LEAST, monotonic=lambda: 0.0)
    assert allowance.wait_s(1) == 0.0
    assert allowance.wait_s(1) == pytest.approx(1.0)
