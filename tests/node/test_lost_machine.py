"""A gateway comes back from an older copy of its store, its keys replaced: lanes go on, and a thief gains little."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from signalfire.v1 import exchange_pb2, ledger_pb2

from gateway.demo.deployment import Deployed
from gateway.identity.gateway_records import read_records, write_record
from gateway.identity.keyring import KeyKind, Keyring
from gateway.identity.trust_bundle import SealingKey
from gateway.ledger.checkpoint import Checkpoint, LogKey
from gateway.ledger.note import sign_note
from gateway.ledger.origin import Origin
from gateway.release.signatory import Signatory
from tests.exchange.dialler import Ended, dialled
from tests.node.nations import forget, report, running, settle
from tests.node.rotating import SIGNING, People
from tests.node.test_rotation import in_use, known, sound, switched

FLASH = Origin.parse("signalfire/v1/JPN/KOR/flash/1")


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR")


async def test_lanes_go_on_when_what_the_lost_machine_signed_is_under_keys_that_are_retired(
    places: dict[str, Deployed], tmp_path: Path
) -> None:
    jpn = places["JPN"]
    people = People(jpn)
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        await world.stop("JPN")
        shutil.copy(jpn.store, tmp_path / "copy.db")
        lost = datetime.now(UTC).replace(microsecond=0)
        await world.start("JPN")
        await world.linked()
        for _ in range(2):
            await world.carries("JPN", "KOR")
        await world.stop("JPN")
        forget(jpn)
        shutil.copy(tmp_path / "copy.db", jpn.store)
        jpn.store.chmod(0o600)
        people.rotate([kind.value for kind in SIGNING])
        for kind in SIGNING:
            people.retire(Keyring.load(people.keys).default(kind).key_id, since=lost)
        await world.start("JPN")
        one = report(node="JPN")
        assert (await world.push_one("JPN", one)).accepted
        delivered = await world.inboxes["KOR"].report(one.report_id)
        assert delivered.ledger == str(FLASH.successor())
        await world.linked()
        event = await world.event("JPN", "ledger-succeeded")
        assert "LOST_TAIL" in event.detail


async def test_the_thief_of_a_retired_key_ends_a_ledger_once_and_is_told_no_afterwards(
    places: dict[str, Deployed],
) -> None:
    stolen = LogKey(Keyring.load(places["JPN"].directory / "keys").default(KeyKind.LOG).secret)
    people = People(places["JPN"])
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        before = in_use(world, "JPN")
        people.rotate([kind.value for kind in SIGNING])
        await switched(world, "JPN", before, SIGNING)
        people.retire()
        await known(world, "JPN", 3)
        await world.stop("KOR")

        async def claim(origin: Origin, size: int) -> exchange_pb2.FollowResponse | Ended:
            checkpoint = Checkpoint(origin, size, bytes(range(32)))
            note = sign_note(checkpoint.text(), stolen.signer(origin)).encode()
            async with dialled(places["KOR"], places["JPN"]) as stream:
                try:
                    await stream.open(origin, size, checkpoint.root, note)
                    answer: exchange_pb2.FollowResponse = await stream.read()
                    return answer
                except Ended as end:
                    return end

        far = FLASH
        for _ in range(30):
            far = far.successor()
        refused = await claim(far, 99)
        assert isinstance(refused, Ended)
        assert refused.code is grpc.StatusCode.FAILED_PRECONDITION
        # Neither size nor root makes it evidence of a fork.
        ended = await claim(FLASH, 1)
        assert isinstance(ended, exchange_pb2.FollowResponse)
        assert ended.ended.successor == str(FLASH.successor())
        event = await world.event("JPN", "ledger-succeeded")
        assert ledger_pb2.SuccessionReason.Name(ledger_pb2.SUCCESSION_REASON_LOST_TAIL) in event.detail
        again = await claim(FLASH.successor(), 50)
        assert isinstance(again, Ended)
        assert "such a key ended a ledger of its line less than 24 hours ago" in again.details
        assert world.ledger("JPN", FLASH.successor().successor()) is None
        # A start makes no difference.
        await world.stop("JPN")
        await world.start("JPN")
        again = await claim(FLASH.successor(), 50)
        assert isinstance(again, Ended)
        assert "less than 24 hours ago" in again.details
        # What ended is still told to whoever asks.
        told = await claim(FLASH, 1)
        assert isinstance(told, exchange_pb2.FollowResponse)
        await world.start("KOR")
        await world.carries("JPN", "KOR")


async def test_history_is_sound_where_the_newest_bundle_names_a_retired_key_no_more(
    places: dict[str, Deployed],
) -> None:
    people = People(places["JPN"])
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        before = in_use(world, "JPN")
        old = Signatory.from_ring("JPN", Keyring.load(people.keys))
        people.rotate([kind.value for kind in SIGNING])
        await switched(world, "JPN", before, SIGNING)
        people.retire()
        await known(world, "JPN", 3)
        # As if there were no room for them any more: neither current nor retired.
        (people.pki / "retired.json").unlink()
        min((people.pki / "gateways").iterdir(), key=lambda path: path.stat().st_mtime_ns).unlink()
        _keep_sealing_key(people, old)
        sequence = people.announce()
        await known(world, "JPN", sequence)
        bundle = world.nodes["KOR"].parts.partners.bundle("JPN")
        assert bundle is not None
        assert not bundle.retired
        await world.carries("JPN", "KOR")
    for place in places.values():
        sound(place)


def _keep_sealing_key(people: People, old: Signatory) -> None:
    """The record that is left speaks of signing keys alone, and a bundle needs one to seal to."""
    (record,) = read_records(people.pki)
    (path,) = (people.pki / "gateways").iterdir()
    public = old.sealing[0].public
    sealing = SealingKey(mlkem768=public.mlkem768, x25519=public.x25519)
    write_record(path, record.model_copy(update={"sealing_key": sealing}))
