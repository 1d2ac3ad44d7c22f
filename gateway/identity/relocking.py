"""Changes how the secrets of a directory are protected, in place: locks it, unlocks it, or locks it in another way.

The order in which files are written makes a crash at any point harmless; the same command again then goes on:

- lock: `lock.json` first, then each file. A plain file in a locked directory is read as it is.
- unlock: each file first, then `lock.json` goes.
- relock: `lock.json` first, with the former key-encryption key wrapped under the new one; then each file; then
  `lock.json` without the former. From the first step on it takes the new way to open the directory.

Every write replaces one file whole (`private_files`). Every file is read and opened before the first is written, and
what wraps the new key must get it back first: a lock that nobody can open is not put on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from gateway.identity.errors import LockError, Refusal
from gateway.identity.keyring import KeyKind, key_files
from gateway.identity.locked import (
    LOCK_FILE,
    KeyLock,
    Unwrapper,
    Wrapped,
    Wrapper,
    is_sealed,
    lock_text,
    new_kek,
    parse_lock,
    pem_encryption,
    seal_under,
)
from gateway.identity.node_keys import SecretKind, parse_secret
from gateway.identity.private_files import make_private_directory, read_private, write_private


def lock_directory(directory: Path, wrapper: Wrapper) -> list[str]:
    """Locks the secrets in `directory`; returns the names of the files that were sealed.

    A directory that is locked is gone on with, where `wrapper` opens it. Raises LockError, SecretFileError or OSError.
    """
    if not KeyLock(directory).locked:
        for name in secret_files(directory):
            _plain(KeyLock(directory), name)
        put_lock(directory, wrapper)
    lock = KeyLock(directory, wrapper)
    _finish(lock)
    return _write_all(directory, lock, lock.current_kek(), lambda raw: not is_sealed(raw))


def put_lock(directory: Path, wrapper: Wrapper) -> None:
    """Gives a directory a lock before its first secret is written. Raises LockError, SecretFileError or OSError."""
    make_private_directory(directory)
    kek = new_kek()
    write_private(directory / LOCK_FILE, lock_text(_proven(directory, wrapper, kek), kek))


def unlock_directory(directory: Path, unwrapper: Unwrapper) -> list[str]:
    """Leaves the secrets in `directory` plain; returns the names of the files. Raises as `lock_directory` does."""
    if not KeyLock(directory).locked:
        raise _not_locked(directory)
    lock = KeyLock(directory, unwrapper)
    written = _write_all(directory, lock, None, is_sealed)
    (directory / LOCK_FILE).unlink()
    _sync(directory)
    return written


def relock_directory(directory: Path, unwrapper: Unwrapper, wrapper: Wrapper) -> list[str]:
    """Locks the secrets in another way, under a new key-encryption key. Raises as `lock_directory` does."""
    path = directory / LOCK_FILE
    if not KeyLock(directory).locked:
        raise _not_locked(directory)
    lock = KeyLock(directory, unwrapper)
    _finish(lock)
    for name in secret_files(directory):
        _plain(lock, name)
    former = lock.current_kek()
    kek = new_kek()
    wrapped = _proven(directory, wrapper, kek)
    write_private(path, lock_text(wrapped, kek, (former,)))
    written = _write_all(directory, KeyLock.opened(directory, (kek, former)), kek, lambda _: True)
    write_private(path, lock_text(wrapped, kek))
    return written


def method_of(directory: Path) -> str | None:
    """By which method the directory is locked; None where it is plain. Raises LockError."""
    path = directory / LOCK_FILE
    return parse_lock(path, read_private(path))[0].method if path.exists() else None


def plain_files(directory: Path) -> list[str]:
    """The secrets that lie in `directory` without encryption. Raises SecretFileError."""
    return [name for name in secret_files(directory) if not is_sealed(read_private(directory / name))]


def plainness(directory: Path) -> list[str]:
    """What to remark of a keys directory whose secrets are not all encrypted; nothing where they are."""
    plain = plain_files(directory)
    if not plain:
        return []
    lock = "although the directory is locked" if KeyLock(directory).locked else "whoever copies the disk has them"
    names = ", ".join(plain)
    return [f"{directory}: private keys are not encrypted, {lock}: {names}. Mend with `signalfire keys lock`."]


def secret_files(directory: Path) -> list[str]:
    """The files that a lock covers, as they are there: of a gateway's keys directory, or of a nation's."""
    found = [path for kind in KeyKind for path in key_files(directory, kind)]
    found.extend(directory / kind.file_name for kind in (SecretKind.ROOT, SecretKind.RECOVERY))
    found.extend(sorted(directory.glob("*.key.pem")))
    found.extend(sorted(directory.glob("ca/*.key.pem")))
    return [str(path.relative_to(directory)) for path in found if path.exists()]


def _finish(lock: KeyLock) -> None:
    """Ends an exchange of the key-encryption key that was cut short."""
    kek, *former = lock.keks()
    if former:
        path = lock.directory / LOCK_FILE
        wrapped, _ = parse_lock(path, read_private(path))
        _write_all(lock.directory, lock, kek, lambda _: True)
        write_private(path, lock_text(wrapped, kek))


def _write_all(directory: Path, lock: KeyLock, kek: bytes | None, wanted: Callable[[bytes], bool]) -> list[str]:
    """Writes those secrets whose content is `wanted` under `kek`, or plain; returns their names."""
    contents = list(_contents(directory, lock, kek, wanted))
    for name, content in contents:
        write_private(directory / name, content)
    return [name for name, _ in contents]


def _contents(
    directory: Path, lock: KeyLock, kek: bytes | None, wanted: Callable[[bytes], bool]
) -> Iterator[tuple[str, bytes]]:
    for name in secret_files(directory):
        if not wanted(read_private(directory / name)):
            continue
        kind, plain = _plain(lock, name)
        if kind is not None:
            yield name, plain if kek is None else seal_under(kek, name, kind, plain)
        else:
            key = serialization.load_pem_private_key(plain, None)
            encryption = serialization.NoEncryption() if kek is None else pem_encryption(kek)
            yield name, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def _plain(lock: KeyLock, name: str) -> tuple[str | None, bytes]:
    """Tag of the kind (None of a key in PEM) and plain content of one secret, once it is known to be whole."""
    path = lock.directory / name
    raw = read_private(path)
    if name.endswith(".pem"):
        key = lock.load_pem_key(name, raw)
        return None, key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    kind = SecretKind[path.name.split(".", 1)[0].upper()]
    plain = lock.open(name, kind.tag, raw)
    parse_secret(path, kind, plain)
    return kind.tag, plain


def _proven(directory: Path, wrapper: Wrapper, kek: bytes) -> Wrapped:
    wrapped = wrapper.wrap(kek)
    if wrapper.unwrap(wrapped) != kek:
        raise LockError(
            Refusal.LOCKED,
            "what wraps the key-encryption key does not get it back, so nothing was changed",
            where=str(directory),
            mend="Check the two programs: one must undo what the other does.",
        )
    return wrapped


def _not_locked(directory: Path) -> LockError:
    return LockError(
        Refusal.MISSING,
        "the keys are not locked",
        where=str(directory),
        mend="Lock them with `signalfire keys lock`.",
    )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
