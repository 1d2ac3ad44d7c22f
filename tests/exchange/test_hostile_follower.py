"""A partner that dials with its true certificate and keys, and asks for or claims what it should not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from signalfire.v1 import exchange_pb2, ledger_pb2

from gateway.exchange.serving import ANSWERS_AT_ONCE
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.cosignature import CosignatureSigner, cosign
from gateway.ledger.merkle import EMPTY_ROOT, leaf_hash
from gateway.ledger.note import Note, sign_note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, LedgerRow
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.reports.kinds import Kind
from tests.exchange.dialler import HEARTBEAT, PATIENT, dialled, signatory
from tests.exchange.origin import Forge
from tests.node.nations import World, holdings, report, running, settle
from tests.node.waiting import until
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAMS = 10
"""Streams a partner may have open: the six of its real gateway, and four for the tests."""

FLASH = Origin.release("JPN", "KOR", "flash", 1)
IMMEDIATE = Origin.release("JPN", "KOR", "immediate", 1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Three nations, with something in the ledgers that JPN keeps for KOR; each test leaves them serving."""
    directory = Path(tmp_path_factory.mktemp("nations"))
    # Longer than a machine that is busy otherwise stands still.
    limits = {"exchange": {"streams": STREAMS, "silence_s": 5.0, "handshake_s": 5.0}}
    async with running(settle(directory, "JPN", "KOR", "USA", limits=limits)) as running_world:
        await running_world.carries("JPN", "KOR", "USA")
        track = report(Kind.TRACK)
        await running_world.push_one("JPN", track)
        await running_world.inboxes["KOR"].report(track.report_id)
        yield running_world


def row(world: World, origin: Origin = FLASH) -> LedgerRow:
    found = world.ledger("JPN", origin)
    assert found is not None
    return found


def receipt_size(world: World, origin: Origin) -> int:
    return next(each.receipt_size for each in world.nodes["JPN"].status().ledgers if each.origin == str(origin))


# --- what may be asked for


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("signalfire/v1/JPN/USA/flash/1", "PERMISSION_DENIED"),
        ("signalfire/v1/JPN/PRK/flash/1", "PERMISSION_DENIED"),
        ("signalfire/v1/JPN/decisions/1", "PERMISSION_DENIED"),
        ("signalfire/v1/JPN/witness/2", "FAILED_PRECONDITION"),
        ("signalfire/v1/USA/witness/1", "NOT_FOUND"),
        # Its own ledger, as it is held here, is given back to it, and that is all.
        ("signalfire/v1/KOR/witness/1", "OK"),
        ("signalfire/v1/USA/KOR/flash/1", "NOT_FOUND"),
        ("signalfire/v1/KOR/JPN/flash/1", "NOT_FOUND"),
        ("signalfire/v1/USA/decisions/1", "NOT_FOUND"),
        ("signalfire/v1/JPN/KOR/flash/2", "FAILED_PRECONDITION"),
        ("signalfire/v1/JPN/KOR/flash/9223372036854775807", "FAILED_PRECONDITION"),
        ("signalfire/v1/JPN/KOR/flash/0", "INVALID_ARGUMENT"),
        ("signalfire/v1/JPN/KOR/flash/01", "INVALID_ARGUMENT"),
        ("signalfire/v1/JPN/KOR/urgent/1", "INVALID_ARGUMENT"),
        ("signalfire/v1/JPN/KOR/flash/1\n", "INVALID_ARGUMENT"),
        ("signalfire/v2/JPN/KOR/flash/1", "INVALID_ARGUMENT"),
        ("../../etc/passwd", "INVALID_ARGUMENT"),
        ("", "INVALID_ARGUMENT"),
        ("signalfire/v1/" + "J" * 60_000, "INVALID_ARGUMENT"),
    ],
)
async def test_a_partner_is_served_the_ledgers_kept_for_it_and_no_other(world: World, origin: str, code: str) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
        await stream.prove()
        await stream.send(open=exchange_pb2.Open(origin=origin, size=0, root=EMPTY_ROOT))
        end = await stream.ended()
        assert end.code.name == code, end
        if code != "OK":
            assert len(stream.raw) == 1  # the challenge, and nothing of any ledger
    await world.carries("JPN", "KOR", "USA")


