"""The recovery key of a nation: what opens the recovery records in its ledgers once a gateway's store is lost.

`recovery.key` is made with the nation and stays in its directory, off every gateway and network; it is locked as the
other keys there. `recovery.pub` is its public half, for which gateways seal; it lies in the keys directory of each.
One line of ASCII: ``signalfire/v1/<NODE>/recovery+<key id, 32 hex digits>+<base64 of ML-KEM-768 || X25519>``. The key
id is that of a sealing key.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from gateway.identity.errors import IssueError, Refusal, SecretFileError
from gateway.identity.keyring import HeldKey, KeyKind
from gateway.identity.locked import KeyLock
from gateway.identity.node_keys import PARTS_SIZES, SecretKind, read_secret, write_secret
from gateway.identity.private_files import write_private
from gateway.identity.spiffe import trust_domain_of

RECOVERY_PUBLIC: Final = "recovery.pub"
"""Name of the file with the public half."""

PUBLIC_SIZE: Final = 1216
"""Length of the public half, bytes: ML-KEM-768, then X25519."""

_PUBLIC_MODE: Final = 0o644


def make_recovery_key(directory: Path, node: str, lock: KeyLock) -> bytes:
    """Makes the recovery key of a nation in its directory. Returns the public half. Raises IssueError where there is
    one, SecretFileError or OSError.
    """
    path = directory / SecretKind.RECOVERY.file_name
    if path.exists():
        raise IssueError(
            Refusal.ALREADY_THERE,
            "the nation has a recovery key, and another would not open what is sealed for this one",
            where=str(path),
            mend="Keep it. To change it, move recovery.key to a safe place for what it seals, and make another.",
        )
    parts = {part: secrets.token_bytes(PARTS_SIZES[part]) for part in SecretKind.RECOVERY.parts}
    public = HeldKey.of(KeyKind.SEALING, parts).public
    write_secret(path, SecretKind.RECOVERY, parts, lock)
    write_recovery_public(directory, node, public)
    return public


def load_recovery_key(path: Path, lock: KeyLock | None = None) -> Mapping[str, bytes]:
    """The parts of the recovery key in a file: `mlkem768_seed` and `x25519_private`. Raises SecretFileError."""
    return read_secret(path, SecretKind.RECOVERY, lock or KeyLock(path.parent))


def write_recovery_public(directory: Path, node: str, public: bytes) -> None:
    """Puts the public half into a gateway's keys directory, or a nation's."""
    write_private(directory / RECOVERY_PUBLIC, _line(node, public), mode=_PUBLIC_MODE)


def load_recovery_public(directory: Path, node: str) -> bytes | None:
    """The public half, 1216 bytes; None where `directory` holds none. Raises SecretFileError for a file that is not
    what it should be: records that nobody can open would be worse than none.
    """
    path = directory / RECOVERY_PUBLIC
    if not path.exists():
        return None
    try:
        raw = path.read_bytes()
        public = base64.b64decode(raw.decode("ascii").removesuffix("\n").split("+", 2)[-1], validate=True)
        if len(public) != PUBLIC_SIZE or raw != _line(node, public):
            raise ValueError("its name, key id and key do not belong together")
    except (ValueError, binascii.Error, OSError) as error:
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            f"this is no recovery key of {node}: {error}",
            where=str(path),
            mend=f"Copy {RECOVERY_PUBLIC} from the nation's directory again, or take the file away.",
        ) from error
    return public


def _line(node: str, public: bytes) -> bytes:
    trust_domain_of(node)
    key_id = sha256(public).hexdigest()[:32]
    return f"signalfire/v1/{node}/recovery+{key_id}+{base64.b64encode(public).decode('ascii')}\n".encode("ascii")
