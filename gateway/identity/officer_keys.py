"""The key with which one officer signs orders: a private file of his own, and its public half for the roster.

    alice.key     Ed25519 seed, 32 bytes (the format of `gateway.identity.node_keys`); for its owner alone, 0600.
                  With a passphrase: encrypted under Argon2id of it (`unlocking.seal_with_passphrase`)
    alice.vkey    the verifier key, one line: `signalfire/v1/JPN/officer/alice+...`

The key is the officer's, and not the certificate's: no authority can make one that counts. Its public half says whose
it is, and of which node.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.identity.errors import IssueError, LockError, Refusal, SecretFileError
from gateway.identity.key_names import officer_key_name
from gateway.identity.locked import is_sealed
from gateway.identity.node_keys import SecretKind, parse_secret, secret_text
from gateway.identity.private_files import make_private_directory, read_private, write_private
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.unlocking import Strength, open_with_passphrase, seal_with_passphrase
from gateway.ledger.errors import NoteError
from gateway.ledger.note import Ed25519Signer, Ed25519Verifier

_PUBLIC_MODE: Final = 0o644
_KEY_NAME = re.compile(r"signalfire/v1/([A-Z]{3})/officer/([a-z0-9-]{1,63})")


@dataclass(frozen=True, slots=True)
class OfficerKey:
    """An officer's private key: the node, the name, and the seed (32 bytes), which does not show in `repr`."""

    node: str
    name: str
    seed: bytes = field(repr=False)

    @property
    def vkey(self) -> str:
        """The public half: what the roster lists."""
        return Ed25519Signer(officer_key_name(self.node, self.name), self.seed).verifier.vkey


def create_officer_key(
    directory: Path, node: str, name: str, passphrase: bytes | None = None, strength: Strength | None = None
) -> OfficerKey:
    """Makes the key of the officer `name` in `directory`, where there must be none of his yet.

    With a `passphrase` it is encrypted; without, whoever reads the file can sign.

    Raises `IssueError`, `SecretFileError`, `SpiffeIdError` or `OSError`.
    """
    SpiffeId.of(node, Role.OFFICER, name)
    private, public = directory / f"{name}.key", directory / f"{name}.vkey"
    if private.exists() or public.exists():
        raise IssueError(
            Refusal.ALREADY_THERE,
            f"{name} has a key already",
            where=str(private),
            mend="Choose another directory; a lost key is replaced by a new roster.",
        )
    key = OfficerKey(node, name, secrets.token_bytes(32))
    plain = secret_text(private, SecretKind.OFFICER, {"ed25519_seed": key.seed})
    sealed = None if passphrase is None else seal_with_passphrase(SecretKind.OFFICER.tag, plain, passphrase, strength)
    make_private_directory(directory)
    write_private(private, sealed or plain)
    write_private(public, f"{key.vkey}\n".encode("ascii"), mode=_PUBLIC_MODE)
    return key


def read_officer_key(path: Path, passphrase: Callable[[], bytes] | None = None) -> OfficerKey:
    """The key in a `.key` file, with the `.vkey` beside it. `passphrase` is asked only where the key has one.

    Raises `SecretFileError`.
    """
    if path.suffix == ".vkey":
        raise SecretFileError(
            Refusal.WRONG_KIND,
            "this is the public half of a key, with which nobody can sign",
            where=str(path),
            mend=f"Give the private half, {path.with_suffix('.key').name}.",
        )
    raw = read_private(path)
    if is_sealed(raw):
        if passphrase is None:
            raise LockError(
                Refusal.LOCKED, "the key has a passphrase", where=str(path), mend="Give it with --passphrase-file."
            )
        raw = open_with_passphrase(str(path), SecretKind.OFFICER.tag, raw, passphrase())
    (seed,) = parse_secret(path, SecretKind.OFFICER, raw).values()
    public = path.with_suffix(".vkey")
    try:
        line = public.read_text(encoding="ascii").strip()
        match = _KEY_NAME.fullmatch(Ed25519Verifier.from_vkey(line).name)
    except (OSError, UnicodeDecodeError, NoteError) as failed:
        raise SecretFileError(
            Refusal.MISSING,
            f"the public half of the key cannot be read: {failed}",
            where=str(public),
            mend="Put the .vkey file that was made with the key beside it; it says whose key it is.",
        ) from failed
    key = None if match is None else OfficerKey(match[1], match[2], seed)
    if key is None or key.vkey != line:
        raise SecretFileError(
            Refusal.MISMATCHED_PAIR,
            "the key beside it is another's",
            where=str(public),
            mend="Put the .vkey file that was made with the key beside it.",
        )
    return key
