"""Claims about keys at rest: encrypted, opened by what locked them and nothing else, and usable after any crash."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.identity import private_files, relocking
from gateway.identity.errors import IdentityError, LockError, Refusal, SecretFileError
from gateway.identity.keyring import KeyKind, Keyring
from gateway.identity.locked import LOCK_FILE, KeyLock, Wrapper, is_sealed
from gateway.identity.node_keys import NodeKeys
from gateway.identity.officer_keys import create_officer_key, read_officer_key
from gateway.identity.private_files import write_private
from gateway.identity.relocking import (
    lock_directory,
    method_of,
    plain_files,
    plainness,
    put_lock,
    relock_directory,
    secret_files,
    unlock_directory,
)
from gateway.identity.tls import KeyPairFiles, channel_credentials, roots_from_files
from gateway.identity.unlocking import COMMAND_AGAIN_S, Command, KeyFile, Passphrase, Strength
from tests.identity.world import World

WEAK = Strength(1, 8192)
"""The least that Argon2id takes: these tests are not about guessing."""

SECRET = "correct horse battery"


@pytest.fixture
def keys(world: World) -> NodeKeys:
    leaf = world.leaf("JPN")
    return NodeKeys.generate(gateway_key_pem=leaf.key_pem, gateway_certificate_pem=leaf.certificate_pem)


@pytest.fixture
def plain(keys: NodeKeys, tmp_path: Path) -> Path:
    keys.save(tmp_path / "keys")
    return tmp_path / "keys"


def passphrase(text: str = SECRET) -> Passphrase:
    return Passphrase.of_text(text, WEAK)


def key_file(tmp_path: Path) -> KeyFile:
    made = KeyFile(tmp_path / "unlock.key")
    made.make()
    return made


def command(tmp_path: Path) -> Command:
    """Two programs that undo each other, as a KMS would; no cipher, but not the key itself either."""
    program = tmp_path / "flip.py"
    program.write_text("import sys\nsys.stdout.buffer.write(bytes(b ^ 255 for b in sys.stdin.buffer.read()))\n")
    argv = (sys.executable, str(program))
    return Command(argv, argv)


WAYS: dict[str, Callable[[Path], Wrapper]] = {
    "passphrase": lambda _: passphrase(),
    "key-file": key_file,
    "command": command,
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS)


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in secret_files(directory)}


@EVERY_WAY
def test_what_was_locked_opens_with_what_locked_it(keys: NodeKeys, plain: Path, tmp_path: Path, way: str) -> None:
    before = contents(plain)
    lock_directory(plain, WAYS[way](tmp_path))
    assert method_of(plain) == way
    assert plain_files(plain) == []
    lock = KeyLock(plain, WAYS[way](tmp_path))
    assert NodeKeys.load(plain, lock) == keys
    assert Keyring.load(plain, lock) == Keyring.of_node_keys(keys)
    unlock_directory(plain, WAYS[way](tmp_path))
    assert contents(plain) == before
    assert method_of(plain) is None


def test_no_secret_stands_in_a_locked_directory(keys: NodeKeys, plain: Path) -> None:
    parts = [text for raw in contents(plain).values() for text in _base64_parts(raw)]
    assert len(parts) == 6
    lock_directory(plain, passphrase())
    everything = b"".join(path.read_bytes() for path in plain.iterdir())
    assert not [part for part in parts if part.encode() in everything]
    assert b"-----BEGIN PRIVATE KEY-----" not in everything


def _base64_parts(raw: bytes) -> list[str]:
    return list(json.loads(raw)["parts"].values()) if raw.startswith(b"{") else []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda tmp: passphrase("another passphrase"),
        lambda tmp: key_file(tmp),
        lambda tmp: None,
        lambda tmp: Passphrase.of_file(tmp / "not-there"),
        lambda tmp: Command(("/bin/false",)),
    ],
)
def test_nothing_else_opens_them_and_the_refusal_holds_no_secret(
    plain: Path, tmp_path: Path, wrong: Callable[[Path], Wrapper | None]
) -> None:
    lock_directory(plain, passphrase())
    with pytest.raises(SecretFileError) as refused:
        NodeKeys.load(plain, KeyLock(plain, wrong(tmp_path)))
    assert SECRET not in str(refused.value)
    assert "another passphrase" not in str(refused.value)
    assert refused.value.mend


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import time; time.sleep(60)", "did not end"),
        ("print('x' * 4096)", "4097 bytes"),
        ("print('short')", "6 bytes"),
        ("import sys; sys.stdout.buffer.write(b'k' * 32)", "not the key-encryption key"),
        ("import os, sys; sys.exit(len(os.environ.get('SIGNALFIRE_SECRET', '')))", "0 bytes"),
    ],
)
def test_a_program_that_fails_is_told_and_quoted_in_nothing(
    plain: Path, tmp_path: Path, script: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALFIRE_SECRET", "seven!!")
    lock_directory(plain, command(tmp_path))
    hook = Command((sys.executable, "-c", f"import sys; print('S3CRET', file=sys.stderr); {script}"), timeout_s=1)
    with pytest.raises(LockError, match=word) as refused:
        KeyLock(plain, hook).check()
    assert "S3CRET" not in str(refused.value)


@pytest.mark.parametrize("argv", [(), ("true",), ("/not/there",)])
def test_a_program_that_cannot_be_started_is_told(plain: Path, tmp_path: Path, argv: tuple[str, ...]) -> None:
    lock_directory(plain, command(tmp_path))
    with pytest.raises(LockError) as refused:
        KeyLock(plain, Command(argv)).check()
    assert refused.value.code is Refusal.LOCKED


def test_programs_that_do_not_undo_each_other_lock_nothing(plain: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in plain.iterdir()}
    with pytest.raises(LockError, match="nothing was changed"):
        lock_directory(plain, Command((sys.executable, "-c", "print('k' * 31)"), command(tmp_path).wrap_argv))
    with pytest.raises(LockError, match="did not encrypt"):
        lock_directory(plain, Command(("/bin/cat",), ("/bin/cat",)))
    assert {path.name: path.read_bytes() for path in plain.iterdir()} == before


def test_a_short_passphrase_locks_nothing(plain: Path) -> None:
    with pytest.raises(LockError, match="12 characters"):
        lock_directory(plain, passphrase("short"))
    assert method_of(plain) is None


@pytest.mark.parametrize("name", ["log.key", "sealing.key", "storage.key"])
def test_a_sealed_file_cannot_be_altered_nor_stand_in_for_another(plain: Path, name: str) -> None:
    lock_directory(plain, passphrase())
    raw = json.loads((plain / name).read_text())
    flipped = raw["sealed"][:-6] + ("A" if raw["sealed"][-6] != "A" else "B") + raw["sealed"][-5:]
    (plain / name).write_text(json.dumps(raw | {"sealed": flipped}))
    with pytest.raises(LockError, match="does not open"):
        Keyring.load(plain, KeyLock(plain, passphrase()))
    other = json.loads((plain / "receipt.key").read_text())
    (plain / name).write_text(json.dumps(other | {"kind": name.removesuffix(".key")}))
    with pytest.raises(LockError, match="another file's"):
        Keyring.load(plain, KeyLock(plain, passphrase()))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "signalfire/v2/lock"},
        {"kek": "0" * 15},
        {"kek": 7},
        {"method": 7},
        {"parameters": []},
        {"parameters": {"ops": 1, "mem": 1 << 50, "salt": ""}},
        {"parameters": {"ops": True, "mem": 8192, "salt": "AAAAAAAAAAAAAAAAAAAAAA=="}},
        {"wrapped": "!"},
        {"wrapped": 7},
        {"former": {}},
        {"former": [{"kek": "0" * 16}]},
        {"former": [{"kek": "0" * 16, "wrapped": "AAAA"}]},
        {"more": 1},
    ],
)
def test_a_damaged_lock_is_refused(plain: Path, change: dict[str, object]) -> None:
    lock_directory(plain, passphrase())
    path = plain / LOCK_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LockError):
        KeyLock(plain, passphrase()).check()


@pytest.mark.parametrize("content", ["", "[]", "[" * 5000, "{}"])
def test_what_is_no_lock_at_all_is_refused(plain: Path, content: str) -> None:
    lock_directory(plain, passphrase())
    (plain / LOCK_FILE).write_text(content)
    with pytest.raises(LockError):
        KeyLock(plain, passphrase()).check()


class Crash(Exception):
    """The machine stops here."""


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Lets `step` files be written; the next write finds the machine stopped."""
    left = [step]

    def write(path: Path, content: bytes, *, mode: int = 0o600) -> None:
        if left[0] == 0:
            raise Crash
        left[0] -= 1
        private_files.write_private(path, content, mode=mode)

    monkeypatch.setattr(relocking, "write_private", write)


