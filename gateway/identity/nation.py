"""The built-in PKI of one nation on disk: what `signalfire pki`, the demo and the tests are made of.

A nation's directory, for its owner alone; keep it off the gateway, and `root.key` off every network:

    root.key                        the offline root, which signs trust bundles
    root.vkey                       its public half, one line: partners pin it
    ca/gateway.key.pem, .crt.pem    the authority of the gateways
    ca/c2.key.pem, .crt.pem         the authority of the C2 systems
    ca/officer.key.pem, .crt.pem    the authority of the officers
    gateways/<name>.<issued>.json   the public keys and endpoint of each gateway issued
    bundle.note                     the trust bundle written last

A `.crt.pem` of an authority may hold its predecessors after it, until the last certificate of theirs has expired; the
first one issues. A record in `gateways/` stays until its keys are to be believed no more; then delete it and write the
next bundle.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.identity.authority import (
    Authority,
    IpAddress,
    Leaf,
    RootKey,
    Validity,
    certificate_pem,
    private_key_pem,
)
from gateway.identity.errors import IssueError, Refusal, SecretFileError
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, GATEWAY_KEY, NodeKeys, SecretKind, read_secret, write_secret
from gateway.identity.peer import Authorities
from gateway.identity.private_files import make_private_directory, read_private, write_private
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
"""Of a leaf: there is no revocation list, so this is how long a stolen one serves."""

BUNDLE_LIFETIME: Final = timedelta(days=365)
"""Of a trust bundle: long enough to be exchanged in person once a year."""

GATEWAY_AUTHORITY: Final = "gateway-ca.crt.pem"
_PUBLIC_MODE: Final = 0o644
_Key = TypeVar("_Key", bound=Hashable)


class GatewayRecord(BaseModel):
    """What the nation's directory keeps of a gateway that it issued: nothing secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    spiffe_id: str
    issued: datetime
    endpoint: Endpoint
    log_key: Ed25519Key
    receipt_key: Ed25519Key
    pq_key: MlDsa44Key
    sealing_key: SealingKey


@dataclass(frozen=True, slots=True)
class Nation:
    """A nation's directory, read and checked."""

    directory: Path
    node: str
    root: RootKey
    authorities: Mapping[Role, Authority]
    believed: Authorities
    """For each role: the authority that issues, and its predecessors that are still believed."""


