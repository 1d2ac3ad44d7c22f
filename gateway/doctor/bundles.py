"""Trust bundles: this node's own against the keys that it holds, and the partners' against what is pinned."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from gateway.doctor.finding import Finding, expiring, or_ok, problem, refused, unknown, warning
from gateway.doctor.record import OnRecord
from gateway.exchange.own_bundle import check_keys
from gateway.exchange.partners import public_keys
from gateway.identity.errors import IdentityError
from gateway.identity.keyring import Keyring
from gateway.identity.spiffe import Role, trust_domain_of
from gateway.identity.trust_bundle import TrustBundle
from gateway.release.errors import KeyNotHeld
from gateway.release.signatory import Signatory

OWN: Final = "own bundle"
PARTNER: Final = "partner's bundle"


def own_bundle(
    node: str, path: Path | None, root: str, ring: Keyring | None, record: OnRecord, now: datetime
) -> tuple[list[Finding], TrustBundle | None]:
    """The node's own trust bundle, and whether the keys in use stand in it. `ring` None: the keys cannot be read."""
    if path is None:
        return [
            unknown(
                OWN,
                "trust",
                "the configuration names no own trust bundle: keys cannot be rotated without a gap",
                "Name it: trust: {root: ..., bundle: ...}.",
            )
        ], None
    found, bundle = _open(OWN, node, path, root, record, now)
    if bundle is None:
        return found, None
    if ring is not None:
        try:
            check_keys(bundle, Signatory.from_ring(node, ring, record.in_use))
        except IdentityError as error:
            found.append(refused(OWN, error, str(path)))
        except KeyNotHeld as error:
            found.append(problem(OWN, str(path), str(error), "A gateway that lacks a key in use does not start."))
    if not bundle.endpoints:
        found.append(warning(OWN, str(path), "it names no endpoint: no partner can dial", "Issue it with an address."))
    return or_ok(found, OWN, str(path), f"sequence {bundle.sequence}, valid until {bundle.expires.isoformat()}"), bundle


def partners_bundle(
    node: str, path: Path, root: str, record: OnRecord, now: datetime
) -> tuple[list[Finding], TrustBundle | None]:
    """The trust bundle of one partner, from its file or, where a newer one came in band, from the record."""
    check = PARTNER
    found, bundle = _open(check, node, path, root, record, now)
    if bundle is None:
        return found, None
    try:
        public_keys(bundle)
    except IdentityError as error:
        return [*found, refused(check, error, str(path))], None
    if not bundle.endpoints:
        found.append(
            warning(check, str(path), f"{node} names no endpoint: it cannot be dialled", f"Ask {node} for one.")
        )
    for authority in bundle.authorities()[trust_domain_of(node), Role.GATEWAY]:
        found += expiring(
            check,
            str(path),
            f"the gateway authority of {node}",
            authority.not_valid_after_utc,
            now,
            f"Get the next bundle of {node}, with the authority that follows.",
        )
    return or_ok(
        found, check, str(path), f"sequence {bundle.sequence}, valid until {bundle.expires.isoformat()}"
    ), bundle


def _open(
    check: str, node: str, path: Path, root: str, record: OnRecord, now: datetime
) -> tuple[list[Finding], TrustBundle | None]:
    recorded = record.bundles.get(node)
    try:
        raw = path.read_bytes()
        bundle = TrustBundle.open(raw, root, now=now, at_least_sequence=record.sequences.get(node, 0))
    except (IdentityError, OSError) as error:
        known = None if recorded is None else _recorded(recorded, root, now)
        if isinstance(error, OSError):
            # Whatever is on record: a gateway that is to start refuses a configuration that names what is not there.
            mend = f"Put the bundle of {node} there, as it was exchanged: no gateway starts without the file."
            return [problem(check, str(path), f"the bundle of {node} cannot be read: {error.strerror}", mend)], known
        finding = problem(check, str(path), f"{error.what} ({error.where})", error.mend)
        if known is None:
            return [finding], None
        # It came in band and is in use: the file is behind, and would matter only to a fresh store.
        what = f"{finding.what}; sequence {known.sequence}, which came from its gateway, is in use"
        return [warning(check, str(path), what, finding.remedy)], known
    if bundle.node != node:
        mend = f"Pin the root and bundle of {node}."
        return [problem(check, str(path), f"it is the bundle of {bundle.node}, not of {node}", mend)], None
    newer = None if recorded is None else _recorded(recorded, root, now)
    if newer is not None and newer.sequence > bundle.sequence:
        bundle = newer
    mend = f"Get the next bundle of {node}." if check == PARTNER else "Sign the next with `signalfire pki bundle`."
    return expiring(check, str(path), f"the bundle of {node}", bundle.expires, now, mend), bundle


def _recorded(raw: bytes, root: str, now: datetime) -> TrustBundle | None:
    try:
        return TrustBundle.open(raw, root, now=now)
    except IdentityError:
        # Expired since, or of another root: then it counts for nothing.
        return None
