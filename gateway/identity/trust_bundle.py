"""The trust bundle: what a nation tells its partners about itself, out of band, and what they pin.

A C2SP signed note of the nation's offline root. Its text::

    signalfire/v1/JPN/bundle
    7
    2027-01-31T00:00:00Z
    {
      "node": "JPN",
      ...
    }

Line 1 names the node, line 2 the sequence (decimal, from 1, no leading zero), line 3 the expiry (RFC 3339, UTC, whole
seconds), and the rest is one JSON object (RFC 8259) and a newline: the fields of `TrustBundle` but the two above.

Rules, in order:

1. The note is at most `note.MAX_NOTE` bytes and is signed by the pinned root, whose key name is
   `signalfire/v1/<NODE>/root`. Nothing of the text is looked at before.
2. Line 1 names the node of the pinned root; the JSON's `node` and `trust_domain` say the same.
3. No member of the JSON occurs twice, is missing or is unknown; every key has the exact length of its algorithm and the
   one canonical base64 (RFC 4648 §4); every authority is one CA certificate in force of a usable kind. Text around a
   certificate is not kept.
4. No Ed25519 key serves twice: a log key is not a receipt key. A key is current or retired, never both, never twice.
   Every revocation list is that of an authority of the bundle (`revocation`).
5. The sequence is not lower than the last one seen, so that an old bundle cannot bring back a withdrawn key.
6. The bundle has not expired: `now` is before its expiry.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from gateway.identity.authority import certificate_pem
from gateway.identity.errors import Refusal, TrustBundleError
from gateway.identity.key_names import bundle_origin, gateway_key_name, root_key_name
from gateway.identity.peer import Authorities
from gateway.identity.revocation import Issuers, crl_pem, load_crl
from gateway.identity.spiffe import Role
from gateway.ledger.errors import NoteError
from gateway.ledger.note import MAX_NOTE, Ed25519Signer, Ed25519Verifier, Note, sign_note, verify_note

MAX_KEYS: Final = 8
"""Keys, authorities or endpoints in one list: a rotation needs two, a large site a few more."""

MAX_RETIRED: Final[Mapping[str, int]] = {"log": 64, "receipt": 64, "pq": 8}
"""Retired keys of each kind: those that partners may still meet in what they keep. A post-quantum key is forty times as
large, and the bundle must fit into a note.
"""

ED25519_SIZE: Final = 32
MLDSA44_SIZE: Final = 1312
MLKEM768_SIZE: Final = 1184
X25519_SIZE: Final = 32

_SEQUENCE: Final = re.compile(r"[1-9][0-9]{0,18}")
_EXPIRY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(?P<port>[1-9][0-9]{0,4})")
_SERVER_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_EXPIRY_FORMAT: Final = "%Y-%m-%dT%H:%M:%SZ"


def _from_base64(*sizes: int) -> Callable[[object], bytes]:
    def decode(value: object) -> bytes:
        if isinstance(value, str):
            try:
                decoded = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError) as bad:
                raise ValueError(f"not base64: {bad}") from bad
            if base64.b64encode(decoded).decode("ascii") != value:
                raise ValueError("not the canonical base64 of these bytes")
        elif isinstance(value, bytes):
            decoded = value
        else:
            raise ValueError("a key is a base64 string")
        if sizes and len(decoded) not in sizes:
            raise ValueError(f"a key of this kind has {' or '.join(map(str, sizes))} bytes, not {len(decoded)}")
        return decoded

    return decode


def _to_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _from_time(value: object) -> datetime:
    if isinstance(value, str):
        if not _EXPIRY.fullmatch(value):
            raise ValueError("a time is written such as 2027-01-31T00:00:00Z")
        return datetime.strptime(value, _EXPIRY_FORMAT).replace(tzinfo=UTC)
    if not isinstance(value, datetime) or value.utcoffset() != timedelta(0) or value.microsecond:
        raise ValueError("a time is in UTC, of whole seconds")
    return value.astimezone(UTC)


def _to_time(value: datetime) -> str:
    return value.strftime(_EXPIRY_FORMAT)


_AsTime: Final = PlainSerializer(_to_time, return_type=str)
_AsBase64: Final = PlainSerializer(_to_base64, return_type=str)
Base64 = Annotated[bytes, BeforeValidator(_from_base64()), _AsBase64]
UtcTime = Annotated[datetime, BeforeValidator(_from_time), _AsTime]
Ed25519Key = Annotated[bytes, BeforeValidator(_from_base64(ED25519_SIZE)), _AsBase64]
MlDsa44Key = Annotated[bytes, BeforeValidator(_from_base64(MLDSA44_SIZE)), _AsBase64]
MlKem768Key = Annotated[bytes, BeforeValidator(_from_base64(MLKEM768_SIZE)), _AsBase64]
X25519Key = Annotated[bytes, BeforeValidator(_from_base64(X25519_SIZE)), _AsBase64]


class SealingKey(BaseModel):
    """One hybrid key to seal to: raw public keys, both needed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mlkem768: MlKem768Key
    x25519: X25519Key


