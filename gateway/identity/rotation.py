"""New keys for a gateway that runs: it makes them itself, and asks its nation to admit them.

The private halves never leave the gateway's keys directory. What travels is a request, which holds public keys alone:
a note whose text is a line and one JSON object, signed by the gateway's log keys under their name for statements::

    signalfire/v1/JPN/key-request
    {"spiffe_id": "spiffe://jpn/gateway/a", "made": "2026-11-21T09:00:00Z", "log_key": "<base64>", ..., "csr": "<PEM>"}

A kind of key that stays is null. `csr` is a PKCS #10 request (RFC 2986) for the same names as the certificate in use.

Files that are made, none replaced: `<kind>.<id>.key` (`keyring`), and `gateway.<8 digits>.key.pem`, named by the first
digits of SHA-256 of its public key (SubjectPublicKeyInfo, DER).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.identity.errors import IssueError, Refusal
from gateway.identity.key_names import gateway_key_name
from gateway.identity.keyring import HeldKey, KeyKind, Keyring
from gateway.identity.locked import KeyLock
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, PARTS_SIZES, tls_key_file, write_secret
from gateway.identity.private_files import read_private, write_private
from gateway.identity.spiffe import SpiffeId, trust_domain_of
from gateway.identity.trust_bundle import (
    MLKEM768_SIZE,
    Ed25519Key,
    MlDsa44Key,
    SealingKey,
    UtcTime,
)
from gateway.ledger.errors import NoteError
from gateway.ledger.note import Ed25519Signer, Ed25519Verifier, Note, sign_note, verify_note

TLS: Final = "tls"
"""The further kind that can be asked for: the key of the gateway's certificate."""

KINDS: Final = (*(kind.value for kind in KeyKind), TLS)


class KeyRequest(BaseModel):
    """What a gateway asks its nation to admit: nothing secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    spiffe_id: str
    made: UtcTime
    log_key: Ed25519Key | None
    receipt_key: Ed25519Key | None
    pq_key: MlDsa44Key | None
    sealing_key: SealingKey | None
    csr: str | None

    def sign(self, signers: Sequence[Ed25519Signer]) -> bytes:
        """The signed note."""
        node = SpiffeId.parse(self.spiffe_id).node
        body = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=True)
        return sign_note(f"{_header(node)}\n{body}\n", *signers).encode()

    @classmethod
    def open(cls, raw: bytes, node: str, log_keys: Mapping[str, Collection[bytes]]) -> KeyRequest:
        """The request in `raw`, believed on the word of a log key that is on record for the gateway it speaks of.

        `log_keys` are the raw log keys of each gateway of `node`, by SPIFFE ID. Raises IssueError.
        """
        name = gateway_key_name(node)
        try:
            note = Note.parse(raw)
            verify_note(
                note, [Ed25519Verifier(name, key) for key in {key for keys in log_keys.values() for key in keys}]
            )
        except NoteError as refused:
            raise _refused(
                Refusal.BAD_SIGNATURE, f"no log key on record of a gateway of {node} signed it: {refused}"
            ) from refused
        header, _, body = note.text.partition("\n")
        if header != _header(node):
            raise _refused(Refusal.WRONG_KIND, f"it begins with {header!r}, not with {_header(node)!r}")
        try:
            request = cls.model_validate_json(body)
        except ValidationError as refused:
            raise _refused(Refusal.MALFORMED_FILE, f"{refused.error_count()} of its members are wrong") from refused
        try:
            verify_note(note, [Ed25519Verifier(name, key) for key in log_keys.get(request.spiffe_id, ())])
        except NoteError as refused:
            raise _refused(
                Refusal.WRONG_NODE, f"it speaks for {request.spiffe_id}, and another gateway's key signed it"
            ) from refused
        return request


def make_request(
    directory: Path, lock: KeyLock, node: str, kinds: Collection[str], *, now: datetime
) -> tuple[bytes | None, list[str]]:
    """Makes a further key of each of `kinds` (`KINDS`), and the request to admit them; beside it, the files made.

    The request is None where nothing of them is anybody else's concern: of storage keys. The keys in use stay in use.
    Raises SecretFileError, SpiffeIdError or OSError.
    """
    ring = Keyring.load(directory, lock)
    certificate = x509.load_pem_x509_certificate(read_private(directory / GATEWAY_CERTIFICATE))
    spiffe_id = SpiffeId.from_certificate(certificate)
    if spiffe_id.node != node:
        raise IssueError(
            Refusal.WRONG_NODE,
            f"the certificate is that of {spiffe_id}",
            where=str(directory / GATEWAY_CERTIFICATE),
            mend=f"Name the configuration of a gateway of {spiffe_id.node}.",
        )
    made: dict[KeyKind, HeldKey] = {}
    files = []
    for kind in KeyKind:
        if kind.value in kinds:
            made[kind] = key = new_key(kind)
            write_secret(directory / key.file, kind.secret, key.parts, lock)
            files.append(key.file)
    csr = None
    if TLS in kinds:
        private = ec.generate_private_key(ec.SECP256R1())
        name = tls_key_file(private.public_key())
        write_private(directory / name, lock.pem(private))
        files.append(name)
        csr = _csr(certificate, private)
    public = {kind: key.public for kind, key in made.items() if kind is not KeyKind.STORAGE}
    if not public and csr is None:
        return None, files
    sealing = public.get(KeyKind.SEALING)
    request = KeyRequest(
        spiffe_id=str(spiffe_id),
        made=now.astimezone(UTC).replace(microsecond=0),
        log_key=public.get(KeyKind.LOG),
        receipt_key=public.get(KeyKind.RECEIPT),
        pq_key=public.get(KeyKind.PQ),
        sealing_key=None
        if sealing is None
        else SealingKey(mlkem768=sealing[:MLKEM768_SIZE], x25519=sealing[MLKEM768_SIZE:]),
        csr=csr,
    )
    # Every log key that is held signs, for which of them the nation has on record is not known here.
    signers = [Ed25519Signer(gateway_key_name(node), key.secret) for key in ring.keys[KeyKind.LOG].values()]
    return request.sign(signers), files


def new_key(kind: KeyKind) -> HeldKey:
    """A fresh key of this kind."""
    return HeldKey.of(kind, {part: secrets.token_bytes(PARTS_SIZES[part]) for part in kind.secret.parts})


def _csr(certificate: x509.Certificate, private: ec.EllipticCurvePrivateKey) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    request = (
        x509.CertificateSigningRequestBuilder(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(private, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _header(node: str) -> str:
    trust_domain_of(node)
    return f"signalfire/v1/{node}/key-request"


def _refused(code: Refusal, what: str) -> IssueError:
    return IssueError(
        code,
        f"the request is not admitted: {what}",
        where="request",
        mend="Have the gateway make it anew with `signalfire keys rotate`, and bring that file unchanged.",
    )
