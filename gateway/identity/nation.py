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
    retired.json                    keys that are out of use, and since when (`retirement`)
    lock.json                       with a passphrase: what unlocks root.key and the authorities' keys (`locked`)
    bundle.note                     the trust bundle written last

A `.crt.pem` of an authority may hold its predecessors after it, until the last certificate of theirs has expired; the
first one issues. A record in `gateways/` stays; a key that is to be believed no more is retired. Deleting the record of
a gateway that serves no more drops its keys from the next bundle without a trace.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.identity.authority import (
    Authority,
    IpAddress,
    Leaf,
    RootKey,
    Validity,
    certificate_pem,
)
from gateway.identity.errors import IssueError, Refusal, SecretFileError
from gateway.identity.keyring import Keyring
from gateway.identity.locked import KeyLock, Wrapper
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, GATEWAY_KEY, NodeKeys, SecretKind, read_secret, write_secret
from gateway.identity.peer import Authorities
from gateway.identity.private_files import make_private_directory, read_private, write_private
from gateway.identity.recovery_key import load_recovery_public, make_recovery_key, write_recovery_public
from gateway.identity.relocking import put_lock
from gateway.identity.retirement import encoded, read_retired, retired_of_bundle
from gateway.identity.revocation import MAX_AUTHORITIES, MAX_LISTS, Issuers, crl_pem, load_crls, signed_by
from gateway.identity.spiffe import Role, SpiffeId, dns_name, trust_domain_of
from gateway.identity.trust_bundle import (
    Ed25519Key,
    Endpoint,
    MlDsa44Key,
    SealingKey,
    TrustBundle,
)
from gateway.ledger.errors import NoteError
from gateway.ledger.note import Ed25519Verifier

AUTHORITY_LIFETIME: Final = timedelta(days=3650)
"""Of an authority: it is replaced by pinning a new bundle at every partner, which is done by people."""

LEAF_LIFETIME: Final = timedelta(days=90)
"""Of a leaf: so long one serves that was stolen and not revoked, because nobody noticed."""

MAX_LEAF_LIFETIME: Final = timedelta(days=825)
"""No leaf lives longer: by then a revocation list need not name it any more."""

BUNDLE_LIFETIME: Final = timedelta(days=365)
"""Of a trust bundle: long enough to be exchanged in person once a year."""

GATEWAY_AUTHORITY: Final = "gateway-ca.crt.pem"
_PUBLIC_MODE: Final = 0o644
_Key = TypeVar("_Key", bound=Hashable)


class GatewayRecord(BaseModel):
    """What the nation's directory keeps of a gateway that it issued, or of a rotation of its keys: nothing secret.

    Of a rotation, a kind of key that stayed is None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    spiffe_id: str
    issued: datetime
    endpoint: Endpoint
    names: tuple[str, ...] = ()
    """Further names of the certificate."""
    log_key: Ed25519Key | None
    receipt_key: Ed25519Key | None
    pq_key: MlDsa44Key | None
    sealing_key: SealingKey | None
    tls_key: str | None = None
    """SHA-256 of the certificate's public key (SubjectPublicKeyInfo, DER), hexadecimal, where one was issued."""
    request: str | None = None
    """SHA-256 of the text of the request that was admitted, hexadecimal."""