class Endpoint(BaseModel):
    """Where a gateway listens: `address` to connect to (`host:port`), and the DNS name its certificate must bear."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    address: str
    server_name: str

    @field_validator("address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        found = _ADDRESS.fullmatch(value)
        if found is None or int(found["port"]) > 65535:
            raise ValueError("an address is host:port, with IPv6 in brackets")
        return value

    @field_validator("server_name")
    @classmethod
    def _dns_name(cls, value: str) -> str:
        if not _SERVER_NAME.fullmatch(value):
            raise ValueError("a server name is a DNS name in lower case, without a trailing dot")
        return value


class RetiredKey(BaseModel):
    """A key that signs no more. What it signed is believed up to `until`, where a current key or a receipt covers it;
    an `until` before now says that the key may be a thief's since then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["log", "receipt", "pq"]
    key: Annotated[bytes, BeforeValidator(_from_base64(ED25519_SIZE, MLDSA44_SIZE)), _AsBase64]
    until: UtcTime

    @model_validator(mode="after")
    def _size_of_its_kind(self) -> RetiredKey:
        size = MLDSA44_SIZE if self.kind == "pq" else ED25519_SIZE
        if len(self.key) != size:
            raise ValueError(f"a {self.kind} key has {size} bytes, not {len(self.key)}")
        return self