async def test_a_stream_that_goes_on_out_of_turn_is_ended(world: World) -> None:
    kor, jpn = world.places["KOR"], world.places["JPN"]
    async with dialled(kor, jpn) as stream:
        await stream.prove()
        await stream.send(receipt=exchange_pb2.Receipt(note=b"x"))
        assert "Open was due, and receipt came" in (await stream.ended()).details
    async with dialled(kor, jpn) as stream:
        await stream.prove()
        assert "Open was due and did not come" in (await stream.ended()).details
    for again in ({"open": exchange_pb2.Open(origin=str(FLASH), root=EMPTY_ROOT)}, {"hello": exchange_pb2.Hello()}, {}):
        async with dialled(kor, jpn) as stream:
            assert (await stream.open(FLASH)).WhichOneof("message") == "opened"
            await stream.send(**again)
            end = await stream.ended()
            assert (end.code, "has no place here" in end.details) == (grpc.StatusCode.INVALID_ARGUMENT, True), end
    await world.carries("JPN", "KOR", "USA")


async def test_a_heartbeat_stream_ends_without_its_echo_or_with_another(world: World) -> None:
    kor, jpn = world.places["KOR"], world.places["JPN"]
    async with dialled(kor, jpn, HEARTBEAT) as stream:
        await stream.prove()
        assert (await stream.read()).WhichOneof("message") == "pulse"
        end = await stream.ended()
        assert (end.code, "no echo within 4.9 s" in end.details) == (grpc.StatusCode.DEADLINE_EXCEEDED, True)
    for wrong in ({"echo": exchange_pb2.Echo(counter=7)}, {"proof": exchange_pb2.Proof()}, {}):
        async with dialled(kor, jpn, HEARTBEAT) as stream:
            await stream.prove()
            await stream.read()
            await stream.send(**wrong)
            end = await stream.ended()
            assert (end.code, "the echo of heartbeat" in end.details) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    await world.carries("JPN", "KOR", "USA")


async def test_streams_beyond_the_limit_are_refused_and_those_that_are_not_proven_take_no_place(world: World) -> None:
    kor, jpn = world.places["KOR"], world.places["JPN"]
    await world.linked()
    for proven in (True, False):
        async with contextlib.AsyncExitStack() as held:
            for _ in range(STREAMS - 6):
                stream = await held.enter_async_context(dialled(kor, jpn))
                if proven:
                    assert (await stream.open(IMMEDIATE)).WhichOneof("message") == "opened"
                else:
                    await stream.hello()
                    await stream.challenged()
            async with dialled(kor, jpn) as one_more:
                if proven:
                    await one_more.hello()
                    end = await one_more.ended()
                    assert (end.code, f"{STREAMS} streams open" in end.details) == (
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        True,
                    ), end
                else:
                    assert (await one_more.open(IMMEDIATE)).WhichOneof("message") == "opened"
            # Another partner is not touched by it.
            async with dialled(world.places["USA"], jpn) as others:
                assert (await others.open("signalfire/v1/JPN/USA/flash/1")).WhichOneof("message") == "opened"
            await world.carries("JPN", "KOR", "USA")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                async with dialled(kor, jpn) as again:
                    with contextlib.suppress(Exception):
                        assert (await again.open(IMMEDIATE)).WhichOneof("message") == "opened"
                        break


# --- what may be claimed


