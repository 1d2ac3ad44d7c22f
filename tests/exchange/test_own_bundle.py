"""What a gateway announces of itself: by its own root, never older, and never without the keys that it uses."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.demo.deployment import Deployed
from gateway.exchange.own_bundle import OwnBundle
from gateway.identity import nation
from gateway.identity.keyring import KeyKind, Keyring
from gateway.identity.trust_bundle import TrustBundle
from gateway.ledger.errors import StoreError
from gateway.release.signatory import Signatory
from tests.node.nations import running, settle
from tests.node.rotating import SIGNING, People
from tests.node.waiting import until


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    return settle(Path(tmp_path_factory.mktemp("nations")), "JPN", "KOR")


class Own:
    """The own bundle of JPN's gateway, which does not run."""

    def __init__(self, place: Deployed, path: Path) -> None:
        self.pki = place.directory / "pki"
        self.path = path
        self.signatory = Signatory.from_ring("JPN", Keyring.load(place.directory / "keys"))
        self.path.write_bytes((self.pki / "bundle.note").read_bytes())
        self.own = OwnBundle(self.signatory, lambda: datetime.now(UTC), root=nation.read_root_vkey(self.pki), path=path)
        self.own.refresh()

    def signed(self, **changes: object) -> bytes:
        """The bundle with other words, signed by the root."""
        assert self.own.bundle is not None
        fields = self.own.bundle.model_dump() | {"sequence": self.own.sequence + 1, **changes}
        made = TrustBundle.model_validate(fields)
        return made.sign(nation.load_nation(self.pki).root.signer()).encode()


@pytest.fixture
def own(settled: dict[str, Deployed], tmp_path: Path) -> Own:
    return Own(settled["JPN"], tmp_path / "bundle.note")


def without_a_key_in_use(kind: str) -> Callable[[Own], bytes]:
    def made(own: Own) -> bytes:
        return own.signed(**{f"{kind}_keys": (bytes([7]) * (1312 if kind == "pq" else 32),)})

    return made


def sealing_for_nobody(own: Own) -> bytes:
    assert own.own.bundle is not None
    other = {"mlkem768": own.own.bundle.sealing_keys[0].mlkem768, "x25519": bytes([9]) + bytes(31)}
    return own.signed(sealing_keys=(other,))


def of_the_same_sequence_and_older(own: Own) -> bytes:
    raw = own.signed(sequence=5)
    own.path.write_bytes(raw)
    assert own.own.refresh()
    return own.signed(sequence=4)


def of_another_root(own: Own) -> bytes:
    kor = own.pki.parent.parent / "kor" / "pki"
    return (kor / "bundle.note").read_bytes()


def expired(own: Own) -> bytes:
    return own.signed(expires=datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=5))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (without_a_key_in_use("log"), "log key .* is in use, and the bundle does not name it"),
        (without_a_key_in_use("receipt"), "receipt key .* is in use"),
        (without_a_key_in_use("pq"), "pq key .* is in use"),
        (sealing_for_nobody, "first sealing key of the bundle is not in the keys directory"),
        (of_the_same_sequence_and_older, "has already been seen"),
        (of_another_root, "did not sign"),
        (expired, "expired"),
    ],
)
def test_a_bundle_that_would_break_the_node_is_refused_and_changes_nothing(
    own: Own, made: Callable[[Own], bytes], words: str
) -> None:
    raw = made(own)
    before = own.own.bundle
    own.path.write_bytes(raw)
    assert not own.own.refresh()
    assert own.own.bundle is before
    assert re.search(words, own.own.problem), own.own.problem


async def test_keys_wait_for_a_partner_that_does_not_know_and_go_into_use_when_it_does(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", limits={"keys": {"silent_s": 3600}})
    async with running(places, "JPN", linked=False) as world:
        jpn = world.nodes["JPN"]
        before = dict(jpn.parts.signatory.in_use)
        People(places["JPN"]).rotate([kind.value for kind in (*SIGNING, KeyKind.STORAGE, KeyKind.SEALING)])
        # What nobody has to know goes into use at once.
        for kind in (KeyKind.STORAGE, KeyKind.SEALING):
            await until(lambda kind=kind: jpn.parts.signatory.in_use[kind] != before[kind], f"{kind} is in use")  # type: ignore[misc]
        assert jpn.parts.rotation.waiting_for() == ("KOR",)
        assert all(jpn.parts.signatory.in_use[kind] == before[kind] for kind in SIGNING)
        await world.start("KOR")
        await world.linked()
        for kind in SIGNING:
            await until(lambda kind=kind: jpn.parts.signatory.in_use[kind] != before[kind], f"{kind} is in use")  # type: ignore[misc]
        await world.carries("JPN", "KOR")
        await world.carries("KOR", "JPN")
        assert world.metric("JPN", "signalfire_key_switches_total", kind="log") == 1
        assert (await world.event("JPN", "keys-switched")).evidence


async def test_nobody_is_waited_for_who_has_been_silent_too_long_and_he_learns_when_he_returns(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", limits={"keys": {"silent_s": 0}})
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        await world.stop("KOR")
        jpn = world.nodes["JPN"]
        before = dict(jpn.parts.signatory.in_use)
        people = People(places["JPN"])
        people.rotate([kind.value for kind in SIGNING])
        for kind in SIGNING:
            await until(lambda kind=kind: jpn.parts.signatory.in_use[kind] != before[kind], f"{kind} is in use")  # type: ignore[misc]
        people.retire()
        await until(lambda: jpn.parts.own_bundle.sequence == 3, "the former keys are retired")
        await world.start("KOR")
        await world.linked()
        assert world.nodes["KOR"].parts.partners.sequence("JPN") == 3
        await world.carries("JPN", "KOR")
        await world.carries("KOR", "JPN")


def test_a_bundle_that_was_refused_for_a_passing_fault_is_taken_up_when_that_is_over(
    settled: dict[str, Deployed], tmp_path: Path
) -> None:
    place = settled["JPN"]
    clock, damaged = [datetime.now(UTC) + timedelta(days=9000)], [True]

    def last_sequence(_: str) -> int:
        if damaged[0]:
            raise StoreError("the store is busy")
        return 0

    own = OwnBundle(
        Signatory.from_ring("JPN", Keyring.load(place.directory / "keys")),
        lambda: clock[0],
        root=nation.read_root_vkey(place.directory / "pki"),
        path=place.bundle,
        last_sequence=last_sequence,
    )
    with pytest.raises(StoreError):
        own.refresh()
    damaged[0] = False
    assert not own.refresh()
    assert "expired" in own.problem
    clock[0] = datetime.now(UTC)
    assert own.refresh()
    assert not own.problem
    assert not own.refresh(), "it is in use"