def tls_key_digest(public: CertificatePublicKeyTypes) -> str:
    """What names a TLS key on record."""
    encoded_key = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return sha256(encoded_key).hexdigest()


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
    _refuse_present(
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
    write_private(directory / "root.vkey", f"{root.vkey}\n".encode("ascii"), mode=_PUBLIC_MODE)
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


def issue_gateway(
    directory: Path,
    name: str,
    out: Path,
    *,
    now: datetime,
    address: str,
    extra_dns: Sequence[str] = (),
    extra_ips: Sequence[IpAddress] = (),
    lifetime: timedelta = LEAF_LIFETIME,
    keys_from: Path | None = None,
    locked_by: Wrapper | None = None,
    lock: KeyLock | None = None,
) -> SpiffeId:
    """Issues the gateway `name`, listening for partners at `address` (`host:port`), into `out`.

    `out` then holds a gateway's secrets (`node_keys`) and the nation's authorities of C2 systems and officers
    (`national_authorities`). All keys are new; with `keys_from`, the secrets directory of an earlier issue, only the
    certificate and its key are: so a second gateway of the node shares its keyring.

    The secrets are encrypted where `locked_by` is given, which then also unlocks `keys_from`. `lock` is that of the
    nation's directory.
    """
    nation = load_nation(directory, lock)
    _refuse_secrets(out)
    spiffe_id = SpiffeId.of(nation.node, Role.GATEWAY, name)
    endpoint = _endpoint(address, dns_name(spiffe_id))
    issued = now.astimezone(UTC).replace(microsecond=0)
    record_path = new_record_path(directory, name, issued)
    leaf = nation.authorities[Role.GATEWAY].issue_leaf(
        name, Validity.starting(now, lifetime), extra_dns=extra_dns, extra_ips=extra_ips
    )
    shared = None if keys_from is None else KeyLock(keys_from, locked_by)
    if shared is None:
        keys = NodeKeys.generate(gateway_key_pem=leaf.key_pem, gateway_certificate_pem=leaf.certificate_pem)
        ring = Keyring.of_node_keys(keys)
    else:
        ring = Keyring.load(shared.directory, shared)
        keys = NodeKeys.load(shared.directory, shared).with_certificate(
            gateway_key_pem=leaf.key_pem, gateway_certificate_pem=leaf.certificate_pem
        )
    if locked_by is not None:
        put_lock(out, locked_by)
    secrets = KeyLock(out, locked_by)
    keys.save(out, secrets)
    for held in ring.keys.values():
        for key in held.values():
            write_secret(out / key.file, key.kind.secret, key.parts, secrets)
    for role in (Role.C2, Role.OFFICER):
        write_national(nation, role, out)
    recovery = load_recovery_public(directory, nation.node)
    if recovery is not None:
        write_recovery_public(out, nation.node, recovery)
    public = keys.public()
    record = GatewayRecord(
        spiffe_id=str(spiffe_id),
        issued=issued,
        endpoint=endpoint,
        names=(*extra_dns, *map(str, extra_ips)),
        log_key=public.log,
        receipt_key=public.receipt,
        pq_key=public.pq,
        sealing_key=SealingKey(mlkem768=public.sealing_mlkem768, x25519=public.sealing_x25519),
        tls_key=tls_key_digest(x509.load_pem_x509_certificate(leaf.certificate_pem).public_key()),
    )
    write_record(record_path, record)
    return spiffe_id


def write_record(path: Path, record: GatewayRecord) -> None:
    """Puts a gateway, or a rotation of its keys, on record."""
    make_private_directory(path.parent)
    write_private(path, (record.model_dump_json(indent=2) + "\n").encode("ascii"))


def new_record_path(directory: Path, name: str, issued: datetime) -> Path:
    """Where the record of what is issued to the gateway `name` now belongs. Raises `IssueError` if it is taken."""
    path = directory / "gateways" / f"{name}.{issued.strftime('%Y%m%dT%H%M%SZ')}.json"
    _refuse_present(path, mend="Wait a second, or take what was issued just now.")
    return path


def write_national(nation: Nation, role: Role, out: Path) -> None:
    """Puts the authorities of a role into a gateway's directory, and their revocation lists if there are any."""
    issuers = nation.believed[trust_domain_of(nation.node), role]
    write_private(out / f"{role.value}-ca.crt.pem", b"".join(map(certificate_pem, issuers)))
    if issuers.crls:
        write_private(out / crl_file(role), b"".join(map(crl_pem, issuers.crls)))


def write_authority(
    directory: Path, authority: Authority, predecessors: Sequence[x509.Certificate], lock: KeyLock
) -> None:
    """Puts an authority in place: its key, its certificate and, after it, its predecessors."""
    write_private(authority_key(directory, authority.role), lock.pem(authority.key))
    chain = (authority.certificate, *predecessors)
    write_private(authority_certificate(directory, authority.role), b"".join(map(certificate_pem, chain)))


def issue_c2(
    directory: Path,
    name: str,
    out: Path,
    *,
    now: datetime,
    lifetime: timedelta = LEAF_LIFETIME,
    lock: KeyLock | None = None,
) -> SpiffeId:
    """Issues the C2 system `name` into `out`: `c2.key.pem`, `c2.crt.pem`, and the authority of the gateways."""
    return _issue_client(load_nation(directory, lock), Role.C2, name, out, now=now, lifetime=lifetime)


def issue_officer(
    directory: Path,
    name: str,
    out: Path,
    *,
    now: datetime,
    lifetime: timedelta = LEAF_LIFETIME,
    lock: KeyLock | None = None,
) -> SpiffeId:
    """Issues the officer `name` into `out`: `officer.key.pem`, `officer.crt.pem`, and the authority of the gateways."""
    return _issue_client(load_nation(directory, lock), Role.OFFICER, name, out, now=now, lifetime=lifetime)


def write_bundle(
    directory: Path,
    *,
    now: datetime,
    lifetime: timedelta = BUNDLE_LIFETIME,
    sequence: int | None = None,
    lock: KeyLock | None = None,
) -> TrustBundle:
    """Signs the next trust bundle of the nation into `bundle.note`.

    It holds the keys of every gateway on record that are not retired, the newest first, and the endpoint of each
    gateway's newest issue. A key is as old as the first record of it: renewing a certificate makes no key newer.
    `sequence` is one more than the last bundle's unless given, and never less. Raises `IssueError`,
    `TrustBundleError` or `SecretFileError`.
    """
    nation = load_nation(directory, lock)
    path = directory / "bundle.note"
    next_sequence = _last_sequence(path, nation.root.vkey) + 1
    if sequence is not None and sequence < next_sequence:
        raise IssueError(
            Refusal.STALE_SEQUENCE,
            f"the sequence {sequence} is not after the last one, {next_sequence - 1}",
            where=str(path),
            mend=f"Give {next_sequence} or more: partners refuse a bundle that is older than the one they have.",
        )
    records = read_records(directory)
    endpoints: dict[str, Endpoint] = {}
    for record in records:
        endpoints.setdefault(record.spiffe_id, record.endpoint)
    out_of_use = read_retired(directory)
    gone = {one.key for one in out_of_use}
    issuers = nation.believed[trust_domain_of(nation.node), Role.GATEWAY]
    fields = {
        "sequence": next_sequence if sequence is None else sequence,
        "expires": (now.astimezone(UTC) + lifetime).replace(microsecond=0),
        "node": nation.node,
        "trust_domain": trust_domain_of(nation.node),
        "gateway_ca": tuple(certificate_pem(one).decode("ascii") for one in issuers),
        "log_keys": _in_use((record.log_key for record in records), gone),
        "receipt_keys": _in_use((record.receipt_key for record in records), gone),
        "pq_keys": _in_use((record.pq_key for record in records), gone),
        "sealing_keys": tuple(
            key for key in _in_use((record.sealing_key for record in records), set()) if encoded(key) not in gone
        ),
        "endpoints": tuple(endpoints.values()),
        "retired": retired_of_bundle(out_of_use),
        "gateway_crl": tuple(crl_pem(crl).decode("ascii") for crl in issuers.crls),
    }
    try:
        bundle = TrustBundle.model_validate(fields)
    except ValidationError as refused:
        first = refused.errors(include_url=False, include_context=False, include_input=False)[0]
        raise IssueError(
            Refusal.MALFORMED_BUNDLE,
            f"the bundle would be refused: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=str(directory / "gateways"),
            mend="Retire keys that are out of use (`signalfire pki retire`), delete the records of gateways that are"
            " gone, and write the bundle again.",
        ) from refused
    write_private(path, bundle.sign(nation.root.signer()).encode("utf-8"), mode=_PUBLIC_MODE)
    return bundle


def national_authorities(out: Path, node: str) -> Authorities:
    """The authorities that the gateway whose secrets lie in `out` believes for its own C2 systems and officers, and
    what they have revoked. Raises `SecretFileError`, also for a revocation list that is not of these authorities.
    """
    return {(trust_domain_of(node), role): _national_issuers(out, role) for role in (Role.C2, Role.OFFICER)}


def crl_file(role: Role) -> str:
    """The revocation list of a role's authority in a gateway's secrets directory: it need not be there."""
    return f"{role.value}.crl.pem"


def _national_issuers(out: Path, role: Role) -> Issuers:
    return read_issuers(out / f"{role.value}-ca.crt.pem", out / crl_file(role))


def read_issuers(authorities: Path, lists: Path, *, former: bool = False) -> Issuers:
    """The authorities in one file, and what the lists in another revoke, if it is there. Raises `SecretFileError`.

    With `former`, lists of authorities that are not there are passed over: dropping them may have been cut short.
    """
    return parse_issuers(
        read_private(authorities, most=MAX_AUTHORITIES),
        str(authorities),
        read_private(lists, most=MAX_LISTS) if lists.exists() else None,
        str(lists),
        former=former,
    )


def parse_issuers(
    authorities: bytes, authorities_at: str, lists: bytes | None, lists_at: str, *, former: bool = False
) -> Issuers:
    """The same from the contents of the files, and where they are from. Raises `SecretFileError`."""
    try:
        certificates = x509.load_pem_x509_certificates(authorities)
    except ValueError as unreadable:
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            f"there is no readable certificate: {unreadable}",
            where=authorities_at,
            mend="Restore the file from its backup.",
        ) from unreadable
    try:
        crls = () if lists is None else load_crls(lists)
        if former:
            crls = [crl for crl in crls if any(signed_by(crl, one) for one in certificates)]
        return Issuers.of(certificates, crls)
    except ValueError as refused:
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            f"the revocation list is not believed: {refused}",
            where=lists_at,
            mend="Put the list there that `signalfire pki revoke` wrote; what was in force stays so until then.",
        ) from refused


