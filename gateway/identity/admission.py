"""The nation's side of rotation: new keys are admitted, old ones retired, certificates revoked, authorities replaced.

What is decided here takes effect with the next trust bundle (`next_bundle`), and for C2 systems and officers with the
files that a gateway gets beside it (`write_outgoing`).

Rules for a request (`rotation`), in order:

1. A log key signed it that is on record for the gateway it speaks of, and not retired.
2. It was made within the last REQUEST_LIFETIME, and was not admitted before.
3. None of its keys is on record or retired: a key is admitted once. So is the key of its CSR: no certificate is issued
   for a key that has had one, or whose certificate was revoked.
4. Its CSR is signed by its own key, which no authority of ours has, and is on P-256 as `authority` makes them. It names
   exactly the gateway's SPIFFE ID, its DNS name, and further names that are on record for that gateway: a stolen log
   key gets no certificate for anybody else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field, TypeAdapter, ValidationError

from gateway.identity.authority import Authority, IpAddress, Validity, certificate_pem
from gateway.identity.errors import IssueError, Refusal, SecretFileError
from gateway.identity.gateway_records import GatewayRecord, new_record_path, read_records, tls_key_digest, write_record
from gateway.identity.issuers import read_issuers
from gateway.identity.issuing import LEAF_LIFETIME, MAX_LEAF_LIFETIME, write_national
from gateway.identity.keyring import public_key_id
from gateway.identity.locked import KeyLock
from gateway.identity.nation import (
    AUTHORITY_LIFETIME,
    Nation,
    authority_certificate,
    authority_crl,
    load_nation,
    write_authority,
)
from gateway.identity.node_keys import GATEWAY_CERTIFICATE
from gateway.identity.private_files import read_private, write_private
from gateway.identity.retirement import OutOfUse, encoded, read_retired, write_retired
from gateway.identity.revocation import crl_pem, number_of, signed_by
from gateway.identity.rotation import KeyRequest
from gateway.identity.spiffe import Role, SpiffeId, dns_name, trust_domain_of
from gateway.ledger.note import Note

CRL_LIFETIME: Final = LEAF_LIFETIME
"""Of a revocation list: by then whatever it revokes has expired. It is heeded after that too."""

REQUEST_LIFETIME: Final = timedelta(days=7)
"""How long a request may be on its way: it is carried by hand."""

REQUEST_AHEAD: Final = timedelta(hours=1)
"""How far the gateway's clock may be ahead of the nation's."""

BUNDLE_FILE: Final = "bundle.note"
REVOKED_KEYS: Final = "revoked-keys.json"
"""In a nation's directory: the TLS keys whose certificates were revoked, as `tls_key_digest` names them."""


_DIGESTS: Final = TypeAdapter(list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}\z")]])


@dataclass(frozen=True, slots=True)
class Admitted:
    """What was put on record: the gateway, kinds and ids of its new keys, and the certificate if it asked for one."""

    spiffe_id: SpiffeId
    keys: Sequence[tuple[str, str]]
    certificate: x509.Certificate | None


@dataclass(frozen=True, slots=True)
class NationKey:
    """A key on record: kind, id, public half."""

    kind: str
    key_id: str
    public: bytes


def admit(
    directory: Path,
    raw: bytes,
    *,
    now: datetime,
    lifetime: timedelta = LEAF_LIFETIME,
    lock: KeyLock | None = None,
) -> Admitted:
    """Puts the keys of a request on record, and issues its certificate. Raises IssueError or SecretFileError."""
    nation = load_nation(directory, lock)
    records = read_records(directory)
    gone = {one.key for one in read_retired(directory)}
    log_keys: dict[str, set[bytes]] = {}
    for record in records:
        if record.log_key is not None and record.log_key not in gone:
            log_keys.setdefault(record.spiffe_id, set()).add(record.log_key)
    request = KeyRequest.open(raw, nation.node, log_keys)
    digest = sha256(Note.parse(raw).text.encode("utf-8")).hexdigest()
    _check_fresh(request, digest, records, now)
    spiffe_id = SpiffeId.parse(request.spiffe_id)
    newest = next(record for record in records if record.spiffe_id == request.spiffe_id)
    # After every record there is, also within one second: the newest keys are those of the newest record.
    issued = max(now.astimezone(UTC).replace(microsecond=0), records[0].issued + timedelta(seconds=1))
    csr = None if request.csr is None else _csr(request.csr, spiffe_id, newest.names)
    admitted = GatewayRecord(
        spiffe_id=request.spiffe_id,
        issued=issued,
        endpoint=newest.endpoint,
        names=newest.names,
        log_key=request.log_key,
        receipt_key=request.receipt_key,
        pq_key=request.pq_key,
        sealing_key=request.sealing_key,
        tls_key=None if csr is None else tls_key_digest(csr.public_key()),
        request=digest,
    )
    if admitted.tls_key is not None:
        _check_new_tls_key(directory, admitted.tls_key, records)
    known = {key.public for key in keys_on_record(records)} | gone
    keys = keys_on_record([admitted])
    twice = next((key for key in keys if key.public in known), None)
    if twice is not None:
        raise _refused(
            Refusal.ALREADY_THERE,
            f"the {twice.kind} key {twice.key_id} is on record already",
            "If this request was admitted before, sign the next bundle; otherwise have the gateway make new keys.",
        )
    certificate = None
    if csr is not None:
        certificate = _issue(nation, spiffe_id, csr, Validity.starting(now, lifetime))
    write_record(new_record_path(directory, spiffe_id.name, issued), admitted)
    return Admitted(spiffe_id, [(key.kind, key.key_id) for key in keys], certificate)


