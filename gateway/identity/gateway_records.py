"""What a nation's directory keeps of the gateways that it issued: `gateways/<name>.<issued>.json`, nothing secret.

From these records the next trust bundle is made, and by them it is told whether a key was there before.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.identity.errors import IssueError, Refusal, SecretFileError
from gateway.identity.private_files import make_private_directory, read_private, refuse_present, write_private
from gateway.identity.trust_bundle import Ed25519Key, Endpoint, MlDsa44Key, SealingKey


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


def new_record_path(directory: Path, name: str, issued: datetime) -> Path:
    """Where the record of what is issued to the gateway `name` now belongs. Raises `IssueError` if it is taken."""
    path = directory / "gateways" / f"{name}.{issued.strftime('%Y%m%dT%H%M%SZ')}.json"
    refuse_present(path, mend="Wait a second, or take what was issued just now.")
    return path


def write_record(path: Path, record: GatewayRecord) -> None:
    """Puts a gateway, or a rotation of its keys, on record."""
    make_private_directory(path.parent)
    write_private(path, (record.model_dump_json(indent=2) + "\n").encode("ascii"))


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