def _issue_client(nation: Nation, role: Role, name: str, out: Path, *, now: datetime, lifetime: timedelta) -> SpiffeId:
    key_path, certificate_path = out / f"{role.value}.key.pem", out / f"{role.value}.crt.pem"
    _refuse_present(key_path, certificate_path, mend="Choose another directory for the new certificate.")
    leaf: Leaf = nation.authorities[role].issue_leaf(name, Validity.starting(now, lifetime))
    make_private_directory(out)
    write_private(out / GATEWAY_AUTHORITY, read_private(authority_certificate(nation.directory, Role.GATEWAY)))
    write_private(key_path, leaf.key_pem)
    write_private(certificate_path, leaf.certificate_pem)
    return leaf.spiffe_id


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


def _refuse_present(*paths: Path, mend: str) -> None:
    for path in paths:
        if path.exists():
            raise IssueError(
                Refusal.ALREADY_THERE,
                "this is there already, and keys are never overwritten",
                where=str(path),
                mend=mend,
            )


def _refuse_secrets(out: Path) -> None:
    names = [GATEWAY_KEY, GATEWAY_CERTIFICATE]
    names.extend(kind.file_name for kind in SecretKind if kind is not SecretKind.ROOT)
    _refuse_present(*(out / name for name in names), mend="Choose an empty directory for the new secrets.")


