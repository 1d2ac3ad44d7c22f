"""Claims about the keyring: every key under its own name, none twice, and ids as ledgers and seals know them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.identity.errors import Refusal, SecretFileError
from gateway.identity.keyring import HeldKey, KeyKind, Keyring
from gateway.identity.node_keys import NodeKeys, write_secret
from gateway.identity.rotation import new_key
from gateway.seal.keys import SealingPrivateKey
from gateway.seal.storage import StorageKey
from tests.identity.world import World

EVERY_KIND = pytest.mark.parametrize("kind", KeyKind)


@pytest.fixture
def directory(world: World, tmp_path: Path) -> Path:
    leaf = world.leaf("JPN")
    keys = NodeKeys.generate(gateway_key_pem=leaf.key_pem, gateway_certificate_pem=leaf.certificate_pem)
    keys.save(tmp_path / "keys")
    return tmp_path / "keys"


def put(directory: Path, key: HeldKey, name: str | None = None) -> Path:
    path = directory / (name or key.file)
    write_secret(path, key.kind.secret, key.parts)
    return path


def refusal(directory: Path) -> Refusal:
    with pytest.raises(SecretFileError) as refused:
        Keyring.load(directory)
    return refused.value.code


@EVERY_KIND
def test_further_keys_are_held_beside_the_default_one(directory: Path, kind: KeyKind) -> None:
    before = Keyring.load(directory).default(kind)
    key = new_key(kind)
    put(directory, key)
    ring = Keyring.load(directory)
    assert list(ring.keys[kind].values()) == [before, key]
    assert ring.default(kind) == before
    assert ring.get(kind, key.key_id) == key
    assert ring.get(kind, "0" * 8) is None
    if kind is not KeyKind.STORAGE:
        assert ring.of_public(kind, key.public) == key


@EVERY_KIND
def test_a_file_is_named_by_the_key_that_it_holds(directory: Path, kind: KeyKind) -> None:
    path = put(directory, new_key(kind))
    path.rename(directory / f"{kind}.00000000.key")
    assert refusal(directory) is Refusal.WRONG_KIND


@pytest.mark.parametrize("name", ["log.old.key", "log.key.key", "log..key"])
def test_no_file_that_looks_like_a_key_is_passed_over(directory: Path, name: str) -> None:
    put(directory, new_key(KeyKind.LOG), name)
    assert refusal(directory) is Refusal.WRONG_KIND


@EVERY_KIND
def test_no_key_is_held_twice(directory: Path, kind: KeyKind) -> None:
    default = Keyring.load(directory).default(kind)
    put(directory, HeldKey.of(kind, default.parts))
    assert refusal(directory) is Refusal.ALREADY_THERE


def test_one_secret_never_serves_two_purposes(directory: Path) -> None:
    seed = Keyring.load(directory).default(KeyKind.LOG).secret
    put(directory, HeldKey.of(KeyKind.PQ, {"mldsa44_seed": seed}))
    assert refusal(directory) is Refusal.ALREADY_THERE


@EVERY_KIND
def test_a_key_of_another_kind_is_refused(directory: Path, kind: KeyKind) -> None:
    other = next(each for each in KeyKind if each is not kind)
    put(directory, new_key(other), f"{kind}.00000000.key")
    assert refusal(directory) is Refusal.WRONG_KIND


def test_ids_are_those_that_entries_and_stored_payloads_name() -> None:
    sealing, storage = new_key(KeyKind.SEALING), new_key(KeyKind.STORAGE)
    private = SealingPrivateKey(sealing.parts["mlkem768_seed"], sealing.parts["x25519_private"])
    assert sealing.key_id == private.key_id.hex()
    assert sealing.public == private.public.encoded
    assert storage.key_id == StorageKey(storage.secret).key_id.hex()
