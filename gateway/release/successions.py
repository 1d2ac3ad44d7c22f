"""How many successions of a partner's ledgers are followed: each leaves a row, and needs no signature.

A line of ledgers (all generations for one recipient in one lane) may end AT_ONCE times at once, and then once in
EVERY_NS. An honest owner ends a ledger when it was set back or has forked; a node that joins late follows every
generation that there was. What comes too soon is refused, and followed when the lane is dialled again later.

Of the own ledgers a line ends on the word of a retired key once in RETIRED_EVERY_NS, over restarts. With the
MOST_LOST_GENERATIONS that such a word may be ahead these are fewer generations than followers take in that time, at one
in EVERY_NS: a thief of such a key uses up nothing that is there for other reasons.
"""

from __future__ import annotations

from typing import Final

from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import Origin
from gateway.release.plan import Plan

AT_ONCE: Final = 64
"""Successions of one line that are followed without waiting."""

EVERY_NS: Final = 3_600_000_000_000
"""Nanoseconds until one more may be."""

META: Final = "successions "
"""Begins the key of the store's own value that says until when the successions of a line are spent; owner, recipient
and lane follow."""


RETIRED_EVERY_NS: Final = 24 * EVERY_NS
"""Nanoseconds until the word of a retired key ends an own ledger of the same line again."""

MOST_LOST_GENERATIONS: Final = 16
"""Generations that a checkpoint under a retired key may be ahead: a copy of the store from before a few successions."""

RETIRED_META: Final = "ended on the word of a retired key "
"""Begins the key of the store's own value that says when the word of a retired key last ended an own ledger of a line;
recipient and lane follow."""


def charge_retired(plan: Plan, origin: Origin) -> None:
    """Counts that an own ledger ends on the word of a retired key. Raises LedgerError where that comes too soon."""
    key = f"{RETIRED_META}{origin.recipient or '-'} {origin.lane}"
    last_ns = int.from_bytes(plan.commit.meta.get(key) or plan.store.meta(key) or b"")
    # A time that has not come yet was put on record before the clock was set back.
    if last_ns and last_ns <= plan.now_ns < last_ns + RETIRED_EVERY_NS:
        hours = RETIRED_EVERY_NS // EVERY_NS
        raise LedgerError(f"such a key ended a ledger of its line less than {hours} hours ago")
    plan.commit.meta[key] = plan.now_ns.to_bytes(8)


def charge_succession(plan: Plan, origin: Origin) -> None:
    """Counts one succession of the line of `origin`. Raises LedgerError where it comes too soon."""
    key = f"{META}{origin.owner} {origin.recipient or '-'} {origin.lane}"
    raw = plan.commit.meta.get(key) or plan.store.meta(key) or b""
    spent_until = max(int.from_bytes(raw), plan.now_ns)
    if spent_until > plan.now_ns + AT_ONCE * EVERY_NS:
        # The clock was set back since: all but one are spent, and it goes on from here.
        spent_until = plan.now_ns + (AT_ONCE - 1) * EVERY_NS
    spent_until += EVERY_NS
    if spent_until > plan.now_ns + AT_ONCE * EVERY_NS:
        raise LedgerError(
            f"{origin}: {origin.owner} says that it has ended, after {AT_ONCE} others of its line; one an hour is"
            " followed. Ask its operators why its ledgers end."
        )
    plan.commit.meta[key] = spent_until.to_bytes(8)
