"""Whether partners can be reached, and whether they can reach this gateway.

Ours to theirs is tried: TLS with both certificates, then the challenge, then one question that a partner answers only
to a gateway that it believes. Theirs to ours nobody can try from here: a gateway that runs says in its metrics which
partners follow it.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import grpc

from gateway.doctor.finding import Finding, ok, problem, unknown
from gateway.exchange.dialling import LinkError
from gateway.exchange.ending import shown
from gateway.exchange.partners import public_keys
from gateway.exchange.reconciling import inspecting
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.identity.trust_bundle import Endpoint, TrustBundle
from gateway.release.signatory import Signatory

OURS: Final = "we reach it"
THEIRS: Final = "it reaches us"

PATIENCE_S: Final = 5.0
"""Seconds that a partner may take to answer: over any link that carries warnings it takes a fraction of one."""

_EVERY_V4: Final = str(ipaddress.IPv4Address(0))

_VIA: Final = re.compile(r'^signalfire_heard_by_way\{partner="([A-Z]{3})",way="via ([A-Z]{3})"\} 1\.0$', re.MULTILINE)

_FOLLOWED: Final = re.compile(r'^signalfire_followed_lanes\{partner="([A-Z]{3})"\} ([0-9.e+]+)$', re.MULTILINE)


async def we_reach(
    node: str,
    bundle: TrustBundle,
    endpoint: Endpoint,
    own: SpiffeId,
    signatory: Signatory,
    key_pair: KeyPairFiles,
    patience_s: float = PATIENCE_S,
) -> Finding:
    """Dials one endpoint of a partner with this gateway's own certificate and log key."""
    where = f"{node} at {endpoint.address}"
    try:
        async with inspecting(
            bundle,
            endpoint,
            public_keys(bundle),
            own=own,
            key_pair=key_pair,
            signer=signatory.gateway,
            patience_s=patience_s,
        ) as partner:
            ledgers = await partner.heads()
    except grpc.aio.AioRpcError as error:
        return _refused(where, node, error.code(), error.details() or "")
    except LinkError as error:
        return _ended(where, node, str(error))
    except IdentityError as error:
        return problem(OURS, where, f"{node} did not prove who it is: {error.what}", error.mend)
    return ok(OURS, where, f"TLS and challenge pass both ways, and it holds {len(ledgers)} ledgers with us")


def _refused(where: str, node: str, code: grpc.StatusCode, details: str) -> Finding:
    details = shown(details)
    if "CERTIFICATE_VERIFY_FAILED" in details or "certificate verify failed" in details.lower():
        return problem(
            OURS,
            where,
            f"who listens there has no certificate of {node}'s gateway authority, or it has expired",
            f"Ask {node} what its gateway's certificate is; get its newest bundle if its authority has changed.",
        )
    if "Hostname Verification" in details or "Peer name" in details:
        return problem(
            OURS,
            where,
            "who listens there has the certificate of another gateway than its bundle says",
            f"Ask {node} for a bundle with the right endpoints.",
        )
    match code:
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
            return problem(
                OURS,
                where,
                f"nothing answers: {details or code.name}",
                f"Check the network and firewalls between you, and that the gateway of {node} runs.",
            )
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return problem(
                OURS,
                where,
                f"{node} refuses this gateway: {details}",
                f"Give {node} your newest trust bundle; check that it pins your root.",
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            return unknown(
                OURS, where, f"{node} answers, and does not compare ledgers", f"{node} runs an older version."
            )
        case _:
            return problem(OURS, where, f"{node} answers with {code.name}: {details}", "Its log says more.")


def _ended(where: str, node: str, why: str) -> Finding:
    return problem(
        OURS,
        where,
        f"the partner ended it: {shown(why)}",
        f"Give {node} your newest trust bundle, and see that you have its; its log says more.",
    )


def scrape(address: str, patience_s: float = 2.0) -> str | None:
    """What the metrics of the gateway at an address say; None where nothing of the kind answers."""
    host, _, port = address.rpartition(":")
    # A listener on every address answers on this machine's own.
    local = {_EVERY_V4: "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    try:
        with urllib.request.urlopen(f"http://{local}:{port}/metrics", timeout=patience_s) as answer:
            text = str(answer.read(4 << 20).decode("utf-8", "replace"))
    except (OSError, ValueError, urllib.error.URLError):
        return None
    return text if "signalfire_accepting" in text else None


def followed_lanes(metrics: str) -> Mapping[str, bool]:
    """Which partners follow the gateway whose metrics these are."""
    return {node: float(value) > 0 for node, value in _FOLLOWED.findall(metrics)}


def carried_ways(metrics: str) -> Mapping[str, list[str]]:
    """By whom each partner is heard through a tunnel, by the gateway whose metrics these are."""
    found: dict[str, list[str]] = {}
    for node, carrier in _VIA.findall(metrics):
        found.setdefault(node, []).append(carrier)
    return found


def they_reach(
    partners: Iterable[str],
    followed: Mapping[str, bool] | None,
    *,
    running: bool,
    carried: Mapping[str, Sequence[str]] | None = None,
) -> list[Finding]:
    """Which partners follow this gateway, as it says itself; `followed` None: it could not be asked. `carried`: by whom
    each is heard though perhaps not directly.
    """
    carriers = carried or {}
    if followed is None:
        why = "the gateway gives no metrics here" if running else "the gateway does not run yet"
        mend = "Give --credentials and --gateway, or a `metrics` listener." if running else "Run this again beside it."
        return [
            unknown(THEIRS, node, f"whether {node} reaches us is not known: {why}", mend) for node in sorted(partners)
        ]
    return [
        ok(THEIRS, node, f"{node} follows this gateway")
        if followed.get(node)
        else problem(
            THEIRS,
            node,
            f"{node} does not follow this gateway"
            + (f" directly; it is heard via {' and '.join(carriers[node])}" if carriers.get(node) else ""),
            f"Check that {node} has your bundle with the right endpoint, and that your firewall lets it in.",
        )
        for node in sorted(partners)
    ]
