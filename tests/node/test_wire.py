"""Nothing about a withheld report, and nothing of a withheld field, reaches a partner: not on the wire, not at rest.

Words that stand nowhere else are planted in reports at JPN. KOR, from whom they are withheld, is searched for them in
every way that it could have them; USA, to whom they were released, has them, so the search can find them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import grpc
import pytest_asyncio
from signalfire.v1 import c2_pb2, exchange_pb2, report_pb2

from gateway.demo.deployment import Deployed
from gateway.ledger import bundle
from gateway.ledger.origin import WITNESS, Lane, Origin
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.opening import Opener
from gateway.reports.kinds import Kind
from gateway.seal.entry import parse_header
from tests.exchange.dialler import HEARTBEAT, Ended, Stream, dialled, signatory
from tests.node.connecting import as_system
from tests.node.nations import World, cancellation, report, running, settle
from tests.node.waiting import EVERY_CLASS
from tests.patience import PATIENCE_S

USA_ONLY = ["USA"]
INTERNAL = report_pb2.TRAFFIC_CLASS_TEST


@dataclass(frozen=True, slots=True)
class Planted:
    """What was pushed at JPN, and the words in it."""

    withheld_words: frozenset[str]
    """Words that stand in what KOR may not have, and USA has."""
    nobodys_words: frozenset[str]
    """Words that stand in what no partner may have."""
    released: frozenset[str]
    """Identifiers of the reports that KOR was released."""


def word() -> str:
    """A word that stands nowhere else."""
    return f"zz{secrets.token_hex(8)}zz"


async def plant(world: World) -> Planted:
    """Pushes reports of every kind: some withheld from KOR, some released with fields left out, some for nobody."""
    withheld, nobody, released = set(), set(), set()

    def secret(kind: Kind, **changes: Any) -> report_pb2.Report:
        made = report(kind, marking__releasable_to=USA_ONLY, **changes)
        event, station, area = word(), word(), word()
        made.event_id, made.originator_station, made.threat.launch_area = event, station, area
        withheld.update({made.report_id, event, station, area})
        return made

    launch, track, impact = secret(Kind.LAUNCH_DETECTION), secret(Kind.TRACK), secret(Kind.IMPACT_PREDICTION)
    track.track.track_id = str(uuid.uuid4())
    withheld.add(track.track.track_id)
    impact.impact_prediction.track_id = track.track.track_id
    explained = word()
    cancel = secret(Kind.CANCELLATION, cancellation__report_ids=[launch.report_id], cancellation__explanation=explained)
    withheld.add(explained)
    clear = secret(Kind.ALL_CLEAR, all_clear__explanation=(over := word()))
    withheld.discard(clear.event_id)
    clear.event_id = track.event_id
    withheld.add(over)
    await world.push("JPN", launch, track, impact, cancel, clear)

    # Released to both: KOR's copy is without the station, which USA gets, and refers to nothing that was withheld.
    common = report(Kind.LAUNCH_DETECTION, originator_station=(station := word()))
    withheld.add(station)
    referring = report(Kind.TRACK, originator_station=(other_station := word()))
    withheld.add(other_station)
    del referring.references[:]
    referring.references.add(
        originator_node="JPN", report_id=launch.report_id, relation=report_pb2.REFERENCE_RELATION_DERIVED_FROM
    )
    referring.references.add(
        originator_node="JPN", report_id=common.report_id, relation=report_pb2.REFERENCE_RELATION_CORRELATES_WITH
    )
    await world.push("JPN", common, referring)
    released.update({common.report_id, referring.report_id})

    # A cancellation that names what KOR had and what it had not.
    mixed_launch = secret(Kind.LAUNCH_DETECTION)
    await world.push("JPN", mixed_launch)
    mixed = cancellation(common.report_id, mixed_launch.report_id)
    await world.push("JPN", mixed)
    released.add(mixed.report_id)

    # For nobody: a test of our own links, a launch from elsewhere, and national eyes only.
    stays_at_home: tuple[dict[str, Any], ...] = (
        {"traffic_class": INTERNAL},
        {"threat__launch_country": "UNKNOWN"},
        {"marking__releasable_to": []},
    )
    for changes in stays_at_home:
        made = report(Kind.LAUNCH_DETECTION, **changes)
        made.event_id, made.threat.launch_area = word(), word()
        nobody.update({made.report_id, made.event_id, made.threat.launch_area})
        await world.push("JPN", made)

    last = await world.carries("JPN", "KOR", "USA")
    released.add(last.report_id)
    for partner in ("KOR", "USA"):
        for report_id in released:
            await world.inboxes[partner].report(report_id)
        await world.inboxes[partner].withdrawal(common.report_id)
    for each in (launch, track, impact, clear, mixed_launch):
        await world.inboxes["USA"].report(each.report_id)
    for recalled in (launch.report_id, mixed_launch.report_id, track.report_id):
        await world.inboxes["USA"].withdrawal(recalled)
    return Planted(frozenset(withheld), frozenset(nobody), frozenset(released))


def forms(words: Iterable[str]) -> dict[bytes, str]:
    """Each word in every form in which it could stand somewhere: as text, as text in UTF-16, a UUID as its 16 bytes."""
    found: dict[bytes, str] = {}
    for each in words:
        found[each.encode()] = each
        found[each.encode("utf-16-le")] = each
        with contextlib.suppress(ValueError):
            found[uuid.UUID(each).bytes] = each
            found[uuid.UUID(each).hex.encode()] = each
    return found


def found_in(data: bytes, words: Iterable[str]) -> set[str]:
    """Those of the words that stand in the data in any form."""
    return {each for form, each in forms(words).items() if form in data}


async def recorded(place: Deployed, to: Deployed, sizes: dict[str, int]) -> list[bytes]:
    """Every message that a gateway sends the partner `place` on all of its streams, up to what it has now."""
    raw: list[bytes] = []
    for lane, size in sizes.items():
        async with dialled(place, to) as stream:
            await stream.open(Origin.release(to.node, place.node, lane, 1))
            await _until_size(stream, size)
            raw += stream.raw
    async with dialled(place, to, HEARTBEAT) as stream:
        await stream.prove()
        for _ in range(3):
            await stream.echo()
        raw += stream.raw
    return raw


async def _until_size(stream: Stream, size: int) -> None:
    seen = pq = 0
    with contextlib.suppress(Ended):
        # The post-quantum line is the last thing that comes about a batch.
        while seen < size or pq < size:
            message = await stream.read()
            seen = max(seen, message.batch.first + message.batch.count)
            if message.WhichOneof("message") == "cosignature":
                pq = int(message.cosignature.note.decode().split("\n")[1])


def ledger_sizes(world: World, recipient: str) -> dict[str, int]:
    """Sizes of the ledgers that JPN keeps for a partner, by lane."""
    rows = {lane.value: world.ledger("JPN", Origin.release("JPN", recipient, lane, 1)) for lane in Lane}
    return {lane: row.size for lane, row in rows.items() if row is not None and row.size}


def opened(place: Deployed, raw: Iterable[bytes]) -> bytes:
    """The plaintext of every entry in what was recorded, as the recipient's own keys open it."""
    plain = b""
    entries: dict[tuple[str, int], bytes] = {}
    for data in raw:
        message = exchange_pb2.FollowResponse.FromString(data)
        if message.WhichOneof("message") == "batch":
            origin = message.batch.checkpoint.decode().split("\n")[0]
            listed = bundle.decode(message.batch.entries, message.batch.count)
            entries |= {(origin, message.batch.first + place_): each for place_, each in enumerate(listed)}
    opener = Opener(place.node, signatory(place).sealing)
    for (origin, index), entry in entries.items():
        payload = opener.payload(
            Origin.parse(origin),
            index,
            entry,
            lambda at, origin=origin: entries[origin, at],  # type: ignore[misc]
        )
        plain += b"" if payload is None else payload.SerializeToString()
    assert entries
    return plain


