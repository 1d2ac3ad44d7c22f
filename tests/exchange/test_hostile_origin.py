"""What a follower refuses of an origin that holds true keys, and that it refuses no more than that.

In every test JPN is the hostile one, on its FLASH lane or in its heartbeats; KOR's real gateway follows it. The
IMMEDIATE lane of the same JPN, and USA's real gateway, go on being heard.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from signalfire.v1 import exchange_pb2, ledger_pb2, report_pb2

from gateway.client import Received
from gateway.demo.deployment import Deployed
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Ed25519Signer, Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.reports.kinds import Kind
from gateway.seal.epoch import Epoch
from tests.exchange.dialler import FOLLOW, HEARTBEAT, signatory
from tests.exchange.origin import Follower, Forge, HostileOrigin, Script, quiet
from tests.node.nations import World, forget, report, running, settle
from tests.node.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

FLASH = Origin.release("JPN", "KOR", "flash", 1)
IMMEDIATE = Origin.release("JPN", "KOR", "immediate", 1)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    """Three nations; JPN's gateway never runs."""
    return settle(Path(tmp_path_factory.mktemp("nations")), "JPN", "KOR", "USA")


@dataclass(slots=True)
class Scene:
    """KOR and USA as they are, and JPN as its scripts have it."""

    world: World
    jpn: HostileOrigin
    flash: Forge
    immediate: Forge

    async def goes_on(self) -> None:
        """KOR still takes what is good: from the other lane of the same origin, and from the other nation."""
        track = report(Kind.TRACK)
        batch = self.immediate.reports(track)

        async def tell(follower: Follower) -> None:
            await follower.opened()
            if follower.open.size == batch.first:
                await follower.send(batch=batch)
            await follower.rest()

        self.plays("immediate", tell)
        await self.world.inboxes["KOR"].report(track.report_id)
        await self.world.carries("USA", "KOR")
        await self.world.carries("KOR", "USA")

    def plays(self, lane: str, script: Script) -> None:
        """From now on JPN does this in a lane, or in its heartbeats; streams that are open end."""
        if lane == HEARTBEAT:
            self.jpn.heartbeat = script
        else:
            self.jpn.lanes[lane] = script
        for each in self.jpn.open_streams.pop(lane, []):
            each.cancel()

    def replica(self, origin: Origin = FLASH) -> tuple[int, bytes] | None:
        """Size and root of KOR's replica."""
        row = self.world.ledger("KOR", origin)
        return None if row is None else (row.size, row.root)

    async def flash_problem(self, words: str) -> None:
        """Returns when KOR says of the FLASH lane what these words say."""
        await until(lambda: words in self.problem("flash"), f"KOR says {words!r}, not {self.problem('flash')!r}")

    def problem(self, lane: str) -> str:
        """What KOR says of one lane."""
        return self.world.nodes["KOR"].parts.partners.links["JPN"].problems.get(lane, "")


@pytest_asyncio.fixture(loop_scope="module")
async def scene(places: dict[str, Deployed]) -> AsyncIterator[Scene]:
    """A fresh scene for each test."""
    jpn, kor = signatory(places["JPN"]), signatory(places["KOR"])
    hostile = HostileOrigin(places["JPN"], "KOR")
    async with hostile.serving(), running(places, "KOR", "USA", linked=False) as world:
        yield Scene(world, hostile, Forge(jpn, kor), Forge(jpn, kor, "immediate"))
    forget(places["JPN"])


def sends(*messages: dict[str, Any]) -> Script:
    """Opens, sends these, and listens."""

    async def script(follower: Follower) -> None:
        await follower.opened()
        for message in messages:
            await follower.send(**message)
        await follower.rest()

    return script


# --- batches


def wrong_root(forge: Forge) -> exchange_pb2.Batch:
    batch = forge.reports(report())
    batch.checkpoint = forge.checkpoint(batch.count, bytes(range(32)))
    return batch


def altered_entry(forge: Forge) -> exchange_pb2.Batch:
    batch = forge.reports(report())
    spoilt = bytearray(batch.entries)
    spoilt[-1] ^= 1
    batch.entries = bytes(spoilt)
    return batch