def _check_fresh(request: KeyRequest, digest: str, records: Sequence[GatewayRecord], now: datetime) -> None:
    if any(record.request == digest for record in records):
        raise _refused(Refusal.ALREADY_THERE, "this request was admitted before", _AGAIN)
    if not now - REQUEST_LIFETIME <= request.made <= now + REQUEST_AHEAD:
        raise _refused(
            Refusal.BAD_REQUEST,
            f"the request was made at {request.made.isoformat()}, and it is {now.isoformat()}: it counts for"
            f" {REQUEST_LIFETIME.days} days",
            _AGAIN,
        )


def _check_new_tls_key(directory: Path, key: str, records: Sequence[GatewayRecord]) -> None:
    if key in _revoked_keys(directory):
        raise _refused(Refusal.REVOKED, "the certificate of the key of its CSR was revoked", _AGAIN)
    if any(record.tls_key == key for record in records):
        raise _refused(Refusal.ALREADY_THERE, "the key of its CSR has a certificate already", _AGAIN)


def _revoked_keys(directory: Path) -> list[str]:
    path = directory / REVOKED_KEYS
    if not path.exists():
        return []
    try:
        return _DIGESTS.validate_json(read_private(path))
    except ValidationError as refused:
        raise SecretFileError(
            Refusal.MALFORMED_FILE,
            "this is not a list of digests of keys",
            where=str(path),
            mend="Restore the file from its backup: without it a revoked key could get a certificate again.",
        ) from refused


def keys_on_record(records: Iterable[GatewayRecord]) -> list[NationKey]:
    """Every key of these records, each once, in their order."""
    found: dict[bytes, NationKey] = {}
    for record in records:
        for kind, public in (("log", record.log_key), ("receipt", record.receipt_key), ("pq", record.pq_key)):
            if public is not None:
                found.setdefault(public, NationKey(kind, public_key_id(public), public))
        if record.sealing_key is not None:
            joined = encoded(record.sealing_key)
            found.setdefault(joined, NationKey("sealing", sha256(joined).hexdigest()[:32], joined))
    return list(found.values())


def retire(
    directory: Path, *, now: datetime, key_id: str | None = None, since: datetime | None = None
) -> list[OutOfUse]:
    """Takes keys out of use: the one whose id begins with `key_id`, or of each kind all but the newest.

    They signed until `since`, or until now: earlier where a key may be a thief's since then. A key that is retired
    already gets an earlier `until` so, never a later one. Raises IssueError or SecretFileError.
    """
    until = (since or now).astimezone(UTC).replace(microsecond=0)
    if until > now:
        raise _refused(Refusal.BAD_REQUEST, f"{until.isoformat()} is in the future", "A key is retired when it is out.")
    retired = {one.key: one for one in read_retired(directory)}
    records = read_records(directory)
    # As a bundle lists them: a key is as old as the first record of it.
    oldest_first = keys_on_record(reversed(records))
    wanted = [key for key in oldest_first if _is_wanted(key, oldest_first, key_id, retired)]
    if not wanted:
        raise _refused(
            Refusal.MISSING,
            "of no kind is there an older key" if key_id is None else f"no key on record has the id {key_id}",
            "`signalfire pki show bundle.note` lists the keys; admit new ones before old ones are retired.",
        )
    if key_id is not None and len(wanted) > 1:
        raise _refused(Refusal.BAD_REQUEST, f"{len(wanted)} keys have ids that begin with {key_id}", "Give all digits.")
    changed = []
    for key in wanted:
        left = [other for other in oldest_first if other.kind == key.kind and other.public not in retired]
        if left == [key]:
            raise _refused(
                Refusal.BAD_REQUEST,
                f"the {key.kind} key {key.key_id} is the only one of its kind that is in use",
                "Admit a new one first: `signalfire keys rotate`, then `signalfire pki admit`.",
            )
        before = retired.get(key.public)
        one = OutOfUse.model_validate({"kind": key.kind, "key": key.public, "until": until})
        if before is None or one.until < before.until:
            retired[key.public] = one
            changed.append(one)
    write_retired(directory, list(retired.values()))
    return changed


