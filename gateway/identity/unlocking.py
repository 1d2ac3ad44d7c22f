"""The ways to lock and unlock the secrets of a directory: a passphrase, a key file, a program of the site.

`locked` says what lies on disk; here is what unwraps the key-encryption key (KEK). A gateway has no terminal, so its
passphrase comes from a file too: on a file system in memory, or a credential of systemd.

Rules for a program (`Command`), in order:

1. It is called by its absolute path with the arguments of the configuration, and never through a shell.
2. It is given the wrapped KEK on standard input and nothing else: its environment is `PATH` and `LANG`, its directory
   `/`, its standard error is not read.
3. It ends within `COMMAND_TIMEOUT_S` with exit code 0, and its standard output is the KEK, 32 raw bytes. Anything else
   is an error that quotes none of it. It and what it started are killed when it takes longer.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as SodiumError
from nacl.pwhash import argon2id
from nacl.secret import Aead

from gateway.identity.errors import LockError, Refusal
from gateway.identity.locked import KEK_SIZE, MAX_WRAPPED, SEALED_FORMAT, Wrapped, id_of, is_sealed
from gateway.identity.private_files import read_private, write_private

KEY_FILE_SIZE: Final = 32
"""Bytes of a key file, all of them random."""

MIN_PASSPHRASE: Final = 12
"""Bytes of a passphrase with which something is locked. Argon2id makes guessing dear, not impossible."""

COMMAND_TIMEOUT_S: Final = 20.0
"""Seconds that a program may take: a KMS across a network answers in one or two."""

_MAX_OPS: Final = 16
_MAX_MEM: Final = 1 << 30
"""What a file may ask for of Argon2id: whoever alters it must not stop a gateway by that."""

COMMAND_AGAIN_S: Final = 60.0
"""Seconds after which a program that failed is asked again: a KMS may have been out of reach."""

_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Strength:
    """Cost of Argon2id: passes, and bytes of memory."""

    ops: int = argon2id.OPSLIMIT_MODERATE
    mem: int = argon2id.MEMLIMIT_MODERATE

    def derive(self, passphrase: bytes, salt: bytes) -> bytes:
        """The 32 bytes that this passphrase and salt give. Raises LockError where there is not enough memory."""
        try:
            return argon2id.kdf(KEK_SIZE, passphrase, salt, opslimit=self.ops, memlimit=self.mem)
        except SodiumError as failed:
            raise LockError(
                Refusal.LOCKED,
                f"the passphrase cannot be worked on: that takes {self.mem >> 20} MiB of memory",
                where="Argon2id",
                mend="Give the process that much, or lock with a key file.",
            ) from failed


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Locks by a passphrase. `read` gives it when it is needed, for no longer than that takes."""

    read: Callable[[], bytes] = field(repr=False)
    where: str
    strength: Strength = Strength()
    method: str = "passphrase"
    file: Path | None = None
    """Where it lies, if in a file."""

    def state(self) -> object:
        """Changes with the file."""
        return None if self.file is None else _stamp(self.file)

    @classmethod
    def of_file(cls, path: Path, strength: Strength | None = None) -> Passphrase:
        """The first line of a private file, without its newline."""
        return cls(lambda: passphrase_in(path), str(path), strength or Strength(), file=path)

    @classmethod
    def of_text(cls, text: str, strength: Strength | None = None) -> Passphrase:
        """One that somebody typed."""
        return cls(lambda: text.encode("utf-8"), "passphrase", strength or Strength())

    def wrap(self, kek: bytes) -> Wrapped:
        """The KEK under this passphrase, with a new salt."""
        passphrase = self.read()
        require_strong(passphrase, self.where)
        salt = secrets.token_bytes(argon2id.SALTBYTES)
        parameters = {
            "ops": self.strength.ops,
            "mem": self.strength.mem,
            "salt": base64.b64encode(salt).decode("ascii"),
        }
        bare = Wrapped(self.method, id_of(kek), parameters, b"")
        blob = Aead(self.strength.derive(passphrase, salt)).encrypt(kek, bare.associated_data)
        return Wrapped(self.method, id_of(kek), parameters, bytes(blob))

    def unwrap(self, wrapped: Wrapped) -> bytes:
        """The KEK. Raises LockError for another passphrase."""
        strength, salt = argon2_parameters(wrapped.parameters, self.where)
        try:
            return Aead(strength.derive(self.read(), salt)).decrypt(wrapped.blob, wrapped.associated_data)
        except CryptoError:
            raise wrong_passphrase(self.where) from None


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Locks by a file of 32 random bytes, for its owner alone, which lies apart from the keys."""

    path: Path
    method: str = "key-file"

    def state(self) -> object:
        """Changes with the file."""
        return _stamp(self.path)

    def make(self) -> bool:
        """Makes the file if it is not there; whether it did. Raises OSError."""
        if self.path.exists():
            return False
        write_private(self.path, secrets.token_bytes(KEY_FILE_SIZE))
        return True

    def wrap(self, kek: bytes) -> Wrapped:
        """The KEK under the key in the file."""
        bare = Wrapped(self.method, id_of(kek), {}, b"")
        return Wrapped(self.method, id_of(kek), {}, bytes(Aead(self._key()).encrypt(kek, bare.associated_data)))

    def unwrap(self, wrapped: Wrapped) -> bytes:
        """The KEK. Raises LockError for another key file."""
        try:
            return Aead(self._key()).decrypt(wrapped.blob, wrapped.associated_data)
        except CryptoError:
            raise LockError(
                Refusal.LOCKED,
                "this key file does not unlock the keys",
                where=str(self.path),
                mend="Give the key file that they were locked with.",
            ) from None

    def _key(self) -> bytes:
        key = read_private(self.path, credential=True)
        if len(key) != KEY_FILE_SIZE:
            raise LockError(
                Refusal.MALFORMED_FILE,
                f"a key file has exactly {KEY_FILE_SIZE} bytes, and this one has {len(key)}",
                where=str(self.path),
                mend="Give the key file that the keys were locked with.",
            )
        return key


@dataclass(frozen=True, slots=True)
class Command:
    """Locks by programs of the site: `unwrap_argv` turns a wrapped KEK into the KEK, `wrap_argv` the reverse."""

    unwrap_argv: Sequence[str]
    wrap_argv: Sequence[str] = ()
    timeout_s: float = COMMAND_TIMEOUT_S
    method: str = "command"

    def state(self) -> object:
        """Changes every minute: what the program asks may be there again."""
        return time.monotonic() // COMMAND_AGAIN_S

    def wrap(self, kek: bytes) -> Wrapped:
        """What the program prints that is given the KEK. Raises LockError."""
        blob = run(self.wrap_argv, kek, timeout_s=self.timeout_s, most=MAX_WRAPPED)
        if not blob or kek in blob:
            raise _failed(self.wrap_argv, "it did not encrypt the key")
        return Wrapped(self.method, id_of(kek), {}, blob)

    def unwrap(self, wrapped: Wrapped) -> bytes:
        """The KEK. Raises LockError."""
        kek = run(self.unwrap_argv, wrapped.blob, timeout_s=self.timeout_s, most=KEK_SIZE)
        if len(kek) != KEK_SIZE:
            raise _failed(self.unwrap_argv, f"it printed {len(kek)} bytes, and a key has {KEK_SIZE}")
        return kek


def seal_with_passphrase(kind: str, plain: bytes, passphrase: bytes, strength: Strength | None = None) -> bytes:
    """The content of a secret file that has a passphrase of its own. Raises LockError for one that is too short."""
    require_strong(passphrase, "passphrase")
    strength = strength or Strength()
    salt = secrets.token_bytes(argon2id.SALTBYTES)
    blob = Aead(strength.derive(passphrase, salt)).encrypt(plain, _own_data(kind))
    content = {
        "format": SEALED_FORMAT,
        "kind": kind,
        "argon2id": {"ops": strength.ops, "mem": strength.mem, "salt": base64.b64encode(salt).decode("ascii")},
        "sealed": base64.b64encode(bytes(blob)).decode("ascii"),
    }
    return (json.dumps(content, indent=2) + "\n").encode("ascii")


def open_with_passphrase(where: str, kind: str, raw: bytes, passphrase: bytes) -> bytes:
    """The plain content of a secret file that has a passphrase of its own. Raises LockError."""
    content = json.loads(raw) if is_sealed(raw) else {}
    try:
        if set(content) != {"format", "kind", "argon2id", "sealed"} or content["kind"] != kind:
            raise ValueError
        blob = base64.b64decode(content["sealed"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise LockError(
            Refusal.MALFORMED_FILE,
            f"this is not a {kind} key with a passphrase",
            where=where,
            mend="Restore the file from its backup.",
        ) from None
    strength, salt = argon2_parameters(content["argon2id"], where)
    try:
        return Aead(strength.derive(passphrase, salt)).decrypt(blob, _own_data(kind))
    except (CryptoError, ValueError):
        raise wrong_passphrase(where) from None


def _own_data(kind: str) -> bytes:
    return f"{SEALED_FORMAT}\n{kind}".encode("ascii")


def run(argv: Sequence[str], given: bytes, *, timeout_s: float, most: int) -> bytes:
    """The standard output of a program that is given `given`, at most `most` bytes of it. Raises LockError."""
    if not argv or not Path(argv[0]).is_absolute():
        raise _failed(argv, "a program is named by its absolute path")
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            process_group=0,
        )
    except OSError as failed:
        raise _failed(argv, f"it cannot be started: {failed.strerror}") from None
    try:
        printed, _ = process.communicate(given, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        # Not waited for yet, so the number of its group is still its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        raise _failed(argv, f"it did not end within {timeout_s:g} s") from None
    if process.returncode != 0:
        raise _failed(argv, f"it ended with exit code {process.returncode}")
    if len(printed) > most:
        raise _failed(argv, f"it printed {len(printed)} bytes, and {most} at most are meant")
    return printed


def _stamp(path: Path) -> object:
    try:
        at = path.stat()
    except OSError:
        return None
    return at.st_ino, at.st_mtime_ns, at.st_size, at.st_mode


def passphrase_in(path: Path) -> bytes:
    """The passphrase in a private file: its one line. Raises SecretFileError."""
    passphrase = read_private(path, credential=True).removesuffix(b"\n").removesuffix(b"\r")
    if not passphrase or b"\n" in passphrase:
        raise LockError(
            Refusal.MALFORMED_FILE,
            "the file does not hold one line, the passphrase",
            where=str(path),
            mend="Write the passphrase into it, on one line.",
        )
    return passphrase


def require_strong(passphrase: bytes, where: str) -> None:
    """Raises LockError for a passphrase that is too short to lock with."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise LockError(
            Refusal.BAD_REQUEST,
            f"a passphrase has at least {MIN_PASSPHRASE} characters",
            where=where,
            mend="Choose a longer one: five or six random words are good.",
        )