def other_order(forge: Forge) -> exchange_pb2.Batch:
    batch = forge.reports(report(), report())
    opening, first, second = bundle.decode(batch.entries, 3)
    batch.entries = bundle.encode([opening, second, first])
    return batch


def signed_by_another(forge: Forge) -> exchange_pb2.Batch:
    batch = forge.reports(report())
    stranger = LogKey(bytes(range(32)))
    batch.checkpoint = sign_checkpoint(Checkpoint(FLASH, 2, forge.edge.root()), stranger).encode()
    return batch


def of_another_ledger(forge: Forge) -> exchange_pb2.Batch:
    batch = forge.reports(report())
    batch.checkpoint = sign_checkpoint(Checkpoint(IMMEDIATE, 2, forge.edge.root()), forge.owner.log).encode()
    return batch


def absent_without_reason(forge: Forge) -> exchange_pb2.Batch:
    entries = forge.entries(ledger_pb2.EntryContent(report=report()))
    batch = forge.batch(*entries)
    batch.entries = bundle.encode([entries[0], b""], allow_absent=True)
    return batch


def absent_with_a_reason_for_another(forge: Forge) -> exchange_pb2.Batch:
    entries = forge.entries(ledger_pb2.EntryContent(report=report()))
    batch = forge.batch(*entries)
    batch.entries = bundle.encode([entries[0], b""], allow_absent=True)
    leaf = leaf_hash(entries[1])
    reason = EntryStatement(EntryStatementKind.ABSENT, "JPN", FLASH, 7, leaf, "pruned").sign(forge.owner.gateway)
    batch.absent.add(index=1, leaf_hash=leaf, note=reason)
    return batch


BAD_BATCHES: list[tuple[str, str, Callable[[Forge], exchange_pb2.Batch]]] = [
    ("a root that is not that of its entries", "do not give the root that JPN signed", wrong_root),
    ("an altered entry", "do not give the root that JPN signed", altered_entry),
    ("entries in another order", "do not give the root that JPN signed", other_order),
    ("a checkpoint by a stranger", "batch at 0", signed_by_another),
    ("a checkpoint of another ledger", "batch at 0", of_another_ledger),
    ("a gap", "it begins at 5", lambda f: f.batch(*f.entries(), first=5)),
    ("more entries than it says", "batch at 0", lambda f: f.batch(*f.entries(), count=0)),
    ("fewer entries than it says", "batch at 0", lambda f: f.batch(*f.entries(), count=4_000_000_000)),
    ("no checkpoint", "batch at 0", lambda f: f.batch(*f.entries(), checkpoint=b"")),
    ("garbage for a checkpoint", "batch at 0", lambda f: f.batch(*f.entries(), checkpoint=b"\xff" * 500)),
    ("a bundle cut short", "batch at 0", lambda f: f.batch(*f.entries(), entries=b"\xff\xff\x00")),
    ("an entry given as its hash without a reason", "batch at 0", absent_without_reason),
    ("an entry given as its hash with another's reason", "speaks of another entry", absent_with_a_reason_for_another),
    (
        "more bytes than a message may have",
        "RESOURCE_EXHAUSTED",
        lambda f: f.batch(bytes(60_000), entries=bytes(9 << 20)),
    ),
]


@pytest.mark.parametrize(("words", "make"), [pytest.param(w, m, id=name) for name, w, m in BAD_BATCHES])
async def test_a_batch_that_does_not_verify_is_refused_whole_and_the_other_lanes_go_on(
    scene: Scene, words: str, make: Callable[[Forge], exchange_pb2.Batch]
) -> None:
    scene.plays("flash", sends({"batch": make(scene.flash)}))
    await scene.flash_problem(words)
    assert scene.replica() is None
    assert scene.jpn.sent(FOLLOW, "receipt") == []
    await scene.goes_on()
    assert not [each for each in scene.world.inboxes["KOR"].reports.values() if each.ledger == str(FLASH)]

    # Once the lane behaves, it is followed.
    jpn, kor = scene.flash.owner, signatory(scene.world.places["KOR"])
    good = report()
    scene.plays("flash", sends({"batch": Forge(jpn, kor).reports(good)}))
    await scene.world.inboxes["KOR"].report(good.report_id)


