"""The built-in PKI of one nation on disk: what `signalfire pki`, the demo and the tests are made of.

A nation's directory, for its owner alone; keep it off the gateway, and `root.key` off every network:

    root.key                        the offline root, which signs trust bundles
    root.vkey                       its public half, one line: partners pin it
    recovery.key                    opens what a gateway whose store was lost gets back; keep it offline
    recovery.pub                    its public half: each gateway seals for it (`recovery_key`)
    ca/gateway.key.pem, .crt.pem    the authority of the gateways
    ca/c2.key.pem, .crt.pem         the authority of the C2 systems
    ca/officer.key.pem, .crt.pem    the authority of the officers
    ca/<role>.crl.pem               what it has revoked, if anything (`retirement`)
    gateways/<name>.<issued>.json   the public keys and endpoint of each gateway issued, and of each rotation admitted
                                    (`gateway_records`)
    retired.json                    keys that are out of use, and since when (`retirement`)
    lock.json                       with a passphrase: what unlocks root.key and the authorities' keys (`locked`)
    bundle.note                     the trust bundle written last (`next_bundle`)

A `.crt.pem` of an authority may hold its predecessors after it, until the last certificate of theirs has expired; the
first one issues. A record in `gateways/` stays; a key that is to be believed no more is retired. Deleting the record of
a gateway that serves no more drops its keys from the next bundle without a trace.

What the nation issues is made in `issuing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.identity.authority import Authority, RootKey, Validity, certificate_pem
from gateway.identity.errors import IssueError, Refusal, SecretFileError
from gateway.identity.issuers import crl_file, read_issuers
from gateway.identity.locked import KeyLock, Wrapper
from gateway.identity.node_keys import SecretKind, read_secret, write_secret
from gateway.identity.peer import Authorities
from gateway.identity.private_files import (
    PUBLIC_MODE,
    make_private_directory,
    read_private,
    refuse_present,
    write_private,
)
from gateway.identity.recovery_key import make_recovery_key
from gateway.identity.relocking import put_lock
from gateway.identity.revocation import Issuers
from gateway.identity.spiffe import Role, trust_domain_of
from gateway.ledger.errors import NoteError
from gateway.ledger.note import Ed25519Verifier

AUTHORITY_LIFETIME: Final = timedelta(days=3650)
"""Of an authority: it is replaced by pinning a new bundle at every partner, which is done by people."""


@dataclass(frozen=True, slots=True)
class Nation:
    """A nation's directory, read and checked."""

    directory: Path
    node: str
    root: RootKey
    authorities: Mapping[Role, Authority]
    believed: Authorities
    """For each role: the authority that issues, and its predecessors that are still believed; what is revoked."""
    lock: KeyLock


def create_nation(
    directory: Path,
    node: str,
    *,
    now: datetime,
    lifetime: timedelta = AUTHORITY_LIFETIME,
    locked_by: Wrapper | None = None,
) -> Nation:
    """Makes root and authorities of `node` in `directory`, which must not hold a nation yet.

    Their private keys are encrypted where `locked_by` is given.

    Raises `IssueError`, `SecretFileError`, `SpiffeIdError` or `OSError`.
    """
    trust_domain_of(node)
    validity = Validity.starting(now, lifetime)
    root_path = directory / SecretKind.ROOT.file_name
    refuse_present(
        root_path, directory / "root.vkey", directory / "ca", mend="Choose a new directory: a nation is made once."
    )
    make_private_directory(directory)
    make_private_directory(directory / "ca")
    make_private_directory(directory / "gateways")
    lock = KeyLock(directory, locked_by)
    if locked_by is not None:
        put_lock(directory, locked_by)
    for role in Role:
        write_authority(directory, Authority.create(node, role, validity), (), lock)
    root = RootKey.generate(node)
    write_secret(root_path, SecretKind.ROOT, {"ed25519_seed": root.seed}, lock)
    make_recovery_key(directory, node, lock)
    # Last, and read first: a directory whose making was cut short is not taken for a nation.
    write_private(directory / "root.vkey", f"{root.vkey}\n".encode("ascii"), mode=PUBLIC_MODE)
    return load_nation(directory, lock)


