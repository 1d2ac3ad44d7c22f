"""Private files: written so that a crash leaves the old or the new one whole, and read only if nobody else can.

What is relied on: `rename` within one directory replaces the name atomically (POSIX.1-2017, rename), the content is on
disk before the name is (`fsync` of the file), and the name is on disk before the caller goes on (`fsync` of the
directory).
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from gateway.identity.errors import IssueError, Refusal, SecretFileError

MAX_FILE_SIZE: Final = 1 << 20
"""Bytes that are read of a key, certificate or bundle: far above any of them, far below what would hurt."""

PUBLIC_MODE: Final = 0o644
"""Of the files among them that anybody may read."""

_CREDENTIAL_MODE: Final = 0o440
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def make_private_directory(directory: Path) -> None:
    """Makes `directory` (and what is above it) if it is not there; it is then for its owner alone (0700).

    One that is there and open to others is refused rather than closed under them.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(directory.stat().st_mode)
    except OSError as failed:
        raise SecretFileError(
            Refusal.MISSING,
            f"the directory cannot be made: {failed.strerror}",
            where=str(directory),
            mend="Choose a directory that this user may create, and that no file stands in the way of.",
        ) from failed
    if mode & _OTHERS:
        raise _exposed(directory, mode, f"chmod 700 {directory}")


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replaces `path` atomically with `content`, durable on return. Raises `OSError`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_private(path: Path, *, credential: bool = False, most: int = MAX_FILE_SIZE) -> bytes:
    """The content of `path`, at most `most` bytes, if it belongs to this user (or root) and nobody else may touch it.

    The mode is that of the file that is read, not of a name that may be exchanged in between. A `credential` may also
    be readable (0440) by the group of root, in which systemd shows the access list that it gives to a service's user.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            _refuse_exposed(path, status, credential=credential)
            content = file.read(most + 1)
    except OSError as failed:
        raise SecretFileError(
            Refusal.MISSING,
            f"the file cannot be read: {failed.strerror}",
            where=str(path),
            mend="Put the file there, owned by the user that runs the gateway; `signalfire pki gateway` makes one.",
        ) from failed
    if len(content) > most:
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            f"the file has more than {most} bytes",
            where=str(path),
            mend="Restore the right one; a revocation list loses what has expired when the next is signed.",
        )
    return content


def refuse_present(*paths: Path, mend: str) -> None:
    """Raises `IssueError` where one of `paths` is there already; `mend` says what to do instead."""
    for path in paths:
        if path.exists():
            raise IssueError(
                Refusal.ALREADY_THERE,
                "this is there already, and keys are never overwritten",
                where=str(path),
                mend=mend,
            )


def _refuse_exposed(path: Path, status: os.stat_result, *, credential: bool) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if credential and mode == _CREDENTIAL_MODE and status.st_uid == status.st_gid == 0:
        return
    if mode & _OTHERS:
        raise _exposed(path, mode, f"chmod 600 {path}")
    if status.st_uid not in (os.geteuid(), 0):
        raise SecretFileError(
            Refusal.EXPOSED,
            f"the file belongs to user {status.st_uid}, who can read and change it",
            where=str(path),
            mend=f"Hand it over with: chown {os.geteuid()} {path}",
        )


def _exposed(path: Path, mode: int, command: str) -> SecretFileError:
    return SecretFileError(
        Refusal.EXPOSED,
        f"others than its owner may touch it (mode {mode:04o}), so it may be known already",
        where=str(path),
        mend=f"Replace the key if anybody else uses this machine, then close it with: {command}",
    )