def create_nation(directory: Path, node: str, *, now: datetime, lifetime: timedelta = AUTHORITY_LIFETIME) -> Nation:
    """Makes root and authorities of `node` in `directory`, which must not hold a nation yet.

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
    for role in Role:
        authority = Authority.create(node, role, validity)
        write_private(_authority_key(directory, role), private_key_pem(authority.key))
        write_private(_authority_certificate(directory, role), certificate_pem(authority.certificate))
    root = RootKey.generate(node)
    write_secret(root_path, SecretKind.ROOT, {"ed25519_seed": root.seed})
    # Last, and read first: a directory whose making was cut short is not taken for a nation.
    write_private(directory / "root.vkey", f"{root.vkey}\n".encode("ascii"), mode=_PUBLIC_MODE)
    return load_nation(directory)


def load_nation(directory: Path) -> Nation:
    """The nation in `directory`. Raises `IssueError` or `SecretFileError`."""
    node = _node_of(directory)
    (seed,) = read_secret(directory / SecretKind.ROOT.file_name, SecretKind.ROOT).values()
    root = RootKey(node, seed)
    if root.vkey != read_root_vkey(directory):
        raise IssueError(
            Refusal.MISMATCHED_PAIR,
            "root.key is not the private half of root.vkey",
            where=str(directory),
            mend="Restore both from the same backup; partners have pinned root.vkey.",
        )
    authorities: dict[Role, Authority] = {}
    believed: dict[tuple[str, Role], Sequence[x509.Certificate]] = {}
    for role in Role:
        certificates = _load_certificates(_authority_certificate(directory, role))
        key = _load_key(_authority_key(directory, role))
        if key.public_key() != certificates[0].public_key():
            raise IssueError(
                Refusal.MISMATCHED_PAIR,
                f"the key of the {role.value} authority is not that of the first certificate beside it",
                where=str(_authority_certificate(directory, role)),
                mend="Put the authority that issues first, and its predecessors after it.",
            )
        authorities[role] = Authority(node, role, certificates[0], key)
        believed[trust_domain_of(node), role] = certificates
    return Nation(directory, node, root, authorities, believed)


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
) -> SpiffeId:
    """Issues the gateway `name`, listening for partners at `address` (`host:port`), into `out`.

    `out` then holds a gateway's secrets (`node_keys`) and the nation's authorities of C2 systems and officers
    (`national_authorities`). All keys are new; with `keys_from`, the secrets directory of an earlier issue, only the
    certificate and its key are: so a certificate is renewed, and so a second gateway of the node shares its keys.
    """
    nation = load_nation(directory)
    _refuse_secrets(out)
    spiffe_id = SpiffeId.of(nation.node, Role.GATEWAY, name)
    endpoint = _endpoint(address, dns_name(spiffe_id))
    issued = now.astimezone(UTC).replace(microsecond=0)
    record_path = directory / "gateways" / f"{name}.{issued.strftime('%Y%m%dT%H%M%SZ')}.json"
    _refuse_present(record_path, mend="Wait a second, or take the gateway that was issued just now.")
    leaf = nation.authorities[Role.GATEWAY].issue_leaf(
        name, Validity.starting(now, lifetime), extra_dns=extra_dns, extra_ips=extra_ips
    )
    if keys_from is None:
        keys = NodeKeys.generate(gateway_key_pem=leaf.key_pem, gateway_certificate_pem=leaf.certificate_pem)
    else:
        keys = NodeKeys.load(keys_from).with_certificate(
            gateway_key_pem=leaf.key_pem, gateway_certificate_pem=leaf.certificate_pem
        )
    keys.save(out)
    for role in (Role.C2, Role.OFFICER):
        pem = read_private(_authority_certificate(directory, role))
        write_private(out / f"{role.value}-ca.crt.pem", pem)
    public = keys.public()
    record = GatewayRecord(
        spiffe_id=str(spiffe_id),
        issued=issued,
        endpoint=endpoint,
        log_key=public.log,
        receipt_key=public.receipt,
        pq_key=public.pq,
        sealing_key=SealingKey(mlkem768=public.sealing_mlkem768, x25519=public.sealing_x25519),
    )
    make_private_directory(record_path.parent)
    write_private(record_path, (record.model_dump_json(indent=2) + "\n").encode("ascii"))
    return spiffe_id


def issue_c2(directory: Path, name: str, out: Path, *, now: datetime, lifetime: timedelta = LEAF_LIFETIME) -> SpiffeId:
    """Issues the C2 system `name` into `out`: `c2.key.pem`, `c2.crt.pem`, and the authority of the gateways."""
    return _issue_client(directory, Role.C2, name, out, now=now, lifetime=lifetime)


def issue_officer(
    directory: Path, name: str, out: Path, *, now: datetime, lifetime: timedelta = LEAF_LIFETIME
) -> SpiffeId:
    """Issues the officer `name` into `out`: `officer.key.pem`, `officer.crt.pem`, and the authority of the gateways."""
    return _issue_client(directory, Role.OFFICER, name, out, now=now, lifetime=lifetime)


def write_bundle(
    directory: Path, *, now: datetime, lifetime: timedelta = BUNDLE_LIFETIME, sequence: int | None = None
) -> TrustBundle:
    """Signs the next trust bundle of the nation into `bundle.note`.

    It holds the keys of every gateway on record, the newest first, and the endpoint of each gateway's newest issue.
    `sequence` is one more than the last bundle's unless given, and never less. Raises `IssueError`,
    `TrustBundleError` or `SecretFileError`.
    """
    nation = load_nation(directory)
    path = directory / "bundle.note"
    next_sequence = _last_sequence(path, nation.root.vkey) + 1
    if sequence is not None and sequence < next_sequence:
        raise IssueError(
            Refusal.STALE_SEQUENCE,
            f"the sequence {sequence} is not after the last one, {next_sequence - 1}",
            where=str(path),
            mend=f"Give {next_sequence} or more: partners refuse a bundle that is older than the one they have.",
        )
    records = _records(directory)
    endpoints: dict[str, Endpoint] = {}
    for record in records:
        endpoints.setdefault(record.spiffe_id, record.endpoint)
    fields = {
        "sequence": next_sequence if sequence is None else sequence,
        "expires": (now.astimezone(UTC) + lifetime).replace(microsecond=0),
        "node": nation.node,
        "trust_domain": trust_domain_of(nation.node),
        "gateway_ca": tuple(
            certificate_pem(one).decode("ascii") for one in nation.believed[trust_domain_of(nation.node), Role.GATEWAY]
        ),
        "log_keys": _distinct(record.log_key for record in records),
        "receipt_keys": _distinct(record.receipt_key for record in records),
        "pq_keys": _distinct(record.pq_key for record in records),
        "sealing_keys": _distinct(record.sealing_key for record in records),
        "endpoints": tuple(endpoints.values()),
    }
    try:
        bundle = TrustBundle.model_validate(fields)
    except ValidationError as refused:
        first = refused.errors(include_url=False, include_context=False, include_input=False)[0]
        raise IssueError(
            Refusal.MALFORMED_BUNDLE,
            f"the bundle would be refused: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=str(directory / "gateways"),
            mend="Delete the records of gateways that no longer serve, and write the bundle again.",
        ) from refused
    write_private(path, bundle.sign(nation.root.signer()).encode("utf-8"), mode=_PUBLIC_MODE)
    return bundle


def national_authorities(out: Path, node: str) -> Authorities:
    """The authorities that the gateway whose secrets lie in `out` believes for its own C2 systems and officers."""
    return {
        (trust_domain_of(node), role): _load_certificates(out / f"{role.value}-ca.crt.pem")
        for role in (Role.C2, Role.OFFICER)
    }


def _issue_client(directory: Path, role: Role, name: str, out: Path, *, now: datetime, lifetime: timedelta) -> SpiffeId:
    nation = load_nation(directory)
    key_path, certificate_path = out / f"{role.value}.key.pem", out / f"{role.value}.crt.pem"
    _refuse_present(key_path, certificate_path, mend="Choose another directory for the new certificate.")
    leaf: Leaf = nation.authorities[role].issue_leaf(name, Validity.starting(now, lifetime))
    make_private_directory(out)
    write_private(out / GATEWAY_AUTHORITY, read_private(_authority_certificate(directory, Role.GATEWAY)))
    write_private(key_path, leaf.key_pem)
    write_private(certificate_path, leaf.certificate_pem)
    return leaf.spiffe_id


def _authority_key(directory: Path, role: Role) -> Path:
    return directory / "ca" / f"{role.value}.key.pem"


def _authority_certificate(directory: Path, role: Role) -> Path:
    return directory / "ca" / f"{role.value}.crt.pem"


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


def _load_certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(read_private(path))
    except ValueError as unreadable:
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            f"there is no readable certificate: {unreadable}",
            where=str(path),
            mend="Restore the file from its backup.",
        ) from unreadable


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    mend = "Restore the file from its backup."
    try:
        key = serialization.load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError):
        # The library's message may quote the file, so it goes no further.
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            "this is not a private key in PEM without a passphrase",
            where=str(path),
            mend=mend,
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SecretFileError(Refusal.WRONG_KIND, "this is not an elliptic-curve key", where=str(path), mend=mend)
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


def _records(directory: Path) -> list[GatewayRecord]:
    """Every gateway on record, the newest first."""
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


def _distinct(keys: Iterable[_Key]) -> tuple[_Key, ...]:
    return tuple(dict.fromkeys(keys))