def at_rest(place: Deployed) -> bytes:
    """Every byte of a nation's database files, the write-ahead log included, and of everything beside them."""
    return b"".join(
        path.read_bytes()
        for path in sorted(place.directory.rglob("*"))
        if path.is_file() and "policy" not in path.parts
    )


def opened_at_rest(place: Deployed, owner: str) -> bytes:
    """The plaintext of every entry of `owner` that the nation's store holds, opened with the nation's own keys."""
    reader = SqliteReader(place.store)
    opener = Opener(place.node, signatory(place).sealing)
    plain = b""
    for row in reader.ledgers():
        if row.origin.owner != owner or (row.origin.lane == WITNESS and owner != place.node):
            # A partner's witness ledger is sealed to the partner alone.
            continue
        for index in range(row.size):
            payload = opener.payload(
                row.origin,
                index,
                reader.entry(row.id, index) or b"",
                lambda at, row=row: reader.entry(row.id, at) or b"",  # type: ignore[misc]
            )
            plain += b"" if payload is None else payload.SerializeToString()
    reader.close()
    return plain


async def received(world: World, name: str) -> bytes:
    """Every byte that a C2 system of that nation is sent, for every traffic class, from the beginning."""
    data = b""
    async with as_system(world.places[name], "command") as channel, asyncio.timeout(PATIENCE_S):
        subscribe: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            "/signalfire.v1.C2Service/Subscribe", request_serializer=None, response_deserializer=None
        )
        request = c2_pb2.SubscribeRequest(traffic_classes=EVERY_CLASS, include_own=True).SerializeToString()
        async for raw in subscribe(request):
            data += raw
            if c2_pb2.SubscribeResponse.FromString(raw).items[-1].HasField("caught_up"):
                break
    return data


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(settle(tmp_path, "JPN", "KOR", "USA")) as running_world:
        yield running_world


