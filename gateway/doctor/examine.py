"""Runs every check on one configured gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from gateway import config as configuration
from gateway.clock import Clock
from gateway.doctor import bundles, certificates, keys, machine, reach, record
from gateway.doctor.finding import Finding, Level, expiring, ok, problem
from gateway.expiry import agreements_of
from gateway.identity.errors import IdentityError
from gateway.identity.keyring import Keyring
from gateway.identity.node_keys import GATEWAY_CERTIFICATE
from gateway.identity.private_files import read_private
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.identity.trust_bundle import TrustBundle
from gateway.release.errors import KeyNotHeld
from gateway.release.governance import faults_of_files
from gateway.release.signatory import Signatory
from gateway.synchronisation import KernelClock, kernel_clock
from policy.bundle import load as load_policy
from policy.errors import PolicyError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is asked of the machine: given by tests, and of the machine itself otherwise."""

    now: Callable[[], datetime] = field(default_factory=lambda: Clock().now)
    kernel_clock: Callable[[], KernelClock | None] = kernel_clock
    time_client: Callable[[], str] = machine.time_client
    disk: Callable[[Path], list[Finding]] = machine.disk
    patience_s: float = reach.PATIENCE_S


async def examine(
    path: Path, around: Surroundings, *, dial: bool = True, followed: Mapping[str, bool] | None = None
) -> list[Finding]:
    """Everything that is found about the gateway configured in `path`.

    `dial`: also whether partners answer. `followed`: which partners follow the gateway, where it was asked itself; its
    metrics are read otherwise.
    """
    try:
        config = configuration.load(path, files_needed=False)
    except configuration.ConfigError as error:
        return [
            problem("configuration", f"{each.file}:{each.line}" if each.line else each.file, each.what, each.remedy)
            for each in error.problems
        ]
    examination = _Examination(config, around)
    found = [ok("configuration", str(path), f"in order: a gateway of {config.node}"), *examination.local()]
    if dial:
        found += await examination.partners(followed)
    return found


