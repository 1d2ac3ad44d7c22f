"""Comparing ledgers between gateways: what may be asked, what is answered, and partners that answer as they please."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from signalfire.v1 import exchange_pb2, officer_pb2

from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.merkle import EMPTY_ROOT, leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from tests.exchange.dialler import INSPECT, PATIENT, Stream, dialled, signatory
from tests.exchange.origin import Follower, HostileOrigin, Script
from tests.node.nations import World, running, settle
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

FLASH = Origin.release("JPN", "KOR", "flash", 1)
QUESTIONS = 120
"""Questions that one stream may ask in these tests."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    directory = Path(tmp_path_factory.mktemp("nations"))
    limits = {"exchange": {"questions": QUESTIONS, "questions_s": 1000, "handshake_s": 5.0}}
    async with running(settle(directory, "JPN", "KOR", "USA", limits=limits)) as running_world:
        await running_world.carries("JPN", "KOR", "USA")
        await running_world.carries("KOR", "JPN", "USA")
        yield running_world


async def hashes(stream: Stream, origin: object, level: int, first: int, count: int) -> bytes:
    await stream.send(read_hashes=exchange_pb2.ReadHashes(origin=str(origin), level=level, first=first, count=count))
    return bytes((await stream.read()).hashes.hashes)


# --- what is answered


async def test_a_partner_is_told_of_the_ledgers_between_the_two_and_of_no_other(world: World) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"], INSPECT) as stream:
        await stream.prove()
        await stream.send(list_heads=exchange_pb2.ListHeads())
        ledgers = {each.origin: each for each in (await stream.read()).heads.ledgers}
    assert str(FLASH) in ledgers
    assert "signalfire/v1/KOR/JPN/flash/1" in ledgers
    assert not [name for name in ledgers if "USA" in name or "decisions" in name]
    told, held = ledgers[str(FLASH)], world.ledger("JPN", FLASH)
    assert held is not None
    assert (told.size, told.root) == (held.size, held.root)
    checkpoint = Checkpoint.parse(Note.parse(told.checkpoint).text)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (FLASH, held.size, held.root)


async def test_hashes_are_those_of_the_entries_and_no_entry_travels(world: World) -> None:
    held = world.ledger("JPN", FLASH)
    assert held is not None
    async with dialled(world.places["KOR"], world.places["JPN"], INSPECT) as stream:
        await stream.prove()
        leaves = await hashes(stream, FLASH, 0, 0, 256)
        assert len(leaves) == 32 * held.size
        assert await hashes(stream, FLASH, 0, held.size, 1) == b""
        assert await hashes(stream, FLASH, 63, 0, 1) == b""
        await stream.send(read_checkpoint=exchange_pb2.ReadCheckpoint(origin=str(FLASH), size=held.size))
        notes = (await stream.read()).held_checkpoint
        assert notes.checkpoint
        await stream.send(read_checkpoint=exchange_pb2.ReadCheckpoint(origin=str(FLASH), size=1 << 62))
        assert not (await stream.read()).held_checkpoint.checkpoint
    entries = [bytes(entry) for entry in entries_of(world)]
    assert leaves == b"".join(map(leaf_hash, entries))
    sent = b"".join(stream.raw)
    assert not [entry for entry in entries if entry[:64] in sent]


def entries_of(world: World) -> list[bytes]:
    reader = world.nodes["JPN"].parts.store.read()
    row = reader.ledger(FLASH)
    assert row is not None
    return [reader.entry(row.id, index) or b"" for index in range(row.size)]


@pytest.mark.parametrize(
    ("origin", "level", "first", "count"),
    [
        ("signalfire/v1/JPN/USA/flash/1", 0, 0, 1),
        ("signalfire/v1/USA/JPN/flash/1", 0, 0, 1),
        ("signalfire/v1/AUS/witness/1", 0, 0, 1),
        ("signalfire/v1/USA/witness/9", 0, 0, 1),
        ("signalfire/v1/JPN/decisions/1", 0, 0, 1),
        ("signalfire/v1/KOR/decisions/1", 0, 0, 1),
        ("", 0, 0, 1),
        ("../../etc/passwd", 0, 0, 1),
        (str(FLASH), 0, 0, 0),
        (str(FLASH), 0, 0, 257),
        (str(FLASH), 1, 0, 129),
        (str(FLASH), 7, 0, 3),
        (str(FLASH), 64, 0, 1),
        (str(FLASH), 2**32 - 1, 0, 1),
        (str(FLASH), 0, 0, 2**32 - 1),
    ],
)
async def test_what_may_not_be_asked_ends_the_stream(
    world: World, origin: str, level: int, first: int, count: int
) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"], INSPECT) as stream:
        await stream.prove()
        asked = exchange_pb2.ReadHashes(origin=origin, level=level, first=first, count=count)
        await stream.send(read_hashes=asked)
        assert (await stream.ended()).code is grpc.StatusCode.INVALID_ARGUMENT
        assert len(stream.raw) == 1


