"""What a start puts on record, and restores from it, once the store is open and before a port is: in this order."""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime

from signalfire.v1.ledger_pb2 import SUCCESSION_REASON_RESTORE

import gateway
from gateway.c2.feed import Runs
from gateway.exchange.heartbeat import Counter
from gateway.ledger.errors import StoreError
from gateway.ledger.origin import Origin
from gateway.node.looking import take_up_bundles
from gateway.node.parts import Parts
from gateway.release.letting_go import WAITS, WHY_IT_WAITS, is_ahead
from gateway.release.plan import LATEST_TIME
from gateway.release.recovery.restored import DeclareSetBack
from gateway.release.steps import RecordEvent
from policy.approve import State

log = logging.getLogger(__package__)

KNOWN_WITHIN_S = 3.0
"""Seconds that partners are given at a start after a loss to show which generations there were: alerts wait for it."""

WAS_OPENED = (
    "%s was opened once, and the store knows %s at most: it was restored from a copy, or is another one. Stop, and"
    " start with --restored."
)
"""Said of a ledger, and of the generation of it that the store has."""

WAS_BEGUN = (
    "%s was begun, and the store knows %s at most. If the store was restored from a copy, or a partner's `signalfire"
    " status` shows that ledger, stop and start with --restored. Otherwise its opening was interrupted, by a crash or a"
    " commit that failed, and that is harmless."
)
"""The same, where the two look alike."""


async def declare_restored(parts: Parts, newest_ns: int) -> None:
    """Ends every own ledger before anything is written to one that partners may hold otherwise."""
    # With the keys of the bundles as they are: what takes them up on record would be written to such a ledger.
    parts.partners.restore()
    parts.partners.refresh()
    parts.own_bundle.restore()
    parts.own_bundle.refresh()
    # Nor is the newest generation of a ledger opened anew, where the store does not know it.
    known = (*parts.generations.known(), *await parts.taking_back.newest(KNOWN_WITHIN_S))
    why = "the operator has declared that the store was lost, or restored from a copy"
    step = DeclareSetBack(why, None, SUCCESSION_REASON_RESTORE, since_ns=newest_ns, known=known)
    opened = await parts.sequencer.do(step)
    log.warning("%s: %d ledgers go on in their next generations", why, len(opened))


def look_at_generations(parts: Parts) -> None:
    """Keeps the file of generations as the store has them, and says so where that is ahead of the store."""
    opened: tuple[Origin, ...] = ()
    begun: tuple[Origin, ...] = ()
    # Where it does not read, that is said when it is to be kept.
    with contextlib.suppress(StoreError):
        opened, begun = parts.generations.opened(), parts.generations.begun()
    for origin, words in [*((each, WAS_OPENED) for each in opened), *((each, WAS_BEGUN) for each in begun)]:
        current = parts.sequencer.current(origin.owner, origin.recipient, origin.lane)
        if current.generation < origin.generation:
            log.critical(words, origin, current)
    standing = (head.origin for head in parts.sequencer.heads() if not head.replica)
    parts.generations.keep([*standing])


async def record_start(parts: Parts) -> tuple[Counter, Runs]:
    """Puts the start on record. Returns what heartbeats, and what cursors of the feed, count from."""
    reader = parts.store.read()
    counter = Counter(int.from_bytes(reader.meta("heartbeat") or b""), parts.clock.now_ns())
    runs = Runs.continued(reader.meta("runs") or b"", parts.signatory.random(8), reader.last_feed())
    policy = parts.sequencer.rulebook.digest.hex()
    await parts.sequencer.do(
        RecordEvent(
            "started",
            f"Signalfire {gateway.__version__}, {parts.identity.own}, policy {policy}",
            meta=(("heartbeat", counter.base.to_bytes(8)), ("runs", runs.encode())),
        )
    )
    return counter, runs


async def declare_clock_right(parts: Parts, newest_ns: int) -> None:
    """Puts on record that an operator declared a clock right, where it is behind the newest time on record."""
    if newest_ns > (now_ns := parts.clock.now_ns()):
        when = datetime.fromtimestamp(newest_ns / 1e9, UTC).isoformat()
        detail = f"the newest time on record was {when}"
        await parts.sequencer.do(RecordEvent("clock-declared-right", detail, meta=((LATEST_TIME, now_ns.to_bytes(8)),)))


async def look_at_pruning(parts: Parts, newest_ns: int, *, clock_is_right: bool) -> None:
    """Has nothing pruned by a clock that is far ahead of `newest_ns`, the newest time on record before this start,
    until an operator declares it right.
    """
    waits = bool(parts.store.read().meta(WAITS))
    if clock_is_right and waits:
        detail = "contents may be pruned by the clock again"
        # An event of its own: that the clock ran ahead of the record says nothing for times that go back.
        await parts.sequencer.do(RecordEvent("pruning-resumed", detail, meta=((WAITS, b""),)))
    elif not clock_is_right and not waits and is_ahead(parts.clock.now_ns(), newest_ns):
        log.error("nothing is pruned: %s", WHY_IT_WAITS)
        detail = f"nothing is pruned: {WHY_IT_WAITS}"
        await parts.sequencer.do(RecordEvent("pruning-waits", detail, meta=((WAITS, b"1"),)))


async def take_up_files(parts: Parts) -> None:
    """Takes up the officers' files, then the bundles, then what is due of the keys."""

    def governed(state: State) -> None:
        parts.telemetry.policy_sequence.set(state.sequence)
        parts.telemetry.suspended_partners.set(len(state.suspensions))

    config = parts.config
    parts.governance.on_change(governed)
    await parts.governance.take_up_files(config.roster, config.policy, config.order)
    await parts.governance.end_posture()
    parts.partners.restore()
    parts.own_bundle.restore()
    await take_up_bundles(parts)
    await parts.rotation.look()
