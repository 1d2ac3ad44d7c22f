"""What answers at a gateway: the services of its C2 systems and officers, and the one of its partners."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.audit.signers import Signers
from gateway.c2.feed import Feed, Runs
from gateway.c2.server import C2Servicer
from gateway.exchange.heartbeat import Counter
from gateway.exchange.server import ExchangeServicer
from gateway.exchange.tunnels.carrying import Carrying
from gateway.exchange.tunnels.sockets import Sockets
from gateway.identity.national import NationalAuthorities
from gateway.node.parts import Parts
from gateway.officer.access import Access
from gateway.officer.recovering import Recovering
from gateway.officer.server import OfficerServicer
from gateway.release.opening import Opener


def national_services(parts: Parts, runs: Runs) -> tuple[C2Servicer, OfficerServicer]:
    """What C2 systems and officers are answered by. Raises SecretFileError where their authorities do not read."""
    national = NationalAuthorities(parts.config.keys, parts.config.node)
    return _c2(parts, national, runs), _officer(parts, national)


def _c2(parts: Parts, national: NationalAuthorities, runs: Runs) -> C2Servicer:
    config, clock = parts.config, parts.clock
    opener = Opener(config.node, parts.signatory.sealing)
    return C2Servicer(
        node=config.node,
        authorities=national,
        grants=config.grants(),
        sequencer=parts.sequencer,
        feed=Feed(
            config.node,
            runs,
            parts.store.read,
            parts.watch,
            opener,
            parts.signatory.storage,
            attention=parts.telemetry.attention,
        ),
        status=parts.status.tell,
        telemetry=parts.telemetry,
        limits=config.c2_limits(),
        quotas=config.quotas(),
        monotonic=clock.monotonic,
        report_limits=parts.report_limits,
        now=clock.now,
        now_ns=clock.now_ns,
        clock_trusted=clock.trusted,
    )


def _officer(parts: Parts, national: NationalAuthorities) -> OfficerServicer:
    config, clock = parts.config, parts.clock

    def signers() -> Mapping[str, Signers]:
        """The keys in use of this node, and of the partners whose bundles are in force."""
        found = {node: Signers.of(partner) for node, partner in parts.partners.keys().items()}
        found[config.node] = Signers.of_own(parts.signatory)
        return found

    return OfficerServicer(
        node=config.node,
        partners=config.partners,
        access=Access(
            authorities=national,
            sequencer=parts.sequencer,
            telemetry=parts.telemetry,
            limits=config.officer_limits(),
            now=clock.now,
            monotonic=clock.monotonic,
        ),
        reading=parts.reading,
        watch=parts.watch,
        governance=parts.governance,
        now_ns=clock.now_ns,
        reconcile=parts.reconciling.compare,
        key_status=parts.rotation.status,
        signers=signers,
        recovering=Recovering(parts.signatory, parts.sequencer, parts.store.read),
    )


def exchange_service(parts: Parts, counter: Counter, sockets: Sockets) -> ExchangeServicer:
    """What partners are answered by, and what carries for them; the status tells from here on what it carries."""
    config, clock = parts.config, parts.clock
    carrying = Carrying(
        own=parts.identity.own,
        signatory=parts.signatory,
        partners=parts.partners,
        rulebook=lambda: parts.sequencer.rulebook,
        key_pair=parts.identity.pair,
        in_band=parts.in_band,
        sockets=sockets,
        telemetry=parts.telemetry,
        limits=config.limits.carry.limits(),
        exchange=config.exchange_limits(),
        now_ns=clock.now_ns,
        monotonic=clock.monotonic,
    )
    parts.status.carried = lambda: carrying.carried
    return ExchangeServicer(
        own=parts.identity.own,
        signatory=parts.signatory,
        partners=parts.partners,
        sequencer=parts.sequencer,
        reader=parts.store.read,
        watch=parts.watch,
        telemetry=parts.telemetry,
        in_band=parts.in_band,
        own_bundle=parts.own_bundle,
        limits=config.exchange_limits(),
        counter=counter,
        now=clock.now,
        now_ns=clock.now_ns,
        monotonic_ns=clock.monotonic_ns,
        clock_trusted=clock.trusted,
        carrying=carrying,
        sockets=sockets,
        hedge_s=config.limits.carry.hedge_s,
    )