STEPS = range(9)


@pytest.mark.parametrize("step", STEPS)
def test_after_a_crash_at_any_step_of_locking_the_keys_open_and_the_command_goes_on(
    keys: NodeKeys, plain: Path, step: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        crash_at(patched, step)
        try:
            lock_directory(plain, passphrase())
        except Crash:
            assert plain_files(plain)
    assert NodeKeys.load(plain, KeyLock(plain, passphrase())) == keys
    lock_directory(plain, passphrase())
    assert plain_files(plain) == []
    assert NodeKeys.load(plain, KeyLock(plain, passphrase())) == keys


@pytest.mark.parametrize("step", STEPS)
def test_after_a_crash_at_any_step_of_unlocking_the_keys_open(keys: NodeKeys, plain: Path, step: int) -> None:
    lock_directory(plain, passphrase())
    with pytest.MonkeyPatch.context() as patched:
        crash_at(patched, step)
        try:
            unlock_directory(plain, passphrase())
        except Crash:
            pass
        else:
            return
    assert NodeKeys.load(plain, KeyLock(plain, passphrase())) == keys
    unlock_directory(plain, passphrase())
    assert NodeKeys.load(plain) == keys


@pytest.mark.parametrize("step", STEPS)
def test_after_a_crash_at_any_step_of_relocking_one_way_opens_all_keys(
    keys: NodeKeys, plain: Path, tmp_path: Path, step: int
) -> None:
    lock_directory(plain, passphrase())
    other = key_file(tmp_path)
    with pytest.MonkeyPatch.context() as patched:
        crash_at(patched, step)
        with contextlib.suppress(Crash):
            relock_directory(plain, passphrase(), other)
    way = passphrase() if step == 0 else other
    assert NodeKeys.load(plain, KeyLock(plain, way)) == keys
    third = passphrase("the third way of locking")
    relock_directory(plain, way, third)
    assert NodeKeys.load(plain, KeyLock(plain, third)) == keys
    assert json.loads((plain / LOCK_FILE).read_text())["former"] == []


def test_relocking_takes_a_new_key_encryption_key(plain: Path) -> None:
    lock_directory(plain, passphrase())
    before = KeyLock(plain, passphrase()).current_kek()
    relock_directory(plain, passphrase(), passphrase())
    assert KeyLock(plain, passphrase()).current_kek() != before


def test_a_lock_that_changes_is_opened_anew(plain: Path, tmp_path: Path) -> None:
    lock_directory(plain, passphrase())
    lock = KeyLock(plain, passphrase())
    Keyring.load(plain, lock)
    relock_directory(plain, passphrase(), passphrase())
    Keyring.load(plain, lock)
    relock_directory(plain, passphrase(), key_file(tmp_path))
    with pytest.raises(LockError, match="locked by key-file"):
        Keyring.load(plain, lock)


def test_a_locked_tls_key_serves_and_lies_in_memory_alone(plain: Path, world: World) -> None:
    lock_directory(plain, passphrase())
    roots = plain / "roots.pem"
    roots.write_bytes((plain / "gateway.crt.pem").read_bytes())
    pair = KeyPairFiles.of_gateway(plain, KeyLock(plain, passphrase()))
    channel_credentials(pair, roots_from_files(roots))
    assert is_sealed((plain / "gateway.key.pem").read_bytes())
    with pytest.raises(IdentityError):
        channel_credentials(KeyPairFiles.of_gateway(plain), roots_from_files(roots))


def test_plain_keys_are_remarked(plain: Path) -> None:
    (remark,) = plainness(plain)
    assert "log.key" in remark
    assert "keys lock" in remark
    lock_directory(plain, passphrase())
    assert plainness(plain) == []


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_file_or_passphrase_that_others_may_read_is_refused(plain: Path, tmp_path: Path, mode: int) -> None:
    way = key_file(tmp_path)
    lock_directory(plain, way)
    way.path.chmod(mode)
    with pytest.raises(SecretFileError) as refused:
        KeyLock(plain, way).check()
    assert refused.value.code is Refusal.EXPOSED


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n"])
def test_a_passphrase_file_holds_one_line(plain: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "passphrase"
    private_files.write_private(path, content)
    with pytest.raises(LockError, match="one line"):
        lock_directory(plain, Passphrase.of_file(path, WEAK))


def test_nothing_shows_a_secret(plain: Path, tmp_path: Path) -> None:
    way = passphrase()
    put_lock(tmp_path / "new", way)
    lock = KeyLock(tmp_path / "new", way)
    assert SECRET not in repr(way)
    assert lock.current_kek().hex() not in repr(lock)
    ring = Keyring.load(plain)
    for kind in KeyKind:
        for part in ring.default(kind).parts.values():
            assert repr(part) not in repr(ring)


def test_an_officers_key_has_a_passphrase_of_its_own(tmp_path: Path) -> None:
    made = create_officer_key(tmp_path / "o", "JPN", "alice", SECRET.encode(), WEAK)
    path = tmp_path / "o" / "alice.key"
    assert read_officer_key(path, lambda: SECRET.encode()) == made
    assert made.seed.hex() not in path.read_text()
    with pytest.raises(LockError, match="does not unlock"):
        read_officer_key(path, lambda: b"another passphrase")
    with pytest.raises(LockError, match="has a passphrase"):
        read_officer_key(path)
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | {"kind": "root"}))
    with pytest.raises(SecretFileError):
        read_officer_key(path, lambda: SECRET.encode())