async def test_nothing_withheld_is_on_the_wire_to_a_partner_nor_in_its_database(world: World) -> None:
    planted = await plant(world)
    jpn, kor, usa = (world.places[node] for node in ("JPN", "KOR", "USA"))
    secret = planted.withheld_words | planted.nobodys_words
    sizes = {node: ledger_sizes(world, node) for node in ("KOR", "USA")}
    wire = {place.node: await recorded(place, jpn, sizes[place.node]) for place in (kor, usa)}
    subscribed = {node: await received(world, node) for node in ("JPN", "KOR", "USA")}
    await asyncio.gather(*(world.stop(node) for node in ("KOR", "USA")))

    # (a) what JPN sent KOR on every stream, (b) opened with KOR's own key, (c) KOR's files, (d) what KOR's systems get.
    assert found_in(b"\x00".join(wire["KOR"]), secret) == set()
    assert found_in(opened(kor, wire["KOR"]), secret) == set()
    assert found_in(at_rest(kor), secret) == set()
    assert found_in(opened_at_rest(kor, "JPN"), secret) == set()
    assert found_in(subscribed["KOR"], secret) == set()

    # The same search finds everything where it may be: at home, and at USA what was released to USA.
    assert found_in(subscribed["JPN"], secret) == secret
    assert found_in(opened(usa, wire["USA"]), secret) == planted.withheld_words
    assert found_in(opened_at_rest(usa, "JPN"), secret) == planted.withheld_words
    assert found_in(subscribed["USA"], secret) == planted.withheld_words
    # And at KOR what was released to KOR.
    for data in (opened(kor, wire["KOR"]), opened_at_rest(kor, "JPN"), subscribed["KOR"]):
        assert found_in(data, planted.released) == planted.released
    assert found_in(at_rest(kor), planted.released) == planted.released  # identifiers are its own record of receipt


async def test_what_is_released_is_readable_by_its_recipient_alone(world: World) -> None:
    planted = await plant(world)
    jpn, usa = world.places["JPN"], world.places["USA"]
    wire = await recorded(usa, jpn, ledger_sizes(world, "USA"))
    words = {each for each in planted.withheld_words if each.startswith("zz")}
    # In the clear of the connection, beneath TLS, there is not one word of a report; nor in any file of either side.
    assert found_in(b"\x00".join(wire), planted.withheld_words) == set()
    await asyncio.gather(*(world.stop(node) for node in list(world.nodes)))
    events = found_in(at_rest(jpn), words)
    assert found_in(at_rest(usa), words) == set()
    # At home the event's name is kept in the clear, to find what an all-clear recalls; nothing else is.
    with contextlib.closing(apsw.Connection(str(jpn.store), flags=apsw.SQLITE_OPEN_READONLY)) as db:
        known = {str(row[0]) for row in db.execute("SELECT event_id FROM report")}
    assert events <= known


async def test_a_partner_cannot_tell_that_something_was_withheld_from_it(world: World) -> None:
    sizes = ledger_sizes(world, "KOR")
    heads = [await heartbeat(world) for _ in range(2)]
    for _ in range(5):
        await world.push_one("JPN", report(marking__releasable_to=USA_ONLY))
    assert ledger_sizes(world, "KOR") == sizes
    after = await heartbeat(world)
    # The same ledgers at the same sizes and roots; time and counter go on as they do when nothing happens.
    assert after == heads[0] == heads[1]


async def heartbeat(world: World) -> list[str]:
    """The heads that JPN's heartbeat tells KOR."""
    async with dialled(world.places["KOR"], world.places["JPN"], HEARTBEAT) as stream:
        await stream.prove()
        note = (await stream.read()).pulse.note.decode()
    assert "USA" not in note
    assert "decisions" not in note
    return [line for line in note.split("\n") if re.match(r"signalfire/v1/JPN/KOR/", line)]


async def test_entries_are_padded_so_that_their_length_tells_little(world: World) -> None:
    reports = [report(threat__launch_area="x" * length, marking__releasable_to=["KOR"]) for length in (1, 20, 40, 64)]
    await world.push("JPN", *reports)
    for each in reports:
        await world.inboxes["KOR"].report(each.report_id)
    row = world.ledger("KOR", "signalfire/v1/JPN/KOR/flash/1")
    assert row is not None
    reader = SqliteReader(world.places["KOR"].store)
    places = [copy for each in reports for copy in reader.copies("JPN", uuid.UUID(each.report_id).bytes)]
    entries = [reader.entry(row.id, copy.index or 0) or b"" for copy in places]
    reader.close()
    assert len(entries) == 4
    assert len({len(entry) for entry in entries}) == 1
    assert all(parse_header(entry) for entry in entries)