def is_revoked(directory: Path, pem: bytes) -> bool:
    """Whether a leaf stands on its authority's list already; not so what is no certificate. Raises IdentityError."""
    try:
        (leaf,) = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return False
    role = SpiffeId.from_certificate(leaf).role
    issuers = read_issuers(authority_certificate(directory, role), authority_crl(directory, role), former=True)
    return any(issuers.revokes(leaf, issuer) for issuer in issuers if leaf.issuer == issuer.subject)


def revoke(
    directory: Path,
    pem: bytes | None,
    *,
    now: datetime,
    lifetime: timedelta = CRL_LIFETIME,
    lock: KeyLock | None = None,
) -> list[Path]:
    """Puts a leaf on the list of the authority that issued it; without one, signs every list anew. Returns the lists.

    Raises IssueError, SpiffeIdError or SecretFileError.
    """
    nation = load_nation(directory, lock)
    if pem is None:
        roles = [role for role in Role if authority_crl(directory, role).exists()]
        return [_write_crl(nation, role, None, now, lifetime) for role in roles]
    try:
        (leaf,) = x509.load_pem_x509_certificates(pem)
    except ValueError as unreadable:
        raise _refused(
            Refusal.MALFORMED_CERTIFICATE,
            "the file does not hold exactly one certificate in PEM (-----BEGIN CERTIFICATE-----)",
            "Give the file of the certificate that is to be revoked, such as officer.crt.pem.",
        ) from unreadable
    whose = SpiffeId.from_certificate(leaf)
    if whose.node != nation.node:
        raise _refused(
            Refusal.WRONG_NODE,
            f"it is the certificate of {whose}, which {nation.node} did not issue and cannot revoke",
            f"Tell {whose.node}, who can.",
        )
    role = whose.role
    try:
        leaf.verify_directly_issued_by(nation.authorities[role].certificate)
    except Exception as other:  # the library's errors for what is not signed so have no common parent
        raise _refused(
            Refusal.UNTRUSTED_ISSUER,
            f"the {role.value} authority of {nation.node} that issues now did not issue this certificate of {whose}",
            "A leaf of a former authority falls with it: `signalfire pki authority ROLE --drop-former`.",
        ) from other
    # The key first: a list that names the leaf while its key could get another would be half a revocation.
    keys = dict.fromkeys([*_revoked_keys(directory), tls_key_digest(leaf.public_key())])
    write_private(directory / REVOKED_KEYS, f"{json.dumps(list(keys), indent=2)}\n".encode("ascii"))
    return [_write_crl(nation, role, leaf.serial_number, now, lifetime)]


def replace_authority(
    directory: Path, role: Role, *, now: datetime, lifetime: timedelta = AUTHORITY_LIFETIME, lock: KeyLock | None = None
) -> Authority:
    """Makes a new authority of a role, which issues from now on; the one before is believed beside it.

    Raises IssueError or SecretFileError.
    """
    nation = load_nation(directory, lock)
    authority = Authority.create(nation.node, role, Validity.starting(now, lifetime))
    write_authority(directory, authority, nation.believed[trust_domain_of(nation.node), role].certificates, nation.lock)
    return authority


def drop_former_authorities(directory: Path, role: Role, *, lock: KeyLock | None = None) -> int:
    """Leaves the authority alone that issues; returns how many were dropped. What they issued is believed no more."""
    nation = load_nation(directory, lock)
    issuers = nation.believed[trust_domain_of(nation.node), role]
    current = issuers.certificates[0]
    # The authorities first: were it cut short after the lists, a former one would be believed without its list. A list
    # of one that is gone is passed over, and goes when the command is given again.
    write_private(authority_certificate(directory, role), certificate_pem(current))
    if authority_crl(directory, role).exists():
        kept = [crl for crl in issuers.crls if signed_by(crl, current)]
        path = authority_crl(directory, role)
        if kept:
            write_private(path, b"".join(map(crl_pem, kept)))
        else:
            path.unlink()
    return len(issuers) - 1


