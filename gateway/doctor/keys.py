"""The keys directory: that nobody else can read it, that each file holds the kind of key that it should."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from gateway.doctor.finding import Finding, or_ok, problem, refused, warning
from gateway.identity.errors import IdentityError
from gateway.identity.keyring import KeyKind, Keyring, key_files
from gateway.identity.locked import KeyLock, is_sealed
from gateway.identity.node_keys import GATEWAY_KEY, read_secret
from gateway.identity.private_files import read_private
from gateway.identity.recovery_key import RECOVERY_PUBLIC, load_recovery_public

CHECK: Final = "keys"


def keys_directory(directory: Path) -> list[Finding]:
    """The directory itself."""
    try:
        status = directory.stat()
    except OSError as error:
        return [
            problem(
                CHECK,
                str(directory),
                f"the keys directory cannot be read: {error.strerror}",
                "Correct `keys`, or restore it.",
            )
        ]
    if not stat.S_ISDIR(status.st_mode):
        return [problem(CHECK, str(directory), "it is not a directory", "Correct `keys`.")]
    mode = stat.S_IMODE(status.st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        what = f"others than its owner may enter it (mode {mode:04o})"
        return [problem(CHECK, str(directory), what, f"Close it with: chmod 700 {directory}")]
    if status.st_uid not in (os.geteuid(), 0):
        what = f"it belongs to user {status.st_uid}, not to the one that runs this"
        return [
            problem(
                CHECK, str(directory), what, f"Run this as the gateway's user, or: chown {os.geteuid()} {directory}"
            )
        ]
    return []


def key_material(directory: Path, lock: KeyLock) -> tuple[list[Finding], Keyring | None]:
    """Every key file, and the keyring where all of them can be read."""
    try:
        lock.check()
    except IdentityError as error:
        # Without it no file opens: said once.
        return [refused(CHECK, error)], None
    found = []
    for kind in KeyKind:
        for path in key_files(directory, kind):
            try:
                read_secret(path, kind.secret, lock)
            except IdentityError as error:
                found.append(refused(CHECK, error))
    if found:
        return found, None
    try:
        ring = Keyring.load(directory, lock)
    except IdentityError as error:
        return [refused(CHECK, error)], None
    count = sum(len(held) for held in ring.keys.values())
    found = _at_rest(directory, lock)
    return or_ok(
        found, CHECK, str(directory), f"{count} keys, each of the kind that its file says, all of them encrypted"
    ), ring


def recovery_key(directory: Path, node: str) -> list[Finding]:
    """The key for which recovery records are sealed."""
    try:
        public = load_recovery_public(directory, node)
    except IdentityError as error:
        return [refused(CHECK, error)]
    where = str(directory / RECOVERY_PUBLIC)
    if public is None:
        what = "it is not there: were the store lost, partners could not give back what was decided"
        mend = "Copy it from the nation's directory; where there is none, make it with `signalfire pki recovery`."
        return [warning(CHECK, where, what, mend)]
    return or_ok([], CHECK, where, "recovery records are sealed for the nation's recovery key")


def _at_rest(directory: Path, lock: KeyLock) -> list[Finding]:
    files = [directory / GATEWAY_KEY, *(path for kind in KeyKind for path in key_files(directory, kind))]
    try:
        plain = [path.name for path in files if not is_sealed(read_private(path))]
    except IdentityError as error:
        return [refused(CHECK, error)]
    if not plain:
        return []
    if lock.locked:
        what = f"the directory is locked, and {', '.join(plain)} {'is' if len(plain) == 1 else 'are'} not encrypted"
    else:
        these = "private key is" if len(plain) == 1 else "private keys are"
        what = f"the {len(plain)} {these} not encrypted at rest: whoever copies the disk has them"
    return [warning(CHECK, str(directory), what, "Encrypt them with `signalfire keys lock`.")]