CLAIMS: list[tuple[str, Callable[[World, LedgerRow], exchange_pb2.Open]]] = [
    ("a longer ledger", lambda w, r: exchange_pb2.Open(size=r.size + 4, root=bytes(32))),
    ("another root", lambda w, r: exchange_pb2.Open(size=r.size, root=bytes(32))),
    ("no root", lambda w, r: exchange_pb2.Open(size=r.size)),
    ("a root of size nought that is none", lambda w, r: exchange_pb2.Open(size=0, root=bytes(32))),
    ("the largest size there is", lambda w, r: exchange_pb2.Open(size=2**64 - 1, root=r.root)),
    (
        "a checkpoint that the claimant signed",
        lambda w, r: exchange_pb2.Open(
            size=r.size + 4, root=bytes(32), checkpoint=_signed_by_another(w, r.size + 4, bytes(32))
        ),
    ),
    (
        "a checkpoint of another ledger",
        lambda w, r: exchange_pb2.Open(
            size=r.size + 4,
            root=bytes(32),
            checkpoint=Forge(signatory(w.places["JPN"]), signatory(w.places["USA"])).checkpoint(r.size + 4, bytes(32)),
        ),
    ),
    (
        "a true checkpoint beside another claim",
        lambda w, r: exchange_pb2.Open(
            size=r.size + 4,
            root=bytes(32),
            checkpoint=Forge(signatory(w.places["JPN"]), signatory(w.places["KOR"])).checkpoint(r.size, r.root),
        ),
    ),
    (
        "garbage for a checkpoint",
        lambda w, r: exchange_pb2.Open(size=r.size + 4, root=bytes(32), checkpoint=b"\xff" * 99),
    ),
]


def _signed_by_another(world: World, size: int, root: bytes) -> bytes:
    forge = Forge(signatory(world.places["JPN"]), signatory(world.places["KOR"]))
    forge.owner = signatory(world.places["KOR"])
    return forge.checkpoint(size, root)


@pytest.mark.parametrize("claim", [pytest.param(make, id=name) for name, make in CLAIMS])
async def test_an_unsigned_claim_that_is_no_prefix_closes_its_stream_and_no_more(
    world: World, claim: Callable[[World, LedgerRow], exchange_pb2.Open]
) -> None:
    before = row(world)
    async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
        await stream.prove()
        message = claim(world, before)
        message.origin = str(FLASH)
        await stream.send(open=message)
        end = await stream.ended()
        assert (end.code, "is not a prefix of it" in end.details) == (grpc.StatusCode.FAILED_PRECONDITION, True), end
    assert row(world) == before
    assert world.ledger("JPN", FLASH.successor()) is None
    await world.carries("JPN", "KOR", "USA")


@pytest.mark.parametrize(
    ("claimed", "reason"),
    [
        (lambda row: (row.size + 3, bytes(range(32))), ledger_pb2.SUCCESSION_REASON_LOST_TAIL),
        (lambda row: (row.size, bytes(range(32))), ledger_pb2.SUCCESSION_REASON_FORK),
    ],
    ids=["a tail that was lost", "a fork"],
)
async def test_a_signed_claim_that_is_no_prefix_ends_the_ledger_and_traffic_goes_on_in_the_next(
    tmp_path: Path,
    claimed: Callable[[LedgerRow], tuple[int, bytes]],
    reason: ledger_pb2.SuccessionReason.ValueType,
) -> None:
    async with running(settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT})) as world:
        await world.carries("JPN", "KOR")
        agreed = row(world)
        # The recipient shows what JPN's own key signed, and JPN's store does not know.
        forge = Forge(signatory(world.places["JPN"]), signatory(world.places["KOR"]))
        size, root = claimed(agreed)
        evidence = forge.checkpoint(size, root)

        async def claim() -> str:
            async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
                assert (await stream.open(FLASH, size, root, evidence)).WhichOneof("message") == "opened"
                return str((await stream.read()).ended.successor)

        # Twice at once: one successor all the same.
        assert set(await asyncio.gather(claim(), claim())) == {str(FLASH.successor())}
        event = await world.event("JPN", "ledger-succeeded")
        assert list(event.evidence) == [evidence]
        assert ledger_pb2.SuccessionReason.Name(reason) in event.detail
        assert row(world).successor == FLASH.successor()

        # The recipient's gateway is told, follows the next generation, and reports flow.
        await world.carries("JPN", "KOR")
        delivered = list(world.inboxes["KOR"].reports.values())[-1]
        assert delivered.ledger == str(FLASH.successor())
        assert world.ledger("JPN", FLASH.successor().successor()) is None
        replica = world.ledger("KOR", FLASH)
        assert replica is not None
        assert (replica.size, replica.root, replica.successor) == (agreed.size, agreed.root, FLASH.successor())
        # The old one is still served, as evidence, and says where it goes on.
        async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
            await stream.open(FLASH)
            kinds = []
            with contextlib.suppress(Exception):
                while True:
                    kinds.append((await stream.read()).WhichOneof("message"))
            assert [kinds[0], kinds[-1]] == ["batch", "ended"]