def load_nation(directory: Path, lock: KeyLock | None = None) -> Nation:
    """The nation in `directory`, opened with its `lock`, if it is locked. Raises `IssueError` or `SecretFileError`."""
    node = _node_of(directory)
    lock = lock or KeyLock(directory)
    (seed,) = read_secret(directory / SecretKind.ROOT.file_name, SecretKind.ROOT, lock).values()
    root = RootKey(node, seed)
    if root.vkey != read_root_vkey(directory):
        raise IssueError(
            Refusal.MISMATCHED_PAIR,
            "root.key is not the private half of root.vkey",
            where=str(directory),
            mend="Restore both from the same backup; partners have pinned root.vkey.",
        )
    authorities: dict[Role, Authority] = {}
    believed: dict[tuple[str, Role], Issuers] = {}
    for role in Role:
        issuers = read_issuers(authority_certificate(directory, role), authority_crl(directory, role), former=True)
        certificates = issuers.certificates
        key = _load_key(authority_key(directory, role), lock)
        if key.public_key() != certificates[0].public_key():
            raise IssueError(
                Refusal.MISMATCHED_PAIR,
                f"the key of the {role.value} authority is not that of the first certificate beside it",
                where=str(authority_certificate(directory, role)),
                mend="Put the authority that issues first, and its predecessors after it.",
            )
        authorities[role] = Authority(node, role, certificates[0], key)
        believed[trust_domain_of(node), role] = issuers
    return Nation(directory, node, root, authorities, believed, lock)


def read_root_vkey(directory: Path) -> str:
    """The nation's public root key, one line without its newline: what partners pin."""
    path = directory / "root.vkey"
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as failed:
        raise IssueError(
            Refusal.MISSING,
            f"there is no nation here: {failed}",
            where=str(path),
            mend="Make one with `signalfire pki init NODE --dir DIR`, or give its directory.",
        ) from failed


def write_authority(
    directory: Path, authority: Authority, predecessors: Sequence[x509.Certificate], lock: KeyLock
) -> None:
    """Puts an authority in place: its key, its certificate and, after it, its predecessors."""
    write_private(authority_key(directory, authority.role), lock.pem(authority.key))
    chain = (authority.certificate, *predecessors)
    write_private(authority_certificate(directory, authority.role), b"".join(map(certificate_pem, chain)))


def authority_key(directory: Path, role: Role) -> Path:
    """Where the private key of a role's authority lies in a nation's directory."""
    return directory / "ca" / f"{role.value}.key.pem"


def authority_certificate(directory: Path, role: Role) -> Path:
    """Where its certificate lies, with its predecessors after it."""
    return directory / "ca" / f"{role.value}.crt.pem"


def authority_crl(directory: Path, role: Role) -> Path:
    """Where its revocation list lies, if there is one."""
    return directory / "ca" / crl_file(role)


def _node_of(directory: Path) -> str:
    vkey = read_root_vkey(directory)
    try:
        name = Ed25519Verifier.from_vkey(vkey).name
    except NoteError as refused:
        raise _bad_vkey(directory, str(refused)) from refused
    match name.split("/"):
        case ["signalfire", "v1", node, "root"]:
            return node
    raise _bad_vkey(directory, f"{name!r} is not the name of a nation's root")


def _bad_vkey(directory: Path, what: str) -> IssueError:
    return IssueError(
        Refusal.MALFORMED_FILE,
        f"this is not a nation's root: {what}",
        where=str(directory / "root.vkey"),
        mend="Restore root.vkey from its backup, or from what a partner has pinned.",
    )


def _load_key(path: Path, lock: KeyLock) -> ec.EllipticCurvePrivateKey:
    key = lock.load_pem_key(str(path.relative_to(lock.directory)), read_private(path))
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SecretFileError(
            Refusal.WRONG_KIND,
            "this is not an elliptic-curve key",
            where=str(path),
            mend="Restore the file from its backup.",
        )
    return key
