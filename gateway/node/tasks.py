"""What runs by itself while a gateway serves: each a coroutine with its name, which goes on until it is cancelled."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeAlias

from gateway.exchange.allowance import Allowance
from gateway.exchange.follower import PartnerFollower
from gateway.exchange.tunnels.sockets import Sockets
from gateway.ledger.origin import Lane
from gateway.node.looking import look_around, look_at_expiry
from gateway.node.parts import Parts
from gateway.reconciliation import keep_comparing
from gateway.release.letting_go import let_go
from gateway.release.opening import Opener
from gateway.release.pending import pass_on_in_turn, take_up_pending
from gateway.release.postquantum import sign_within_a_second
from gateway.release.sharing import Decided
from gateway.release.witnessing import keep_witness
from gateway.taking_back import keep_taking_back
from gateway.watchdog import measure_lag

Named: TypeAlias = tuple[str, Coroutine[Any, Any, None]]


def following(parts: Parts, sockets: Sockets) -> Iterator[Named]:
    """Dialling and following each partner."""
    config, clock = parts.config, parts.clock
    opener = Opener(config.node, parts.signatory.sealing)
    witness = config.witness_limits()
    for node in parts.partners:
        follower = PartnerFollower(
            node,
            own=parts.identity.own,
            key_pair=parts.identity.pair,
            signatory=parts.signatory,
            partners=parts.partners,
            sequencer=parts.sequencer,
            reader=parts.store.read,
            opener=opener,
            report_limits=parts.report_limits,
            limits=config.exchange_limits(),
            telemetry=parts.telemetry,
            in_band=parts.in_band,
            now_ns=clock.now_ns,
            monotonic=clock.monotonic,
            allowance=Allowance(witness.bytes_per_s, witness.burst_bytes, clock.monotonic),
            sockets=sockets,
            carry=config.limits.carry.limits(),
        )
        yield f"follow {node}", follower.run()


def keeping_up(parts: Parts) -> Iterator[Named]:
    """Looking around, and doing what is due with time."""
    config, clock, sequencer, telemetry = parts.config, parts.clock, parts.sequencer, parts.telemetry
    witness = config.witness_limits()

    def can_be_told(partner: str) -> bool:
        return partner in parts.partners.keys() and partner not in sequencer.rulebook.suspended  # noqa: SIM118

    def withdrawals_wait(counts: Mapping[str, int]) -> None:
        for node in parts.partners:
            telemetry.untold.labels(partner=node).set(counts.get(node, 0))

    def put_off(lane: Lane) -> Callable[[Mapping[str, int]], None]:
        def count(entries: Mapping[str, int]) -> None:
            for node in parts.partners:
                telemetry.put_off.labels(partner=node, lane=lane.value).set(entries.get(node, 0))

        return count

    def heard() -> Mapping[str, bool]:
        return {node: parts.partners.links[node].heartbeat_at is not None for node in parts.partners}

    def decided(what: Decided) -> None:
        telemetry.decided(*what)

    def count_pruned(what: str, count: int) -> None:
        telemetry.pruned.labels(what=what).inc(count)

    yield "look around", look_around(parts)
    yield "expiry", look_at_expiry(parts)
    yield "event loop's lag", measure_lag(telemetry.loop_lag.observe, clock.monotonic)
    yield (
        "pending",
        take_up_pending(
            sequencer, parts.store.read, clock.now_ns, clock.trusted, can_be_told, decided, withdrawals_wait
        ),
    )
    for lane in Lane:
        passing = pass_on_in_turn(sequencer, parts.store.read, lane, parts.report_limits, decided, put_off(lane))
        yield f"passing on, {lane}", passing
    yield "post-quantum", sign_within_a_second(sequencer, parts.watch, telemetry, config.node, clock.monotonic)
    yield "witness", keep_witness(sequencer, frozenset(parts.partners), witness.interval_s, clock.monotonic)
    yield (
        "compare witnesses",
        keep_comparing(parts.reconciling, parts.partners.links, witness.compare_s, clock.monotonic),
    )
    yield "own ledgers", keep_taking_back(parts.taking_back, heard)
    yield "retention", let_go(sequencer, parts.store.read, config.retention.days(), clock.now_ns, count_pruned)