# --- what may be said of what was sent


def cosigned(text: str, signer: CosignatureSigner) -> bytes:
    return Note(text, (cosign(text, signer, 1_800_000_000),)).encode()


RECEIPTS: list[tuple[str, Callable[[World, LedgerRow], bytes]]] = [
    ("garbage", lambda w, r: b"\xff\x00" * 50),
    ("empty", lambda w, r: b""),
    ("another root", lambda w, r: cosigned(Checkpoint(FLASH, r.size, bytes(32)).text(), receipt_key(w, "KOR"))),
    ("another size", lambda w, r: cosigned(Checkpoint(FLASH, r.size + 1, r.root).text(), receipt_key(w, "KOR"))),
    (
        "another ledger",
        lambda w, r: cosigned(
            Checkpoint(IMMEDIATE, row(w, IMMEDIATE).size, row(w, IMMEDIATE).root).text(), receipt_key(w, "KOR")
        ),
    ),
    ("no checkpoint", lambda w, r: sign_note("a\nb\n", signatory(w.places["KOR"]).gateway).encode()),
]


def receipt_key(world: World, node: str) -> CosignatureSigner:
    return signatory(world.places[node]).receipt


def _unsigned(world: World, ledger: LedgerRow) -> bytes:
    return Forge(signatory(world.places["JPN"]), signatory(world.places["KOR"])).checkpoint(ledger.size, ledger.root)


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in RECEIPTS])
async def test_a_receipt_for_anything_but_what_is_here_is_refused_and_not_kept(
    world: World, make: Callable[[World, LedgerRow], bytes]
) -> None:
    before = row(world)
    note = make(world, before)
    async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
        await stream.open(FLASH)
        await stream.send(receipt=exchange_pb2.Receipt(note=note))
        end = await stream.ended()
        assert end.code == grpc.StatusCode.INVALID_ARGUMENT, end
    reader = SqliteReader(world.places["JPN"].store)
    kept = [each for every in reader.ledgers() for each in reader.cosignatures(every.id)]
    reader.close()
    assert note not in [each.note for each in kept if each.kind is CosignatureKind.RECEIPT]
    await world.carries("JPN", "KOR", "USA")


async def test_one_who_says_something_false_and_nothing_more_still_hears_why_it_ends(world: World) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
        await stream.open(FLASH)
        await stream.send(receipt=exchange_pb2.Receipt(note=b"false"))
        await stream.call.done_writing()
        assert (await stream.ended()).code == grpc.StatusCode.INVALID_ARGUMENT


REPEATED: list[tuple[str, Callable[[World, LedgerRow], bytes]]] = [
    ("another nation's key", lambda w, r: cosigned(Checkpoint(FLASH, r.size, r.root).text(), receipt_key(w, "USA"))),
    (
        "the post-quantum key",
        lambda w, r: cosigned(Checkpoint(FLASH, r.size, r.root).text(), signatory(w.places["KOR"]).pq),
    ),
    ("a checkpoint without a cosignature", lambda w, r: _unsigned(w, r)),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in REPEATED])
async def test_what_a_receipt_has_covered_may_be_said_again_under_any_key_and_is_not_kept(
    world: World, make: Callable[[World, LedgerRow], bytes]
) -> None:
    await until(lambda: receipt_size(world, FLASH) == row(world).size, "KOR has given its receipt")
    note = make(world, row(world))
    async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
        await stream.open(FLASH)
        await stream.send(receipt=exchange_pb2.Receipt(note=note))
        await stream.send(receipt=exchange_pb2.Receipt(note=b"garbage"))
        assert "note" in (await stream.ended()).details
    reader = SqliteReader(world.places["JPN"].store)
    kept = [each.note for every in reader.ledgers() for each in reader.cosignatures(every.id)]
    reader.close()
    assert note not in kept
    await world.carries("JPN", "KOR", "USA")


