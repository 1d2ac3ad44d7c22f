"""What a nation issues: a gateway with its keys, C2 systems, officers.

Every certificate is of the authority of its role, and goes into a directory of its own beside the authorities that its
holder believes. What was issued to a gateway is put on record (`gateway_records`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from pydantic import ValidationError

from gateway.identity.authority import IpAddress, Leaf, Validity, certificate_pem
from gateway.identity.errors import IssueError, Refusal
from gateway.identity.gateway_records import GatewayRecord, new_record_path, tls_key_digest, write_record
from gateway.identity.issuers import crl_file
from gateway.identity.keyring import Keyring
from gateway.identity.locked import KeyLock, Wrapper
from gateway.identity.nation import Nation, authority_certificate, load_nation
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, GATEWAY_KEY, NodeKeys, SecretKind, write_secret
from gateway.identity.private_files import make_private_directory, read_private, refuse_present, write_private
from gateway.identity.recovery_key import load_recovery_public, write_recovery_public
from gateway.identity.relocking import put_lock
from gateway.identity.revocation import crl_pem
from gateway.identity.spiffe import Role, SpiffeId, dns_name, trust_domain_of
from gateway.identity.trust_bundle import Endpoint, SealingKey

LEAF_LIFETIME: Final = timedelta(days=90)
"""Of a leaf: so long one serves that was stolen and not revoked, because nobody noticed."""

MAX_LEAF_LIFETIME: Final = timedelta(days=825)
"""No leaf lives longer: by then a revocation list need not name it any more."""

GATEWAY_AUTHORITY: Final = "gateway-ca.crt.pem"


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
    (`national`). All keys are new; with `keys_from`, the secrets directory of an earlier issue, only the
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


def write_national(nation: Nation, role: Role, out: Path) -> None:
    """Puts the authorities of a role into a gateway's directory, and their revocation lists if there are any."""
    issuers = nation.believed[trust_domain_of(nation.node), role]
    write_private(out / f"{role.value}-ca.crt.pem", b"".join(map(certificate_pem, issuers)))
    if issuers.crls:
        write_private(out / crl_file(role), b"".join(map(crl_pem, issuers.crls)))


def _issue_client(nation: Nation, role: Role, name: str, out: Path, *, now: datetime, lifetime: timedelta) -> SpiffeId:
    key_path, certificate_path = out / f"{role.value}.key.pem", out / f"{role.value}.crt.pem"
    refuse_present(key_path, certificate_path, mend="Choose another directory for the new certificate.")
    leaf: Leaf = nation.authorities[role].issue_leaf(name, Validity.starting(now, lifetime))
    make_private_directory(out)
    write_private(out / GATEWAY_AUTHORITY, read_private(authority_certificate(nation.directory, Role.GATEWAY)))
    write_private(key_path, leaf.key_pem)
    write_private(certificate_path, leaf.certificate_pem)
    return leaf.spiffe_id


def _refuse_secrets(out: Path) -> None:
    names = [GATEWAY_KEY, GATEWAY_CERTIFICATE]
    names.extend(kind.file_name for kind in SecretKind if kind is not SecretKind.ROOT)
    refuse_present(*(out / name for name in names), mend="Choose an empty directory for the new secrets.")


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
