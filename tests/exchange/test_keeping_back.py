"""Between gateways: what may not go any more goes as hashes, what is in doubt waits, and the lanes go on."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from gateway.audit.verify import verify_store
from gateway.demo.deployment import Deployed
from gateway.ledger.origin import Origin
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.keeping import NO_CLOCK, NO_POLICY, SUSPENDED
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.rulebook import Rulebook
from policy.approve import Resume, Suspend
from tests.exchange.dialler import PATIENT, dialled, signatory
from tests.node.nations import World, cancellation, report, running, settle
from tests.node.waiting import until
from tests.officer.enact.bringing import bring

TO_KOR: Final = Origin("JPN", "KOR", "flash", 1)


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    return settle(tmp_path_factory.mktemp("kept-back"), "JPN", "KOR", limits={"exchange": PATIENT})


@pytest_asyncio.fixture
async def world(settled: dict[str, Deployed], tmp_path: Path) -> AsyncIterator[World]:
    places = {}
    for node, place in settled.items():
        places[node] = Deployed(node, tmp_path / node, place.national, place.exchange)
        shutil.copytree(place.directory, places[node].directory, ignore=shutil.ignore_patterns("store.db*"))
    async with running(places) as made:
        keys = {name: node.parts.partners.keys() for name, node in made.nodes.items()}
        yield made
    for name, place in places.items():
        reader = SqliteReader(place.store)
        assert verify_store(reader, signatory(place), keys[name]).findings == []
        reader.close()


@dataclass(frozen=True, slots=True)
class Govern:
    """Puts another policy in force, as an order of the officers does."""

    change: Callable[[Rulebook], Rulebook]
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> None:
        plan.govern(self.change(plan.rulebook))


@dataclass(frozen=True, slots=True)
class Stand:
    """Holds commits up, with everything that queues behind it, until it is let go."""

    let_go: threading.Event
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> None:
        assert self.let_go.wait(10)


def without_agreements(rulebook: Rulebook) -> Rulebook:
    assert rulebook.policy is not None
    return replace(rulebook, policy=replace(rulebook.policy, agreements={}))


def suspending(rulebook: Rulebook) -> Rulebook:
    return replace(rulebook, suspended=frozenset({"KOR"}))


async def caught_up(world: World) -> None:
    """Returns when KOR has all that JPN keeps for it in the FLASH lane."""

    def whole() -> bool:
        ours, theirs = world.ledger("JPN", TO_KOR), world.ledger("KOR", TO_KOR)
        return ours is not None and theirs is not None and theirs.root == ours.root

    await until(whole, "the ledger whole at KOR")


async def released_while_away(world: World, count: int = 1) -> list[str]:
    """Stops KOR, and has JPN release it these reports; their identifiers."""
    await world.stop("KOR")
    waiting = [report(node="JPN") for _ in range(count)]
    for each in waiting:
        assert (await world.push_one("JPN", each)).accepted
    return [each.report_id for each in waiting]


async def kept_back_events(world: World) -> list[str]:
    # What is pushed now ends the search.
    last = report(node="JPN")
    assert (await world.push_one("JPN", last)).accepted
    found = []
    async for record in world.places["JPN"].officer().watch_decisions():
        if record.node_event.kind == "entries-kept-back":
            found.append(record.node_event.detail)
        if record.decision_record.report_id == last.report_id:
            break
    return found


async def test_what_waits_for_a_partner_that_is_then_suspended_never_reaches_it_and_the_lane_goes_on(
    world: World,
) -> None:
    (waiting,) = await released_while_away(world)
    assert await bring(world.places["JPN"], Suspend("KOR", "A leak"), "carol") == set()
    await world.start("KOR")
    event = await world.event("JPN", "entries-kept-back")
    assert SUSPENDED in event.detail
    await caught_up(world)
    assert waiting not in world.inboxes["KOR"].reports
    assert await bring(world.places["JPN"], Resume("KOR"), "alice", "bob") == set()
    await world.linked()
    await world.carries("JPN", "KOR")
    assert waiting not in world.inboxes["KOR"].reports


async def test_a_withdrawal_that_was_on_its_way_when_its_partner_was_suspended_is_told_once_it_is_resumed(
    world: World,
) -> None:
    warning = await world.carries("JPN", "KOR")
    await world.stop("KOR")
    assert (await world.push_one("JPN", cancellation(warning.report_id))).accepted
    assert await bring(world.places["JPN"], Suspend("KOR", "A leak"), "carol") == set()
    await world.start("KOR")
    await world.event("JPN", "withdrawals-kept-back")
    await caught_up(world)
    assert warning.report_id not in world.inboxes["KOR"].withdrawn
    assert await bring(world.places["JPN"], Resume("KOR"), "alice", "bob") == set()
    await world.inboxes["KOR"].withdrawal(warning.report_id)


async def test_while_the_clock_is_not_trusted_what_rests_on_an_agreement_waits_in_sight_and_then_goes(
    world: World,
) -> None:
    (waiting,) = await released_while_away(world)
    world.walls["JPN"].set(3600)
    await world.start("KOR")
    await until(lambda: NO_CLOCK in world.status("JPN", "KOR").problem, "JPN says why nothing goes")
    assert "flash: nothing is sent" in world.status("JPN", "KOR").problem
    # A further stream of the lane that ends takes nothing of that away.
    link = world.nodes["JPN"].parts.partners.links["KOR"]
    async with dialled(world.places["KOR"], world.places["JPN"]) as further:
        await further.open(TO_KOR)
        await until(lambda: link.followed["flash"] == 2, "KOR follows twice")
    await until(lambda: link.followed["flash"] == 1, "and once")
    assert link.is_paused("flash")
    # KOR hears JPN all the same.
    await until(lambda: world.following("KOR", "JPN"), "heartbeats of JPN at KOR")
    replica = world.ledger("KOR", TO_KOR)
    assert replica is None or replica.size == 0
    world.walls["JPN"].set(0)
    await world.inboxes["KOR"].report(waiting)
    assert await kept_back_events(world) == []
    await until(lambda: not world.status("JPN", "KOR").problem, "nothing waits")


async def test_while_no_policy_is_believed_nothing_is_sent_and_nothing_given_up(world: World) -> None:
    (waiting,) = await released_while_away(world)
    sequencer = world.nodes["JPN"].parts.sequencer
    in_force = sequencer.rulebook
    await sequencer.do(Govern(lambda rulebook: Rulebook.none(rulebook.partners)))
    await world.start("KOR")
    await until(lambda: NO_POLICY in world.status("JPN", "KOR").problem, "JPN says why nothing goes")
    await sequencer.do(Govern(lambda _: in_force))
    await world.inboxes["KOR"].report(waiting)
    assert await kept_back_events(world) == []


async def test_a_partner_that_is_suspended_while_something_else_is_put_on_record_is_sent_nothing_more(
    world: World,
) -> None:
    lapsed = await released_while_away(world, 2)
    sequencer = world.nodes["JPN"].parts.sequencer
    in_force = sequencer.rulebook
    # Of the same run: two releases that may not go any more, and the opening of their epoch, which may.
    await sequencer.do(Govern(without_agreements))
    let_go = threading.Event()
    standing = sequencer.do(Stand(let_go))
    try:
        held = asyncio.ensure_future(standing)
        await until(lambda: sequencer.waiting == 0, "commits are held up")
        await world.start("KOR")
        await until(lambda: sequencer.waiting > 0, "what may not go is about to be put on record")
        suspended = asyncio.ensure_future(sequencer.do(Govern(suspending)))
        await until(lambda: sequencer.waiting > 1, "the suspension waits for the same commit")
    finally:
        let_go.set()
    await held
    await suspended
    await caught_up(world)
    reader = SqliteReader(world.places["KOR"].store)
    row = reader.ledger(TO_KOR)
    assert row is not None
    assert [reader.entry(row.id, index) for index in range(row.size)] == [None] * row.size
    reader.close()
    assert not set(lapsed) & set(world.inboxes["KOR"].reports)
    await sequencer.do(Govern(lambda _: in_force))
    await world.carries("JPN", "KOR")


async def test_however_often_a_partner_asks_what_is_kept_back_is_put_on_record_once(world: World) -> None:
    await released_while_away(world)
    await world.nodes["JPN"].parts.sequencer.do(Govern(suspending))
    answers = []
    for _ in range(4):
        async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
            await stream.open(TO_KOR)
            answers.append((await stream.read()).batch)
    assert len(answers[0].absent) == answers[0].count
    assert answers.count(answers[0]) == 4
    assert len(await kept_back_events(world)) == 1
    assert world.metric("JPN", "signalfire_kept_back_entries_total", partner="KOR") == answers[0].count