def _endpoint(address: str, server_name: str) -> Endpoint:
    try:
        return Endpoint(address=address, server_name=server_name)
    except ValidationError as refused:
        raise IssueError(
            Refusal.BAD_REQUEST,
            f"{address!r} is not an address that partners can dial",
            where="address",
            mend="Give host:port, such as gateway.example.jp:7443 or [2001:db8::1]:7443.",
        ) from refused


def read_records(directory: Path) -> list[GatewayRecord]:
    """Every gateway and rotation on record, the newest first. Raises `IssueError` or `SecretFileError`."""
    records = []
    for path in sorted((directory / "gateways").glob("*.json")):
        try:
            records.append(GatewayRecord.model_validate_json(read_private(path)))
        except ValidationError as refused:
            raise SecretFileError(
                Refusal.MALFORMED_FILE,
                f"this is not the record of a gateway: {refused.error_count()} members are wrong",
                where=str(path),
                mend="Restore the file from its backup, or delete it if the gateway no longer serves.",
            ) from refused
    if not records:
        raise IssueError(
            Refusal.MISSING,
            "no gateway has been issued, so there are no keys to tell partners",
            where=str(directory / "gateways"),
            mend="Issue one with `signalfire pki gateway NAME --dir DIR --out OUT --address HOST:PORT`.",
        )
    return sorted(records, key=lambda record: record.issued, reverse=True)


def _last_sequence(path: Path, root_vkey: str) -> int:
    if not path.exists():
        return 0
    # Expired or not, the last bundle's sequence has been used.
    return TrustBundle.open(path.read_bytes(), root_vkey, now=datetime.min.replace(tzinfo=UTC)).sequence


def _in_use(keys: Iterable[_Key | None], gone: Collection[object]) -> tuple[_Key, ...]:
    """The keys of records that come the newest first, each once, by the oldest record of each."""
    oldest_first = dict.fromkeys(key for key in reversed(list(keys)) if key is not None and key not in gone)
    return tuple(reversed(oldest_first))
