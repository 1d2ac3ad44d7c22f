"""The next trust bundle of a nation: what its directory has on record, for partners, signed by its root."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from gateway.identity.authority import certificate_pem
from gateway.identity.errors import IssueError, Refusal
from gateway.identity.gateway_records import read_records
from gateway.identity.locked import KeyLock
from gateway.identity.nation import load_nation
from gateway.identity.private_files import PUBLIC_MODE, write_private
from gateway.identity.retirement import encoded, read_retired, retired_of_bundle
from gateway.identity.revocation import crl_pem
from gateway.identity.spiffe import Role, trust_domain_of
from gateway.identity.trust_bundle import Endpoint, TrustBundle

BUNDLE_LIFETIME: Final = timedelta(days=365)
"""Of a trust bundle: long enough to be exchanged in person once a year."""

_Key = TypeVar("_Key", bound=Hashable)


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
    write_private(path, bundle.sign(nation.root.signer()).encode("utf-8"), mode=PUBLIC_MODE)
    return bundle


def _last_sequence(path: Path, root_vkey: str) -> int:
    if not path.exists():
        return 0
    # Expired or not, the last bundle's sequence has been used.
    return TrustBundle.open(path.read_bytes(), root_vkey, now=datetime.min.replace(tzinfo=UTC)).sequence


def _in_use(keys: Iterable[_Key | None], gone: Collection[object]) -> tuple[_Key, ...]:
    """The keys of records that come the newest first, each once, by the oldest record of each."""
    oldest_first = dict.fromkeys(key for key in reversed(list(keys)) if key is not None and key not in gone)
    return tuple(reversed(oldest_first))