def test_a_lock_that_does_not_open_is_worked_on_once_until_it_or_the_passphrase_changes(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived: list[bytes] = []
    derive = Strength.derive

    def counted(self: Strength, passphrase: bytes, salt: bytes) -> bytes:
        derived.append(passphrase)
        return derive(self, passphrase, salt)

    file = tmp_path / "passphrase"
    write_private(file, SECRET.encode() + b"\n")
    way = Passphrase.of_file(file, WEAK)
    lock_directory(plain, way)
    lock = KeyLock(plain, way)
    Keyring.load(plain, lock)
    other = passphrase("quite another passphrase")
    relock_directory(plain, way, other)
    monkeypatch.setattr(Strength, "derive", counted)
    for _ in range(5):
        with pytest.raises(LockError, match="does not unlock"):
            Keyring.load(plain, lock)
        with pytest.raises(LockError, match="does not unlock"):
            lock.load_pem_key("gateway.key.pem", (plain / "gateway.key.pem").read_bytes())
    assert len(derived) == 1
    write_private(file, b"quite another passphrase\n")
    Keyring.load(plain, lock)
    assert len(derived) == 2


def test_a_program_that_failed_is_asked_again_after_a_minute(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("gateway.identity.unlocking.time.monotonic", lambda: clock[0])
    way = Command(["/bin/false"])
    before = way.state()
    clock[0] += 1
    assert way.state() == before
    clock[0] += COMMAND_AGAIN_S
    assert way.state() != before


@pytest.mark.parametrize("change", [{"mem": (1 << 30) + 1}, {"ops": 17}])
def test_a_lock_that_asks_for_more_work_than_a_gateway_can_do_is_refused(plain: Path, change: dict[str, int]) -> None:
    lock_directory(plain, passphrase())
    path = plain / "lock.json"
    content = json.loads(path.read_text())
    content["parameters"] |= change
    write_private(path, json.dumps(content).encode())
    with pytest.raises(LockError, match="parameters of Argon2id"):
        Keyring.load(plain, KeyLock(plain, passphrase()))