async def test_a_position_beyond_every_ledger_gives_nothing(world: World) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"], INSPECT) as stream:
        await stream.prove()
        for first in (10**9, 2**63 - 1, 2**64 - 1):
            assert await hashes(stream, FLASH, 0, first, 256) == b""
        assert await hashes(stream, "signalfire/v1/JPN/KOR/flash/9", 0, 0, 1) == b""


async def test_what_is_no_question_ends_the_stream(world: World) -> None:
    again: list[dict[str, Any]] = [{}, {"hello": exchange_pb2.Hello()}, {"proof": exchange_pb2.Proof()}]
    for message in again:
        async with dialled(world.places["KOR"], world.places["JPN"], INSPECT) as stream:
            await stream.prove()
            await stream.send(**message)
            assert "has no place here" in (await stream.ended()).details
    async with dialled(world.places["KOR"], world.places["JPN"], INSPECT) as stream:
        await stream.prove()
        await stream.send_bytes(b"\xff\xff")
        await stream.ended()
    await world.carries("JPN", "KOR", "USA")


async def test_nothing_is_answered_before_the_proof_or_to_a_proof_for_another_purpose(world: World) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"], INSPECT) as stream:
        await stream.send(list_heads=exchange_pb2.ListHeads())
        assert (await stream.ended()).code is grpc.StatusCode.UNAUTHENTICATED
    async with dialled(world.places["KOR"], world.places["JPN"], INSPECT) as stream:
        await stream.prove(signatory(world.places["USA"]).gateway)
        assert (await stream.ended()).code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_may_ask_so_often_and_no_more(world: World) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"], INSPECT) as stream:
        await stream.prove()
        for _ in range(QUESTIONS):
            await hashes(stream, FLASH, 0, 0, 1)
        end = await stream.ended()
        assert (end.code, f"{QUESTIONS} questions" in end.details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)


async def test_a_stream_without_a_question_is_ended(world: World) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"], INSPECT) as stream:
        await stream.prove()
        end = await stream.ended()
        assert (end.code, "no question within 5 s" in end.details) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)


# --- comparing through one's own gateway


async def compared(world: World, own: str = "JPN", partner: str = "KOR") -> dict[str, officer_pb2.ReconcileResponse]:
    return {each.ledger: each async for each in world.places[own].officer().reconcile(partner)}


async def test_ledgers_that_agree_are_identical_in_both_directions_and_that_is_on_record(world: World) -> None:
    found = await compared(world)
    assert {"signalfire/v1/JPN/KOR/flash/1", "signalfire/v1/KOR/JPN/flash/1"} <= set(found)
    for each in found.values():
        assert not each.finding, each
        assert each.agreed_size == min(each.size, each.partner_size)
    assert [name for name in found if "USA" in name or "decisions" in name] == ["signalfire/v1/USA/witness/1"]
    event = await world.event("JPN", "reconciled")
    assert "no ledger parts" in event.detail


async def test_a_partner_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    async with running(settle(tmp_path, "JPN", "KOR"), "JPN", linked=False) as alone:
        with pytest.raises(ConnectionError, match="KOR cannot be asked what it holds"):
            await compared(alone)


# --- a partner that answers as it pleases


def says(**answers: Any) -> Script:
    """Answers each kind of question always alike."""

    async def script(follower: Follower) -> None:
        async for message in questions(follower):
            kind = message.WhichOneof("message")
            if kind not in answers:
                return
            await follower.send(**answers[kind])

    return script


async def questions(follower: Follower) -> AsyncIterator[Any]:
    try:
        while True:
            yield await follower.read()
    except StopAsyncIteration:
        return


def head(**fields: Any) -> exchange_pb2.HeldLedger:
    return exchange_pb2.HeldLedger(**{"origin": str(FLASH), "size": 0, "root": EMPTY_ROOT, **fields})


def heads(*ledgers: exchange_pb2.HeldLedger) -> dict[str, Any]:
    return {"heads": exchange_pb2.Heads(ledgers=ledgers)}


@pytest.fixture(scope="module")
def hostile_places(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return settle(Path(tmp_path_factory.mktemp("hostile")), "JPN", "KOR", limits={"exchange": PATIENT})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (heads(head(origin="signalfire/v1/JPN/USA/flash/1")), "not between it and JPN"),
        (heads(head(origin="signalfire/v1/JPN/decisions/1")), "not between it and JPN"),
        (heads(head(origin="nonsense")), "lists what is no ledger"),
        (heads(head(root=b"short")), "the root is 5 bytes"),
        (heads(head(root=b"\x00" * 32)), "not the empty tree's"),
        (heads(head(size=2**63)), "size"),
        (heads(head(), head()), "lists a ledger twice"),
        (heads(head(successor="x")), "lists what is no ledger"),
        ({"hashes": exchange_pb2.Hashes()}, "hashes came where heads was due"),
        ({}, "None came where heads was due"),
    ],
)
async def test_a_list_of_ledgers_that_is_none_is_refused_in_words(
    hostile_places: Any, answer: dict[str, Any], words: str
) -> None:
    origin = HostileOrigin(hostile_places["KOR"], "JPN", inspect=says(list_heads=answer))
    async with origin.serving(), running(hostile_places, "JPN", linked=False) as alone:
        with pytest.raises(ConnectionError, match="KOR cannot be asked what it holds") as refused:
            await compared(alone)
    assert words in str(refused.value)