def write_outgoing(directory: Path, out: Path, *, lock: KeyLock | None = None) -> None:
    """Puts into `out` what a gateway installs: the bundle, the national authorities and their revocation lists."""
    nation = load_nation(directory, lock)
    out.mkdir(parents=True, exist_ok=True)
    for role in (Role.C2, Role.OFFICER):
        write_national(nation, role, out)
    bundle = directory / BUNDLE_FILE
    if bundle.exists():
        write_private(out / BUNDLE_FILE, bundle.read_bytes())


def write_certificate(out: Path, certificate: x509.Certificate) -> None:
    """Puts the certificate of a gateway into `out`, for `signalfire keys install`."""
    out.mkdir(parents=True, exist_ok=True)
    write_private(out / GATEWAY_CERTIFICATE, certificate_pem(certificate))


def _is_wanted(key: NationKey, oldest_first: Sequence[NationKey], key_id: str | None, retired: Iterable[bytes]) -> bool:
    if key_id is not None:
        return key.key_id.startswith(key_id)
    newest = next(other for other in reversed(oldest_first) if other.kind == key.kind and other.public not in retired)
    return key != newest and key.public not in retired


def _csr(pem: str, spiffe_id: SpiffeId, further: Sequence[str]) -> x509.CertificateSigningRequest:
    try:
        csr = x509.load_pem_x509_csr(pem.encode("utf-8"))
        signed = csr.is_signature_valid
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension) as unreadable:
        raise _refused(Refusal.MALFORMED_CERTIFICATE, f"its CSR cannot be read: {unreadable}", _AGAIN) from unreadable
    key = csr.public_key()
    if not signed or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _refused(Refusal.BAD_SIGNATURE, "its CSR is not signed by a P-256 key of its own", _AGAIN)
    asked = [str(name.value) for name in names]
    allowed = {str(spiffe_id), dns_name(spiffe_id), *further}
    foreign = sorted(set(asked) - allowed)
    if foreign or asked.count(str(spiffe_id)) != 1:
        raise _refused(
            Refusal.WRONG_NODE,
            f"its CSR asks for names that are not on record for {spiffe_id}: {', '.join(foreign) or 'not its own ID'}",
            "A gateway gets further names when it is issued: `signalfire pki gateway` with --dns or --ip.",
        )
    return csr


def _issue(
    nation: Nation, spiffe_id: SpiffeId, csr: x509.CertificateSigningRequest, validity: Validity
) -> x509.Certificate:
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    own = dns_name(spiffe_id)
    extra_dns = [name for name in names.get_values_for_type(x509.DNSName) if name != own]
    extra_ips = [ip for ip in names.get_values_for_type(x509.IPAddress) if isinstance(ip, IpAddress)]
    public = csr.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    authority = nation.authorities[Role.GATEWAY]
    return authority.issue(spiffe_id, public, validity, extra_dns=extra_dns, extra_ips=extra_ips)


def _write_crl(nation: Nation, role: Role, serial: int | None, now: datetime, lifetime: timedelta) -> Path:
    """Signs the list of a role's authority anew, with one more leaf on it; those of predecessors stay as they are."""
    authority = nation.authorities[role]
    path = authority_crl(nation.directory, role)
    lists = list(nation.believed[trust_domain_of(nation.node), role].crls)
    before = next((crl for crl in lists if signed_by(crl, authority.certificate)), None)
    moment = now.astimezone(UTC).replace(microsecond=0)
    number = 1
    revoked: dict[int, datetime] = {}
    if before is not None:
        number = number_of(before) + 1
        # Once a list from after its expiry has named it, a leaf need not be named any more (RFC 5280 §3.3).
        told = before.last_update_utc - MAX_LEAF_LIFETIME
        revoked = {one.serial_number: one.revocation_date_utc for one in before if one.revocation_date_utc >= told}
    if serial is not None:
        revoked.setdefault(serial, moment)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(moment)
        .next_update(moment + lifetime)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for number_, when in revoked.items():
        entry = x509.RevokedCertificateBuilder().serial_number(number_).revocation_date(when).build()
        builder = builder.add_revoked_certificate(entry)
    signed = builder.sign(authority.key, hashes.SHA256())
    kept = [crl for crl in lists if crl is not before]
    write_private(path, b"".join(map(crl_pem, [signed, *kept])))
    return path


_AGAIN: Final = "Have the gateway make the request anew with `signalfire keys rotate`."


def _refused(code: Refusal, what: str, mend: str) -> IssueError:
    return IssueError(code, what, where="nation", mend=mend)