def statement(world: World, signer: str = "KOR", **changes: object) -> bytes:
    """A statement that entry 1 of the FLASH ledger cannot be used, but for the changes."""
    reader = SqliteReader(world.places["JPN"].store)
    entry = reader.entry(row(world).id, 1)
    reader.close()
    assert entry is not None
    fields: dict[str, object] = {
        "kind": EntryStatementKind.UNOPENABLE,
        "node": "KOR",
        "origin": FLASH,
        "index": 1,
        "leaf_hash": leaf_hash(entry),
        "reason": "will not open",
        **changes,
    }
    return EntryStatement(**fields).sign(signatory(world.places[signer]).gateway)  # type: ignore[arg-type]


STATEMENTS: list[tuple[str, Callable[[World], bytes]]] = [
    ("garbage", lambda w: b"\xff" * 60),
    ("signed by another nation", lambda w: statement(w, "USA")),
    ("in another nation's name", lambda w: statement(w, "USA", node="USA")),
    ("about another ledger", lambda w: statement(w, origin=IMMEDIATE)),
    ("about an entry that is not there", lambda w: statement(w, index=10**6)),
    ("of the other kind", lambda w: statement(w, kind=EntryStatementKind.ABSENT)),
    ("about another entry under that index", lambda w: statement(w, leaf_hash=bytes(32))),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in STATEMENTS])
async def test_a_forged_statement_that_an_entry_cannot_be_used_is_refused_and_not_kept(
    world: World, make: Callable[[World], bytes]
) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
        await stream.open(FLASH)
        await stream.send(unopenable=exchange_pb2.Unopenable(note=make(world)))
        end = await stream.ended()
        assert end.code == grpc.StatusCode.INVALID_ARGUMENT, end
    assert holdings(world.places["JPN"])["unopenable"] == []
    await world.carries("JPN", "KOR", "USA")


async def test_a_true_statement_and_a_true_receipt_are_kept(tmp_path: Path) -> None:
    async with running(settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT}), "JPN", linked=False) as world:
        good = report()
        await world.push_one("JPN", good)
        async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
            await stream.open(FLASH)
            batch = (await stream.read()).batch
            text = Note.parse(batch.checkpoint).text
            note = statement(world)
            await stream.send(receipt=exchange_pb2.Receipt(note=cosigned(text, receipt_key(world, "KOR"))))
            await stream.send(unopenable=exchange_pb2.Unopenable(note=note))
            await until(lambda: bool(holdings(world.places["JPN"])["unopenable"]), "the statement is kept")
            await until(
                lambda: world.metric("JPN", "signalfire_unopenable_total", partner="KOR", direction="sent") == 1,
                "the statement is counted",
            )
        assert receipt_size(world, FLASH) == batch.count
        assert holdings(world.places["JPN"])["unopenable"][0][2] == note


async def test_receipts_that_come_together_are_all_kept_and_counted(tmp_path: Path) -> None:
    async with running(settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT}), "JPN", linked=False) as world:
        for _ in range(2 * ANSWERS_AT_ONCE + 1):
            await world.push_one("JPN", report())
        reader = SqliteReader(world.places["JPN"].store)
        try:
            ledger = row(world).id
            texts = {size: Note.parse(note).text for size, note in reader.checkpoints(ledger)}
            async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
                await stream.open(FLASH)
                for text in texts.values():
                    await stream.send(receipt=exchange_pb2.Receipt(note=cosigned(text, receipt_key(world, "KOR"))))
                await until(
                    lambda: world.metric("JPN", "signalfire_receipts_total", partner="KOR", lane="flash") == len(texts),
                    "the receipts are counted",
                )
            receipts = {each.size for each in reader.cosignatures(ledger) if each.kind is CosignatureKind.RECEIPT}
            assert receipts == set(texts)
        finally:
            reader.close()