async def test_a_batch_that_is_sent_twice_is_kept_once_and_receipted_twice(scene: Scene) -> None:
    good = report()
    batch = scene.flash.reports(good)
    receipts: list[bytes] = []

    async def twice(follower: Follower) -> None:
        await follower.opened()
        for _ in range(2 if follower.open.size == 0 else 0):
            await follower.send(batch=batch)
            receipts.append(Note.parse((await follower.read()).receipt.note).text.encode())
        await follower.rest()

    scene.plays("flash", twice)
    await scene.world.inboxes["KOR"].report(good.report_id)
    await until(lambda: len(receipts) == 2, "the second copy is receipted as well")
    assert receipts[0] == receipts[1] == Note.parse(batch.checkpoint).text.encode()
    assert scene.world.metric("KOR", "signalfire_batches_passed_over_total", partner="JPN") == 1
    assert scene.replica() == (2, scene.flash.edge.root())
    await scene.goes_on()
    ids = [each.report.report_id for each in await scene.world.collect("KOR") if isinstance(each, Received)]
    assert ids.count(good.report_id) == 1


async def test_a_report_that_its_owner_repeats_under_other_entries_is_delivered_once(scene: Scene) -> None:
    good, after = report(), report()
    batch = scene.flash.reports(good, good, good, after)
    scene.plays("flash", sends({"batch": batch}))
    await scene.world.inboxes["KOR"].report(after.report_id)
    ids = [each.report.report_id for each in await scene.world.collect("KOR") if isinstance(each, Received)]
    assert ids.count(good.report_id) == 1


# --- entries that verify, and may not be used


def sealed(*contents: ledger_pb2.EntryContent) -> Callable[[Forge], list[bytes]]:
    return lambda forge: forge.entries(*contents)


def of_report(made: report_pb2.Report) -> ledger_pb2.EntryContent:
    return ledger_pb2.EntryContent(report=made)


def withdrawal(**fields: Any) -> ledger_pb2.EntryContent:
    whole: dict[str, Any] = {"report_id": report().report_id, "traffic_class": 1, "precedence": 4, **fields}
    return ledger_pb2.EntryContent(withdrawal=ledger_pb2.Withdrawal(**whole))


def sealed_to_another(forge: Forge) -> list[bytes]:
    """An epoch whose key the recipient has no wrap of, and an entry in it."""
    readers = (("USA", forge.owner.sealing[0].public),)
    epoch, opening = Epoch.open_new(str(forge.origin), 1, readers)
    return [*forge.entries(), opening, epoch.seal(2, of_report(report()).SerializeToString())]


def of_another_place(forge: Forge) -> list[bytes]:
    """What was sealed for index 2 stands at index 1."""
    return [*forge.entries(), forge.epoch.seal(2, of_report(report()).SerializeToString()), b"\x01" * 1000]


UNUSABLE: list[tuple[str, Callable[[Forge], list[bytes]]]] = [
    ("noise", lambda f: [*f.entries(), b"\x01" * 1000]),
    ("one byte", lambda f: [*f.entries(), b"\x00"]),
    ("an entry sealed to another", sealed_to_another),
    ("an entry of another place", of_another_place),
    ("a report of another nation", sealed(of_report(report(node="USA")))),
    ("a report of the recipient's own", sealed(of_report(report(node="KOR")))),
    ("a report that breaks a rule", sealed(of_report(report(launch_detection__launch_point__latitude_deg=91.0)))),
    ("a report with nothing in it", sealed(of_report(report_pb2.Report()))),
    ("a decision record", sealed(ledger_pb2.EntryContent(decision_record=ledger_pb2.DecisionRecord()))),
    ("nothing", sealed(ledger_pb2.EntryContent())),
    ("the withdrawal of nothing", sealed(withdrawal(report_id=""))),
    ("a withdrawal without a time", sealed(withdrawal())),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in UNUSABLE])