async def test_a_partner_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", limits={"exchange": {"handshake_s": 1.0}})

    async def silent(follower: Follower) -> None:
        await follower.rest()

    origin = HostileOrigin(places["KOR"], "JPN", inspect=silent)
    async with origin.serving(), running(places, "JPN", linked=False) as alone:
        with pytest.raises(ConnectionError, match="nothing came for"):
            await compared(alone)


def checkpoint(key: LogKey, size: int, root: bytes, origin: Origin = FLASH) -> bytes:
    return sign_checkpoint(Checkpoint(origin, size, root), key).encode()


async def test_a_partner_that_claims_entries_which_nobody_signed_is_named(hostile_places: Any) -> None:
    kor = signatory(hostile_places["KOR"])
    # It signs a checkpoint of our ledger with its own key: that says nothing about us.
    forged = head(size=3, root=b"\x01" * 32, checkpoint=checkpoint(kor.log, 3, b"\x01" * 32))
    origin = HostileOrigin(hostile_places["KOR"], "JPN", inspect=says(list_heads=heads(forged)))
    async with origin.serving(), running(hostile_places, "JPN", linked=False) as alone:
        found = (await compared(alone))[str(FLASH)]
        assert "KOR holds 3 entries" in found.finding
        assert "shows no checkpoint of JPN" in found.finding
        event = await alone.event("JPN", "reconciled")
        assert "1 part" in event.detail


async def test_a_checkpoint_of_ours_that_we_no_longer_hold_shows_that_our_tail_is_lost(hostile_places: Any) -> None:
    jpn = signatory(hostile_places["JPN"])
    root = leaf_hash(b"an entry that is gone")
    signed = checkpoint(jpn.log, 1, root)
    script = says(list_heads=heads(head(size=1, root=root, checkpoint=signed)))
    origin = HostileOrigin(hostile_places["KOR"], "JPN", inspect=script)
    async with origin.serving(), running(hostile_places, "JPN", linked=False) as alone:
        found = (await compared(alone))[str(FLASH)]
        assert "its ledger lost its tail" in found.finding
        assert list(found.evidence) == [signed]
        assert signed in (await alone.event("JPN", "reconciled")).evidence


async def test_hashes_that_do_not_add_up_to_what_a_partner_states_are_named(hostile_places: Any) -> None:
    """JPN has one entry for KOR; KOR shows a checkpoint for another, and hashes that are neither's."""
    jpn = signatory(hostile_places["JPN"])
    root = leaf_hash(b"another entry")
    lying = says(
        list_heads=heads(head(size=1, root=root, checkpoint=checkpoint(jpn.log, 1, root))),
        read_hashes={"hashes": exchange_pb2.Hashes(hashes=b"\x05" * 32)},
        read_checkpoint={"held_checkpoint": exchange_pb2.HeldCheckpoint()},
    )
    origin = HostileOrigin(hostile_places["KOR"], "JPN", inspect=lying)
    async with origin.serving(), running(hostile_places, "JPN", linked=False) as alone:
        await released(alone)
        found = (await compared(alone))[str(FLASH)]
        assert "what KOR gives does not add up" in found.finding
        assert not found.differing


async def test_two_signed_histories_are_named_to_the_entry_with_both_notes(hostile_places: Any) -> None:
    jpn = signatory(hostile_places["JPN"])
    root = leaf_hash(b"another entry")
    signed = checkpoint(jpn.log, 1, root)
    forked = says(
        list_heads=heads(head(size=1, root=root, checkpoint=signed)),
        read_hashes={"hashes": exchange_pb2.Hashes(hashes=root)},
        read_checkpoint={"held_checkpoint": exchange_pb2.HeldCheckpoint(checkpoint=signed)},
    )
    origin = HostileOrigin(hostile_places["KOR"], "JPN", inspect=forked)
    async with origin.serving(), running(hostile_places, "JPN", linked=False) as alone:
        await released(alone)
        found = (await compared(alone))[str(FLASH)]
        assert "JPN signed two trees that part at entry 0" in found.finding
        assert list(found.differing) == [0]
        assert len(found.evidence) == 2
        assert signed in found.evidence


async def released(world: World) -> None:
    """JPN releases a report to KOR, which is not there to take it."""
    await world.carries("JPN")


async def test_cancelling_a_comparison_leaves_the_gateway_serving(world: World) -> None:
    async with asyncio.timeout(PATIENCE_S):
        stream = world.places["JPN"].officer().reconcile("KOR")
        assert (await anext(stream)).ledger
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator
    await world.carries("JPN", "KOR", "USA")
