"""The bounds of the exchange between gateways: each with its unit, and why it is as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BELIEF_S: Final = 1.0
"""Seconds after which an idle stream asks again whether its partner's keys are believed: as often as files are looked
at.
"""


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """Bounds of the exchange between gateways."""

    batch_bytes: int = 1 << 20
    """Bytes of entries in one Batch: far below gRPC's 4 MiB message, and a fraction of a second on a slow link."""
    bulk_bytes: int = 1 << 16
    """The same in every lane but FLASH: a batch is put on record at once, and an alert may wait behind one."""
    partner_bytes_s: float = float(1 << 20)
    """Bytes of one lane of a partner that are taken in the long run, a second: some 90 GB a day."""
    partner_burst_bytes: float = float(4 << 30)
    """Bytes of one that are taken in at full speed: what a partner of which nothing was heard for days has to say."""
    answers_s: float = 500.0
    """Receipts and statements a second that are taken of one partner for one lane; each is verified and committed."""
    connections: int = 512
    """Connections of all partners together. Each is a file to the process, and the store needs some as well."""
    heartbeat_s: float = 1.0
    """Seconds between heartbeats: with three missed in a row a dead link is noticed in 3 s."""
    silence_s: float = 3.0
    """Seconds without a heartbeat after which a connection is given up."""
    handshake_s: float = 10.0
    """Seconds that a dialer has to prove itself, and then to say what it follows. That he may put off, so that
    alerts go first (`gateway.exchange.way`)."""
    backoff_min_s: float = 0.1
    """First pause before dialling again."""
    backoff_max_s: float = 1.0
    """Longest pause before dialling again where dialling is refused: a link that returns is in use within two seconds.
    """
    stagger_s: float = 0.5
    """Seconds after which a further attempt to connect begins while those before have no answer."""
    dials: int = 4
    """Attempts of one stream that are under way at once."""
    dial_s: float = 3.0
    """Seconds after which an attempt is given up: a connection takes three round trips."""
    openings_s: float = 20.0
    """Streams a second that a partner may open in the long run: seven that are dialled anew each half second and more.
    Each costs a signature and a verification before anything is known of what it wants."""
    openings: int = 200
    """Streams that it may open at once after a while without: several gateways that all come back."""
    streams: int = 32
    """Streams a partner may have open at once: four lanes and the heartbeat of two gateways, and as many being
    replaced.
    """
    questions_s: float = 200.0
    """Questions a second that are answered to one partner which compares ledgers: each reads a tile or two, so that
    this costs a few hundredths of one processor.
    """
    questions: int = 100_000
    """Questions that one stream may ask: enough to compare every ledger to its last differing entry."""