class _Examination:
    def __init__(self, config: configuration.Config, around: Surroundings) -> None:
        self._config = config
        self._around = around
        self._now = around.now()
        self._lock = config.key_lock()
        self._ring: Keyring | None = None
        self._record = record.OnRecord()
        self._believed: dict[str, TrustBundle] = {}
        self._running = False
        self._found: list[Finding] = []

    def local(self) -> list[Finding]:
        """What can be found out without asking anybody."""
        config, now = self._config, self._now
        trust = config.trust
        self._run("store", self._read_record, str(config.store))
        self._run("keys", self._read_keys, str(config.keys))
        own = self._run(
            bundles.OWN,
            lambda: bundles.own_bundle(
                config.node,
                None if trust is None else trust.bundle,
                "" if trust is None else trust.root,
                self._ring,
                self._record,
                now,
            ),
            "trust",
        )
        believed = None if own is None else own.authorities()
        self._each(
            "certificate", lambda: certificates.own_certificate(config.keys, config.node, self._lock, believed, now)
        )
        self._each("authority", lambda: certificates.authorities(config.keys, config.node, now))
        for node, partner in sorted(config.partners.items()):
            bundle = self._run(
                bundles.PARTNER,
                lambda node=node, partner=partner: bundles.partners_bundle(  # type: ignore[misc]  # bound at once
                    node, partner.bundle, partner.root, self._record, now
                ),
                str(partner.bundle),
            )
            if bundle is not None:
                self._believed[node] = bundle
        self._each("policy", self._policy)
        around, latest = self._around, self._record.latest
        asked = config.clock.synchronised
        self._each("clock", lambda: machine.clock(around.kernel_clock(), now, latest, around.time_client(), asked))
        self._each("disk", lambda: self._around.disk(config.store))
        self._each("port", self._ports)
        return self._found

    async def partners(self, followed: Mapping[str, bool] | None) -> list[Finding]:
        """Each partner's reachability, in both directions."""
        config = self._config
        own = self._own()
        found: list[Finding] = []
        if self._ring is not None and own is not None:
            try:
                signatory = Signatory.from_ring(config.node, self._ring, self._record.in_use)
            except KeyNotHeld as error:
                return [problem("keys", str(config.keys), str(error), "Restore it; nothing can be dialled without.")]
            pair = KeyPairFiles.of_gateway(config.keys, self._lock)
            found += await asyncio.gather(
                *(
                    reach.we_reach(node, bundle, endpoint, own, signatory, pair, self._around.patience_s)
                    for node, bundle in sorted(self._believed.items())
                    for endpoint in bundle.endpoints
                )
            )
        carried = None
        if followed is None and config.metrics is not None:
            metrics = await asyncio.to_thread(reach.scrape, config.metrics.listen)
            if metrics is not None:
                followed, carried = reach.followed_lanes(metrics), reach.carried_ways(metrics)
        found += reach.they_reach(config.partners, followed, running=self._running, carried=carried)
        return found

    # --- the parts

    def _each(self, check: str, look: Callable[[], Sequence[Finding]]) -> None:
        self._run(check, lambda: (look(), None), check)

    def _run(self, check: str, look: Callable[[], tuple[Sequence[Finding], T]], where: str) -> T | None:
        """What a check found, and what it read."""
        try:
            found, read = look()
        except Exception as error:  # whatever is broken in what it reads: the other checks are still of use
            what = f"the check itself failed: {type(error).__name__}: {error}"
            self._found.append(problem(check, where, what, "What it reads is damaged in a way that nobody foresaw."))
            return None
        self._found += found
        return read

    def _read_record(self) -> tuple[Sequence[Finding], None]:
        roots = {node: partner.root for node, partner in self._config.partners.items()}
        roots[self._config.node] = "" if self._config.trust is None else self._config.trust.root
        found, self._record = record.read_record(self._config.store, roots)
        return found, None

    def _read_keys(self) -> tuple[Sequence[Finding], None]:
        found = keys.keys_directory(self._config.keys)
        if any(each.level is Level.PROBLEM for each in found) and not self._config.keys.is_dir():
            return found, None
        material, self._ring = keys.key_material(self._config.keys, self._lock)
        if self._ring is not None:
            found += record.keys_of_store(self._config.store, self._config.node, self._ring)
            found += keys.recovery_key(self._config.keys, self._config.node)
        return [*found, *material], None

    def _own(self) -> SpiffeId | None:
        """The identity in the gateway's own certificate, where there is one."""
        try:
            raw = read_private(self._config.keys / GATEWAY_CERTIFICATE)
            return SpiffeId.from_certificate(x509.load_pem_x509_certificate(raw))
        except (IdentityError, ValueError):
            # Said by the check of the certificate.
            return None

    def _policy(self) -> list[Finding]:
        config = self._config
        found = [
            problem("policy", str(config.policy or config.roster), fault, "")
            for fault in faults_of_files(config.node, config.roster, config.policy, config.order)
        ]
        if config.policy is None or found:
            return found
        try:
            agreements = agreements_of(load_policy(config.policy))
        except PolicyError as error:
            return [problem("policy", str(config.policy), str(error), "")]
        for name, until in agreements:
            what, mend = f"the agreement {name}", "Have it renewed, and put a policy in force that names its new days."
            found += expiring("policy", str(config.policy), what, until, self._now, mend)
        return found or [ok("policy", str(config.policy), f"in order, {len(agreements)} agreements in force")]

    def _ports(self) -> list[Finding]:
        config, own = self._config, self._own()
        found = []
        for name, address in (("national", config.national.listen), ("exchange", config.exchange.listen)):
            here, ours = machine.listener(name, address, own)
            self._running = self._running or ours
            found += here
        if config.metrics is not None:
            here, _ = machine.listener("metrics", config.metrics.listen, None)
            if (
                self._running
                and any(each.level is Level.PROBLEM for each in here)
                and reach.scrape(config.metrics.listen)
            ):
                here = [ok(machine.PORT, config.metrics.listen, "this gateway runs, and gives its metrics")]
            found += here
        return found