def argon2_parameters(parameters: object, where: str) -> tuple[Strength, bytes]:
    """Cost and salt as they are written beside what was encrypted. Raises LockError."""
    if isinstance(parameters, dict) and set(parameters) == {"ops", "mem", "salt"}:
        ops, mem = parameters["ops"], parameters["mem"]
        try:
            salt = base64.b64decode(parameters["salt"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            salt = b""
        whole = type(ops) is int and type(mem) is int and len(salt) == argon2id.SALTBYTES
        if whole and 1 <= ops <= _MAX_OPS and argon2id.MEMLIMIT_MIN <= mem <= _MAX_MEM:
            return Strength(ops, mem), salt
    raise LockError(
        Refusal.MALFORMED_FILE,
        "the parameters of Argon2id are not what they can be",
        where=where,
        mend="Restore the file from its backup.",
    )


def wrong_passphrase(where: str) -> LockError:
    """The refusal of a passphrase that does not open."""
    return LockError(
        Refusal.LOCKED,
        "this passphrase does not unlock the keys",
        where=where,
        mend="Give the passphrase that they were locked with; it is case-sensitive.",
    )


def _failed(argv: Sequence[str], what: str) -> LockError:
    return LockError(
        Refusal.LOCKED,
        f"the program that handles the key-encryption key failed: {what}",
        where=argv[0] if argv else "command",
        mend="Run it by hand as the gateway's user, with the same arguments, to see why; docs/keys.md shows its shape.",
    )