async def test_an_entry_that_cannot_be_used_is_kept_answered_and_never_delivered(
    scene: Scene, make: Callable[[Forge], list[bytes]]
) -> None:
    first = scene.flash.batch(*make(scene.flash))
    good = report()
    second = scene.flash.reports(good)
    scene.plays("flash", sends({"batch": first}, {"batch": second}))
    delivered = await scene.world.inboxes["KOR"].report(good.report_id)
    assert delivered.index == scene.flash.edge.size - 1
    assert scene.replica() == (scene.flash.edge.size, scene.flash.edge.root())
    await until(lambda: len(scene.jpn.sent(FOLLOW, "receipt")) == 2, "a receipt for each batch")
    kor = signatory(scene.world.places["KOR"])
    entries = bundle.decode(first.entries, first.count)
    statements = [
        EntryStatement.open(
            each.note, [kor.gateway.verifier], kind=EntryStatementKind.UNOPENABLE, node="KOR", origin=FLASH
        )
        for each in scene.jpn.sent(FOLLOW, "unopenable")
    ]
    assert {(each.index, each.leaf_hash) for each in statements} == {
        (index, leaf_hash(entry)) for index, entry in enumerate(entries) if index > 0
    }
    assert len(scene.world.inboxes["KOR"].reports) == 1
    assert scene.world.inboxes["KOR"].withdrawn == []
    await scene.goes_on()


# --- messages where they have no place, and streams that end


ODD: list[tuple[str, str, Script]] = [
    ("a second challenge", "challenge came", sends({"challenge": exchange_pb2.Challenge()})),
    ("a second opening", "opened came", sends({"opened": exchange_pb2.Opened()})),
    ("an empty message", "an empty message came", sends({})),
    (
        "a successor that skips a generation",
        "is not its next generation",
        sends({"ended": exchange_pb2.Ended(successor=str(Origin.release("JPN", "KOR", "flash", 3)))}),
    ),
    (
        "a successor in another lane",
        "is not its next generation",
        sends({"ended": exchange_pb2.Ended(successor=str(Origin.release("JPN", "KOR", "routine", 2)))}),
    ),
    (
        "a successor of another owner",
        "is not its next generation",
        sends({"ended": exchange_pb2.Ended(successor=str(Origin.release("USA", "KOR", "flash", 2)))}),
    ),
    ("no successor", "does not begin with", sends({"ended": exchange_pb2.Ended(successor="")})),
    ("a post-quantum line that is none", "flash", sends({"cosignature": exchange_pb2.Cosignature(note=b"\xff")})),
]


@pytest.mark.parametrize(("words", "script"), [pytest.param(w, s, id=name) for name, w, s in ODD])
async def test_a_message_that_has_no_place_ends_its_stream_alone(scene: Scene, words: str, script: Script) -> None:
    scene.plays("flash", script)
    await scene.flash_problem(words)
    await scene.goes_on()
    row = scene.world.ledger("KOR", FLASH)
    assert row is None or row.successor is None


@pytest.mark.parametrize("lane", ["flash", "heartbeat"])
async def test_bytes_that_are_no_message_end_their_stream_alone(scene: Scene, lane: str) -> None:
    async def noise(follower: Follower) -> None:
        await follower.send_bytes(b"\xff" * 100)
        await follower.rest()

    scene.plays(lane, noise)
    await until(lambda: "not of the contract" in scene.problem(lane), "KOR says so")
    await scene.goes_on()


async def test_an_origin_that_is_gone_before_it_hears_the_receipt_is_dialled_again(scene: Scene) -> None:
    reports = [report() for _ in range(12)]
    batches = [scene.flash.reports(each) for each in reports]
    at = {batch.first: batch for batch in batches}

    async def tell_and_go(follower: Follower) -> None:
        await follower.opened()
        if follower.open.size in at:
            await follower.send(batch=at[follower.open.size])
            return
        await follower.rest()

    scene.plays("flash", tell_and_go)
    for each in reports:
        await scene.world.inboxes["KOR"].report(each.report_id)
    await scene.goes_on()