class TrustBundle(BaseModel):
    """What a node's partners pin. In every list of keys the newest is first: it signs, it is sealed to."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sequence: Annotated[int, Field(ge=1, lt=10**19)]
    expires: datetime
    node: Annotated[str, Field(pattern=r"^[A-Z]{3}\z")]
    trust_domain: Annotated[str, Field(pattern=r"^[a-z]{3}\z")]
    gateway_ca: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_KEYS)]
    log_keys: Annotated[tuple[Ed25519Key, ...], Field(min_length=1, max_length=MAX_KEYS)]
    receipt_keys: Annotated[tuple[Ed25519Key, ...], Field(min_length=1, max_length=MAX_KEYS)]
    pq_keys: Annotated[tuple[MlDsa44Key, ...], Field(min_length=1, max_length=MAX_KEYS)]
    sealing_keys: Annotated[tuple[SealingKey, ...], Field(min_length=1, max_length=MAX_KEYS)]
    endpoints: Annotated[tuple[Endpoint, ...], Field(max_length=MAX_KEYS)]
    retired: Annotated[tuple[RetiredKey, ...], Field(max_length=sum(MAX_RETIRED.values()))]
    gateway_crl: Annotated[tuple[str, ...], Field(max_length=MAX_KEYS)]

    @field_validator("expires")
    @classmethod
    def _whole_utc_seconds(cls, value: datetime) -> datetime:
        if value.tzinfo is None or value.utcoffset() != UTC.utcoffset(None) or value.microsecond:
            raise ValueError("the expiry is a time in UTC of whole seconds")
        return value.astimezone(UTC)

    @field_validator("gateway_ca")
    @classmethod
    def _authorities_in_pem(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(certificate_pem(_load_authority(pem)).decode("ascii") for pem in value)

    @field_validator("gateway_crl")
    @classmethod
    def _crls_in_pem(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(crl_pem(load_crl(pem.encode("utf-8"))).decode("ascii") for pem in value)

    @model_validator(mode="after")
    def _crls_of_its_authorities(self) -> TrustBundle:
        self.issuers()
        return self

    @model_validator(mode="after")
    def _one_node(self) -> TrustBundle:
        if self.trust_domain != self.node.lower():
            raise ValueError(f"the trust domain of {self.node} is {self.node.lower()}, not {self.trust_domain}")
        return self

    @model_validator(mode="after")
    def _no_key_twice(self) -> TrustBundle:
        signing = [*self.log_keys, *self.receipt_keys, *(one.key for one in self.retired if one.kind != "pq")]
        if len(set(signing)) != len(signing):
            raise ValueError("an Ed25519 key occurs twice: each has one purpose, and is either current or retired")
        pq = [*self.pq_keys, *(one.key for one in self.retired if one.kind == "pq")]
        if len(set(pq)) != len(pq):
            raise ValueError("a post-quantum key occurs twice")
        for kind, most in MAX_RETIRED.items():
            if sum(one.kind == kind for one in self.retired) > most:
                raise ValueError(f"more than {most} {kind} keys are retired")
        sealing = [half for key in self.sealing_keys for half in (key.mlkem768, key.x25519)]
        if len(set(sealing)) != len(sealing):
            raise ValueError("a sealing key occurs twice")
        return self

    def text(self) -> str:
        """The text that the root signs."""
        body = self.model_dump(mode="json", exclude={"sequence", "expires"})
        return (
            f"{bundle_origin(self.node)}\n{self.sequence}\n{self.expires.strftime(_EXPIRY_FORMAT)}\n"
            f"{json.dumps(body, indent=2, ensure_ascii=True)}\n"
        )

    def sign(self, root_signer: Ed25519Signer) -> str:
        """The signed note. Raises `TrustBundleError` if `root_signer` is not named as this node's root."""
        if root_signer.name != root_key_name(self.node):
            raise TrustBundleError(
                Refusal.WRONG_NODE,
                f"the key {root_signer.name} does not sign bundles of {self.node}",
                where="root key",
                mend=f"Sign with {root_key_name(self.node)}.",
            )
        try:
            return sign_note(self.text(), root_signer).encode().decode("utf-8")
        except NoteError as refused:
            raise TrustBundleError(
                Refusal.MALFORMED_BUNDLE,
                f"the bundle of {self.node} cannot be signed: {refused}",
                where="whole bundle",
                mend=f"Retire keys and drop authorities no longer in use; a bundle has at most {MAX_NOTE} bytes.",
            ) from refused

    @classmethod
    def open(cls, raw: str | bytes, root_vkey: str, *, now: datetime, at_least_sequence: int = 0) -> TrustBundle:
        """The bundle in the signed note `raw`, believed on the word of the pinned `root_vkey` alone.

        `now` is aware; `at_least_sequence` is the sequence of the last bundle seen from this node. Raises
        `TrustBundleError`.
        """
        root, node = _pinned_root(root_vkey)
        try:
            note = Note.parse(raw)
            verify_note(note, [root])
        except NoteError as refused:
            raise TrustBundleError(
                Refusal.BAD_SIGNATURE,
                f"the pinned root of {node} did not sign this bundle: {refused}",
                where="signature",
                mend=f"Get the bundle again from {node}; if its root has changed, confirm the new one in person first.",
            ) from refused
        bundle = _read(note.text, node)
        if bundle.sequence < at_least_sequence:
            raise TrustBundleError(
                Refusal.STALE_SEQUENCE,
                f"the bundle has the sequence {bundle.sequence}, and {at_least_sequence} has already been seen",
                where="line 2",
                mend=f"Get the newest bundle of {node}; an older one could bring back a withdrawn key.",
            )
        if now >= bundle.expires:
            raise TrustBundleError(
                Refusal.EXPIRED,
                f"the bundle expired at {bundle.expires.strftime(_EXPIRY_FORMAT)}, and it is {now.isoformat()}",
                where="line 3",
                mend=f"Get a newer bundle from {node}.",
            )
        return bundle

    def authorities(self) -> Authorities:
        """The authorities of the node's gateways, as `peer.verify_peer` takes them: for no other role."""
        return {(self.trust_domain, Role.GATEWAY): self.issuers()}

    def issuers(self) -> Issuers:
        """The authorities of the node's gateways, and what they have revoked."""
        return Issuers.of(
            [_load_authority(pem) for pem in self.gateway_ca],
            [load_crl(pem.encode("ascii")) for pem in self.gateway_crl],
        )

    def log_verifiers(self) -> list[Ed25519Verifier]:
        """Verifiers of checkpoints, heartbeats and challenges, the newest key first."""
        return [Ed25519Verifier(gateway_key_name(self.node), key) for key in self.log_keys]


def _pinned_root(root_vkey: str) -> tuple[Ed25519Verifier, str]:
    try:
        root = Ed25519Verifier.from_vkey(root_vkey.strip())
    except NoteError as refused:
        raise TrustBundleError(
            Refusal.MALFORMED_BUNDLE,
            f"the pinned root is not a verifier key: {refused}",
            where="root.vkey",
            mend="Pin the one line of the nation's root.vkey.",
        ) from refused
    match root.name.split("/"):
        case ["signalfire", "v1", node, "root"] if re.fullmatch(r"[A-Z]{3}", node):
            return root, node
    raise TrustBundleError(
        Refusal.WRONG_NODE,
        f"{root.name!r} is not the name of a nation's root",
        where="root.vkey",
        mend="Pin a key named signalfire/v1/<NODE>/root.",
    )


