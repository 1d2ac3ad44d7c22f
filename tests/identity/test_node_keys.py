"""Claims about secrets on disk: private, whole, of the kind they are used as, and never shown."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey

from gateway.identity.errors import Refusal, SecretFileError
from gateway.identity.node_keys import NodeKeys, SecretKind, kind_of, read_secret, write_secret
from gateway.identity.private_files import make_private_directory, read_private, write_private
from tests.identity.world import World

ELSEWHERE = (SecretKind.ROOT, SecretKind.OFFICER, SecretKind.RECOVERY)
KEY_FILES = [kind.file_name for kind in SecretKind if kind not in ELSEWHERE]
ALL_FILES = ["gateway.key.pem", "gateway.crt.pem", *KEY_FILES]


@pytest.fixture
def keys(world: World) -> NodeKeys:
    leaf = world.leaf("JPN")
    return NodeKeys.generate(gateway_key_pem=leaf.key_pem, gateway_certificate_pem=leaf.certificate_pem)


@pytest.fixture
def saved(keys: NodeKeys, tmp_path: Path) -> Path:
    keys.save(tmp_path / "node")
    return tmp_path / "node"


def _code(directory: Path) -> Refusal:
    with pytest.raises(SecretFileError) as refused:
        NodeKeys.load(directory)
    return refused.value.code


def test_keys_load_as_they_were_saved(keys: NodeKeys, saved: Path) -> None:
    assert NodeKeys.load(saved) == keys


def test_every_file_is_for_its_owner_alone_and_nothing_else_is_left_behind(saved: Path) -> None:
    assert stat.S_IMODE(saved.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in saved.iterdir()} == dict.fromkeys(ALL_FILES, 0o600)


@pytest.mark.parametrize("name", ALL_FILES)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_may_touch_is_refused(saved: Path, name: str, mode: int) -> None:
    (saved / name).chmod(mode)
    assert _code(saved) is Refusal.EXPOSED


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(SecretFileError, match=name) as refused:
        NodeKeys.load(saved)
    assert refused.value.code is Refusal.MISSING


@pytest.mark.parametrize("name", KEY_FILES)
@pytest.mark.parametrize("other", KEY_FILES)
def test_a_key_of_one_kind_is_never_taken_for_another(saved: Path, name: str, other: str) -> None:
    if name == other:
        return
    (saved / name).write_bytes((saved / other).read_bytes())
    assert _code(saved) is Refusal.WRONG_KIND


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xff",
        b"[]",
        b'"log"',
        b"{}",
        b'{"format": "signalfire/v1/secret", "kind": "log", "parts": {}}',
        b'{"format": "signalfire/v2/secret", "kind": "log", "parts": {"ed25519_seed": ""}}',
        b'{"format": "signalfire/v1/secret", "kind": "log", "parts": {"ed25519_seed": "AAAA"}}',
        b'{"format": "signalfire/v1/secret", "kind": "log", "parts": {"ed25519_seed": 5}}',
        b'{"format": "signalfire/v1/secret", "kind": "log", "parts": {"ed25519_seed": "!"}}',
        b'{"format": "signalfire/v1/secret", "kind": "log", "parts": {"random": "AAAA"}}',
        b'{"format": "signalfire/v1/secret", "kind": "log", "parts": 1, "more": 1}',
    ],
)
def test_a_damaged_key_file_is_refused(saved: Path, content: bytes) -> None:
    (saved / "log.key").write_bytes(content)
    assert _code(saved) is Refusal.MALFORMED_FILE


def test_secrets_are_not_shown_by_repr_nor_by_errors(keys: NodeKeys, saved: Path) -> None:
    shown = repr(keys)
    for secret in (keys.log_seed, keys.receipt_seed, keys.pq_seed, keys.storage_key, keys.sealing_mlkem768_seed):
        assert repr(secret) not in shown
    assert "PRIVATE KEY" not in shown
    encoded = json.loads((saved / "log.key").read_text())["parts"]["ed25519_seed"]
    (saved / "log.key").write_text(f'{{"format": "signalfire/v1/secret", "kind": "log", "parts": "{encoded}"')
    with pytest.raises(SecretFileError) as refused:
        NodeKeys.load(saved)
    assert encoded not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_public_keys_are_those_of_the_secrets(keys: NodeKeys) -> None:
    public = keys.public()
    assert [len(part) for part in (public.log, public.receipt, public.pq)] == [32, 32, 1312]
    assert [len(part) for part in (public.sealing_mlkem768, public.sealing_x25519)] == [1184, 32]
    signature = MLDSA44PrivateKey.from_seed_bytes(keys.pq_seed).sign(b"text")
    MLDSA44PublicKey.from_public_bytes(public.pq).verify(signature, b"text")
    secret, ciphertext = MLKEM768PublicKey.from_public_bytes(public.sealing_mlkem768).encapsulate()
    assert MLKEM768PrivateKey.from_seed_bytes(keys.sealing_mlkem768_seed).decapsulate(ciphertext) == secret


def test_generated_keys_are_all_different(keys: NodeKeys, world: World) -> None:
    leaf = world.leaf("JPN")
    others = NodeKeys.generate(gateway_key_pem=leaf.key_pem, gateway_certificate_pem=leaf.certificate_pem)
    drawn = [
        part
        for one in (keys, others)
        for part in (
            one.log_seed,
            one.receipt_seed,
            one.pq_seed,
            one.sealing_mlkem768_seed,
            one.sealing_x25519_private,
            one.storage_key,
        )
    ]
    assert len(set(drawn)) == len(drawn)


def test_a_renewed_certificate_leaves_the_other_keys_as_they_are(keys: NodeKeys, world: World) -> None:
    leaf = world.leaf("JPN")
    renewed = keys.with_certificate(gateway_key_pem=leaf.key_pem, gateway_certificate_pem=leaf.certificate_pem)
    assert renewed.public() == keys.public()
    assert renewed.gateway_certificate_pem == leaf.certificate_pem


def test_a_write_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "one"
    write_private(path, b"old and longer")
    with path.open("rb") as reader:
        write_private(path, b"new")
        # Whoever had opened the old file still reads all of it.
        assert reader.read() == b"old and longer"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(OSError, match="one"):
        write_private(tmp_path / "one", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_secrets_are_not_put_into_a_directory_that_is_open_to_others(keys: NodeKeys, tmp_path: Path) -> None:
    (tmp_path / "node").mkdir(mode=0o755)
    with pytest.raises(SecretFileError) as refused:
        keys.save(tmp_path / "node")
    assert refused.value.code is Refusal.EXPOSED
    assert list((tmp_path / "node").iterdir()) == []


def test_a_directory_in_place_of_a_key_is_refused(tmp_path: Path) -> None:
    make_private_directory(tmp_path / "log.key")
    with pytest.raises(SecretFileError):
        read_private(tmp_path / "log.key")


def test_a_secret_of_the_wrong_size_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError):
        write_secret(tmp_path / "root.key", SecretKind.ROOT, {"ed25519_seed": b"short"})
    with pytest.raises(SecretFileError):
        write_secret(tmp_path / "root.key", SecretKind.ROOT, {"random": bytes(32)})
    assert list(tmp_path.iterdir()) == []


def test_the_kind_of_a_file_is_told_without_reading_its_secret(tmp_path: Path) -> None:
    write_secret(tmp_path / "root.key", SecretKind.ROOT, {"ed25519_seed": bytes(32)})
    assert kind_of((tmp_path / "root.key").read_bytes()) is SecretKind.ROOT
    assert read_secret(tmp_path / "root.key", SecretKind.ROOT) == {"ed25519_seed": bytes(32)}
    assert kind_of(b"-----BEGIN CERTIFICATE-----") is None