async def test_an_origin_that_ends_ledger_after_ledger_does_not_keep_the_follower_spinning(scene: Scene) -> None:
    async def end(follower: Follower) -> None:
        successor = Origin.parse(follower.open.origin).successor()
        await follower.opened()
        await follower.send(ended=exchange_pb2.Ended(successor=str(successor)))

    scene.plays("flash", end)
    await until(lambda: scene.world.ledger("KOR", Origin.release("JPN", "KOR", "flash", 3)) is not None, "two endings")
    before = len([each for each in scene.jpn.sent(FOLLOW, "open") if "/flash/" in each.origin])
    await scene.goes_on()
    after = len([each for each in scene.jpn.sent(FOLLOW, "open") if "/flash/" in each.origin])
    assert after - before < 50
    scene.plays("flash", quiet)


# --- heartbeats


Pulses = Callable[[HostileOrigin], list[exchange_pb2.Pulse]]

COUNTER = 2**62  # larger than those of the honest heartbeats before it


def head(root: bytes, size: int = 2, origin: Origin = FLASH) -> Checkpoint:
    return Checkpoint(origin, size, root)


BAD_PULSES: list[tuple[str, str, Pulses]] = [
    ("one that was heard before", f"is an old one: {COUNTER} was before it", lambda o: [o.pulse(COUNTER)]),
    ("one with a lower counter", f"is an old one: {COUNTER} was before it", lambda o: [o.pulse(COUNTER - 1)]),
    ("one of another node", "not one of JPN for KOR", lambda o: [o.pulse(COUNTER + 1, node="USA")]),
    ("one for another node", "not one of JPN for KOR", lambda o: [o.pulse(COUNTER + 1, recipient="USA")]),
    (
        "one by another key",
        "does not hold over this note|is signed by no known key",
        lambda o: [o.pulse(COUNTER + 1, signer=Ed25519Signer(o.keys.gateway.name, bytes(range(32))))],
    ),
    (
        "one over another root than was signed",
        "two roots at size 2",
        lambda o: [o.pulse(COUNTER + 1, head(bytes(range(32))))],
    ),
    (
        "one over a ledger for another",
        "is not a ledger of JPN for KOR",
        lambda o: [o.pulse(COUNTER + 1, head(bytes(32), origin=Origin.release("JPN", "USA", "flash", 1)))],
    ),
    ("garbage", "note is not UTF-8", lambda o: [exchange_pb2.Pulse(note=b"\xff" * 80)]),
]


@pytest.mark.parametrize(("words", "make"), [pytest.param(w, m, id=name) for name, w, m in BAD_PULSES])
async def test_a_heartbeat_that_is_not_fresh_or_not_true_is_no_heartbeat(
    scene: Scene, words: str, make: Pulses
) -> None:
    good = report()
    scene.plays("flash", sends({"batch": scene.flash.reports(good)}))
    await scene.world.inboxes["KOR"].report(good.report_id)
    said = False

    async def pulses(follower: Follower) -> None:
        nonlocal said
        if not said:
            await follower.send(pulse=scene.jpn.pulse(COUNTER, head(scene.flash.edge.root())))
            await follower.read()
            said = True
        for pulse in make(scene.jpn):
            await follower.send(pulse=pulse)
        await follower.rest()

    scene.plays(HEARTBEAT, pulses)
    await until(
        lambda: said and re.search(words, scene.problem("heartbeat")) is not None,
        f"{words}: {scene.problem('heartbeat')}",
    )
    status = scene.world.status("KOR", "JPN")
    assert not status.following
    assert "heartbeat" in status.problem
    await scene.goes_on()


async def test_silence_where_a_heartbeat_was_due_is_a_link_that_is_down(scene: Scene) -> None:
    async def one_and_no_more(follower: Follower) -> None:
        await follower.send(pulse=scene.jpn.pulse(COUNTER))
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await follower.read()

    scene.plays(HEARTBEAT, one_and_no_more)
    await until(lambda: "nothing came for 5 s" in scene.problem("heartbeat"), "KOR notices the silence")
    assert not scene.world.status("KOR", "JPN").following
    await scene.goes_on()
