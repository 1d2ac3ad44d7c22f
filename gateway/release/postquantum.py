"""The post-quantum line of this node's checkpoints: within a second of the checkpoint, and one for all that came
before.

ML-DSA-44 takes half a millisecond a signature, so it does not stand in the way of a report: every second, each own
ledger
that has grown gets one line over its newest checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import Origin
from gateway.release.errors import Unavailable
from gateway.release.sequencer import Sequencer
from gateway.release.steps import SignPostQuantum
from gateway.release.watch import Watch
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.5
"""Seconds between looks: half of the second within which a line is due."""


async def sign_within_a_second(
    sequencer: Sequencer, watch: Watch, telemetry: Telemetry, node: str, monotonic: Callable[[], float]
) -> None:
    """Signs until cancelled. A ledger that could not be signed is tried again, and its age is a metric."""
    signed: dict[Origin, int] = {}
    waiting_since: dict[Origin, float] = {}
    while True:
        now = monotonic()
        own = [head for head in sequencer.heads() if not head.replica and head.origin.owner == node]
        grown = [head.origin for head in own if signed.get(head.origin, 0) < head.edge.size]
        # Together, so that they share a commit.
        sizes = await asyncio.gather(
            *(sequencer.do(SignPostQuantum(origin)) for origin in grown), return_exceptions=True
        )
        for origin, size in zip(grown, sizes, strict=True):
            waiting_since.setdefault(origin, now)
            if isinstance(size, LedgerError | Unavailable):
                log.error("%s: its post-quantum line is late: %s", origin, size)
                continue
            if isinstance(size, BaseException):
                raise size
            signed[origin] = size
            del waiting_since[origin]
            watch.ledger_bell(origin).ring()
        telemetry.pq_pending.set(max((now - since for since in waiting_since.values()), default=0.0))
        await asyncio.sleep(INTERVAL_S)