def _read(text: str, node: str) -> TrustBundle:
    parts = text.split("\n", 3)
    if len(parts) != 4:
        raise _malformed("the text ends within its three header lines", "header")
    origin, sequence, expiry, body = parts
    if origin != bundle_origin(node):
        raise TrustBundleError(
            Refusal.WRONG_NODE,
            f"the text begins with {origin!r}, not with {bundle_origin(node)!r}",
            where="line 1",
            mend=f"Give the trust bundle of {node}.",
        )
    if not _SEQUENCE.fullmatch(sequence):
        raise _malformed(f"{sequence!r} is not a sequence", "line 2")
    if not _EXPIRY.fullmatch(expiry):
        raise _malformed(f"{expiry!r} is not a time such as 2027-01-31T00:00:00Z", "line 3")
    try:
        expires = datetime.strptime(expiry, _EXPIRY_FORMAT).replace(tzinfo=UTC)
    except ValueError as bad:
        raise _malformed(f"{expiry!r} is not a time: {bad}", "line 3") from bad
    members = _json_object(body)
    for reserved in ("sequence", "expires"):
        if reserved in members:
            raise _malformed(f"{reserved!r} belongs in the header lines", "JSON")
    try:
        bundle = TrustBundle.model_validate_json(
            json.dumps({**members, "sequence": int(sequence), "expires": expires.isoformat()})
        )
    except ValidationError as refused:
        first = refused.errors(include_url=False, include_context=False, include_input=False)[0]
        where = "JSON " + (".".join(str(step) for step in first["loc"]) or "as a whole")
        raise _malformed(str(first["msg"]), where) from refused
    if bundle.node != node:
        raise TrustBundleError(
            Refusal.WRONG_NODE,
            f"the JSON speaks of {bundle.node}, the first line of {node}",
            where="JSON node",
            mend=f"Have {node} issue the bundle again.",
        )
    return bundle


def _json_object(body: str) -> dict[str, Any]:
    def no_member_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise ValueError("a member occurs twice in one object")
        return members

    def no_constant(name: str) -> Literal[0]:
        raise ValueError(f"{name} is not JSON")

    try:
        members = json.loads(body, object_pairs_hook=no_member_twice, parse_constant=no_constant)
    except (ValueError, RecursionError) as bad:
        raise _malformed(f"the body is not JSON: {bad}", "JSON") from bad
    if not isinstance(members, dict):
        raise _malformed("the body is not one JSON object", "JSON")
    return members


def _load_authority(pem: str) -> x509.Certificate:
    """The one CA certificate in `pem`; raises ValueError, as pydantic expects of a validator."""
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode("utf-8"))
        extensions = [extension.value for certificate in certificates for extension in certificate.extensions]
        keys = [certificate.public_key() for certificate in certificates]
    except Exception as error:  # whatever a partner puts there: the library's errors have no common parent
        raise ValueError(f"a certificate cannot be read: {type(error).__name__}: {error}") from error
    if len(certificates) != 1:
        raise ValueError(f"an entry holds {len(certificates)} certificates where one is expected")
    constraints = [value for value in extensions if isinstance(value, x509.BasicConstraints)]
    if not constraints:
        raise ValueError("the certificate has no basic constraints, so it is no authority")
    if not constraints[0].ca:
        raise ValueError("the certificate is not that of an authority")
    if not _usable_in_tls(keys[0]):
        raise ValueError(
            "the authority's key is of a kind that TLS 1.3 peers do not use: they use P-256, P-384, P-521, Ed25519 and"
            " RSA of 2048 to 8192 bits"
        )
    if certificates[0].version is not x509.Version.v3:
        raise ValueError("the authority is not an X.509 certificate of version 3")
    return certificates[0]


def _usable_in_tls(key: CertificatePublicKeyTypes) -> bool:
    """Whether both libraries read it: this one, and that of gRPC, which would pass over what it cannot read together
    with all that follows.
    """
    match key:
        case ec.EllipticCurvePublicKey():
            return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1)
        case rsa.RSAPublicKey():
            return 2048 <= key.key_size <= 8192
        case _:
            return isinstance(key, ed25519.Ed25519PublicKey)


def _malformed(what: str, where: str) -> TrustBundleError:
    return TrustBundleError(
        Refusal.MALFORMED_BUNDLE,
        what,
        where=where,
        mend="Have the nation issue its bundle again; `signalfire pki show FILE` says what a bundle holds.",
    )
