"""The beat of the witness ledger: at a fixed interval, whether or not anything happened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.ledger.errors import LedgerError
from gateway.release.errors import ReleaseError
from gateway.release.sequencer import Sequencer
from gateway.release.witness import Beat

log = logging.getLogger(__name__)


async def keep_witness(
    sequencer: Sequencer, recipients: frozenset[str], interval_s: float, monotonic: Callable[[], float]
) -> None:
    """Beats until cancelled: at once, and then at whole intervals after that. A beat that fails is left out."""
    began = monotonic()
    failed = False
    while True:
        try:
            await sequencer.do(Beat(recipients))
            failed = False
        except (LedgerError, ReleaseError) as error:
            if not failed:
                log.error("the witness ledger misses a beat, and is tried again at the next one: %s", error)
            failed = True
        # Beats that the machine slept through are left out too: what is committed to is the present.
        beats = (monotonic() - began) // interval_s + 1
        await asyncio.sleep(max(0.0, began + beats * interval_s - monotonic()))
