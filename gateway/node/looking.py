"""What a gateway looks at again and again while it runs: files that may change under it, its clock, what is wrong, the
room for its store, and what expires. Metrics are kept true by it.
"""

from __future__ import annotations

import asyncio
import logging

from gateway.exchange.bundle_record import BundleRecord, TakeUp
from gateway.expiry import expiries
from gateway.ledger.errors import LedgerError
from gateway.node.parts import Parts
from gateway.release.errors import StepRefused, Unavailable
from gateway.release.recovery.restored import SetBackWaiting
from gateway.release.recovery.waiting_lines import waiting_for
from gateway.status import precedence_of

log = logging.getLogger(__package__)

REFRESH_S = 1.0
"""Seconds between looks at the files that may change under a running gateway."""

EXPIRY_S = 5.0
"""Seconds between looks at what expires: it is told weeks ahead, and for so long after it was renewed."""


async def look_around(parts: Parts) -> None:
    """Takes up bundles and keys that have changed, and keeps the gauges true; until cancelled."""
    while True:
        try:
            await parts.governance.end_posture()
            await take_up_bundles(parts)
            await _set_back_waiting(parts)
            await parts.rotation.look()
        except (StepRefused, Unavailable, LedgerError) as error:
            log.error("bundles and keys could not be put on record and are tried again: %s", error)
        look_at_clock(parts)
        _look_for_alarms(parts)
        _look_at_links(parts)
        _look_at_store(parts)
        await asyncio.sleep(REFRESH_S)


async def look_at_expiry(parts: Parts) -> None:
    """Keeps true what is told of what expires, by metric and alarm; until cancelled."""
    while True:
        bundles = {node: parts.partners.bundle(node) for node in parts.partners}
        policy = parts.sequencer.rulebook.policy
        parts.expiry.tell(expiries(parts.config.keys, parts.config.node, parts.own_bundle.bundle, bundles, policy))
        await asyncio.sleep(EXPIRY_S)


async def take_up_bundles(parts: Parts) -> None:
    """Takes up bundles that have changed, and puts their sequences on record. Raises Unavailable or StoreError."""
    partners = parts.partners
    partners.refresh()
    for node in partners:
        bundle = partners.bundle(node)
        note = partners.note(node)
        if bundle is None or note is None:
            continue
        parts.telemetry.bundle_sequence.labels(node=node).set(bundle.sequence)
        root = partners.root(node)
        record = BundleRecord(parts.store.read().meta)
        if bundle.sequence >= record.sequence(node, root) and not record.holds(node, root, note):
            await parts.sequencer.do(TakeUp(bundle, note, root, "from its file"))


async def _set_back_waiting(parts: Parts) -> None:
    """Sets back the ledgers that waited for their recipients' keys."""
    for partner in waiting_for(parts.store.read()) & parts.partners.keys().keys():
        await parts.sequencer.do(SetBackWaiting(partner))


def look_at_clock(parts: Parts) -> None:
    """Asks the kernel once more, and tells whether the time is trusted."""
    parts.synchronisation.look()
    parts.telemetry.clock_trusted(parts.clock.trusted())
    kernel = parts.synchronisation.kernel
    if kernel is not None:
        parts.telemetry.clock_max_error.set(kernel.max_error_s)


def _look_for_alarms(parts: Parts) -> None:
    try:
        risen, fallen = parts.alarms.look()
    except LedgerError as error:
        log.error("alarms cannot be looked for: %s", error)
        return
    for alarm in risen:
        log.log(logging.CRITICAL if alarm.critical else logging.ERROR, "alarm: %s", alarm.text)
    for alarm in fallen:
        log.info("over: %s", alarm.text)


def _look_at_links(parts: Parts) -> None:
    for node in parts.partners:
        lanes = sum(streams > 0 for streams in parts.partners.links[node].followed.values())
        parts.telemetry.followed_lanes.labels(partner=node).set(lanes)


def _look_at_store(parts: Parts) -> None:
    parts.telemetry.waiting.set(parts.sequencer.waiting)
    parts.room.look()
    takes = parts.sequencer.takes
    parts.telemetry.accepting.set(takes is not None)
    parts.telemetry.lowest_precedence.set(precedence_of(takes))
    if parts.room.free_bytes is not None:
        parts.telemetry.store_free.set(parts.room.free_bytes)
