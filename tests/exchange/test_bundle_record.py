"""What a store has on record of trust bundles: it counts for the root that is pinned, and the keys of its day stay."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.demo.deployment import Deployed
from gateway.exchange.bundle_record import KEPT, BundleRecord, TakeUp, known_then
from gateway.exchange.partners import public_keys
from gateway.identity import issuing, nation, next_bundle
from gateway.identity.trust_bundle import TrustBundle
from gateway.node import Node
from gateway.release.steps import RecordEvent
from tests.exchange.dialler import PATIENT, dialled
from tests.node.nations import running, settle
from tests.node.waiting import until

LARGEST = 10**19 - 1
"""The largest sequence that there is."""


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT})


def bundle_of(place: Deployed, sequence: int, **changes: object) -> tuple[TrustBundle, bytes]:
    """A bundle of a nation with other words, and its note."""
    pki = place.directory / "pki"
    root = nation.read_root_vkey(pki)
    first = TrustBundle.open((pki / "bundle.note").read_bytes(), root, now=datetime.now(UTC))
    made = TrustBundle.model_validate(first.model_dump() | {"sequence": sequence, **changes})
    return made, made.sign(nation.load_nation(pki).root.signer()).encode()


def record_of(node: Node) -> BundleRecord:
    return BundleRecord(node.parts.store.read().meta)


def replace_root(place: Deployed, at: Deployed) -> str:
    """Makes a new nation in place of one whose root was stolen, and has it confirmed at a partner; its root."""
    new = place.directory / "new-pki"
    nation.create_nation(new, place.node, now=datetime.now(UTC))
    issuing.issue_gateway(new, "a", place.directory / "new-keys", now=datetime.now(UTC), address=place.exchange)
    next_bundle.write_bundle(new, now=datetime.now(UTC))
    old, root = nation.read_root_vkey(place.directory / "pki"), nation.read_root_vkey(new)
    text = at.config.read_text()
    assert old in text
    at.config.write_text(text.replace(old, root))
    shutil.copy(new / "bundle.note", at.directory / "partners" / f"{place.node}.bundle.note")
    return root


async def test_a_nation_whose_root_was_replaced_begins_anew_whatever_the_thief_of_the_former_signed(
    places: dict[str, Deployed],
) -> None:
    kor, jpn = places["KOR"], places["JPN"]
    async with running(places, "JPN", linked=False) as world:
        _, stolen = bundle_of(kor, LARGEST)
        async with dialled(kor, jpn) as stream:
            await stream.prove(bundle=stolen)
            await until(lambda: world.nodes["JPN"].parts.partners.sequence("KOR") == LARGEST, "the thief's is believed")
        await world.stop("JPN")
        root = replace_root(kor, jpn)
        node = await world.start("JPN")
        assert node.parts.partners.sequence("KOR") == 1
        assert not node.parts.partners.refused
        assert root in (await world.event("JPN", "root-replaced")).detail
        roots = record_of(node).roots("KOR")
        assert [until is None for _, until in roots] == [False, True]
        # What the former root named is known for judging what is on record, and for nothing else.
        partner = node.parts.partners.get("KOR")
        assert partner is not None
        then = known_then(partner, record_of(node), root)
        former = public_keys(TrustBundle.open(stolen, roots[0][0], now=datetime.now(UTC)))
        assert [(old.key, old.until) for old in then.retired_log] == [(former.log[0], roots[0][1])]
        assert not partner.retired_log


async def test_the_sequence_under_one_root_never_falls(places: dict[str, Deployed]) -> None:
    root = nation.read_root_vkey(places["KOR"].directory / "pki")
    async with running(places, "JPN", linked=False) as world:
        node = world.nodes["JPN"]
        for sequence in (9, 3):
            await node.parts.sequencer.do(TakeUp(*bundle_of(places["KOR"], sequence), root, "in a test"))
            assert record_of(node).sequence("KOR", root) == 9


async def test_what_is_on_record_from_before_roots_were_told_apart_counts_for_the_root_that_signed_it(
    places: dict[str, Deployed],
) -> None:
    roots = {name: nation.read_root_vkey(place.directory / "pki") for name, place in places.items()}
    _, note = bundle_of(places["KOR"], 7)
    async with running(places, "JPN", linked=False) as world:
        node = world.nodes["JPN"]
        # As an earlier version of this program left it.
        before = (("bundle ZZZ", (7).to_bytes(8)), ("bundle-note ZZZ", note))
        await node.parts.sequencer.do(RecordEvent("a-test", "", meta=before))
        renamed = {"bundle KOR": "bundle ZZZ", "bundle-note KOR": "bundle-note ZZZ"}
        record = BundleRecord(lambda key: node.parts.store.read().meta(renamed[key]) if key in renamed else None)
        assert (record.sequence("KOR", roots["KOR"]), record.note("KOR", roots["KOR"])) == (7, note)
        assert (record.sequence("KOR", roots["JPN"]), record.note("KOR", roots["JPN"])) == (0, None)


async def test_retired_keys_of_earlier_bundles_stay_known_and_the_earliest_time_counts(
    places: dict[str, Deployed],
) -> None:
    root = nation.read_root_vkey(places["KOR"].directory / "pki")
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def gone(number: int, days: int) -> dict[str, object]:
        return {"kind": "log", "key": bytes([number]) * 32, "until": start + timedelta(days=days)}

    async with running(places, "JPN", linked=False) as world:
        node = world.nodes["JPN"]
        for sequence, retired in ((2, (gone(1, 1),)), (3, (gone(1, 0), gone(2, 2))), (4, (gone(2, 2),)), (5, ())):
            step = TakeUp(*bundle_of(places["KOR"], sequence, retired=retired), root, "in a test")
            await node.parts.sequencer.do(step)
        partner = node.parts.partners.get("KOR")
        assert partner is not None
        then = known_then(partner, record_of(node), root)
        assert {old.key.public_key[0]: old.until for old in then.retired_log} == {
            1: int(start.timestamp()),
            2: int((start + timedelta(days=2)).timestamp()),
        }


async def test_so_many_bundles_are_kept_and_the_oldest_goes(places: dict[str, Deployed]) -> None:
    root = nation.read_root_vkey(places["KOR"].directory / "pki")
    async with running(places, "JPN", linked=False) as world:
        node = world.nodes["JPN"]
        for sequence in range(2, KEPT + 4):
            await node.parts.sequencer.do(TakeUp(*bundle_of(places["KOR"], sequence), root, "in a test"))
        kept = [bundle.sequence for bundle in record_of(node).bundles("KOR", root)]
        assert kept == list(range(4, KEPT + 4))
