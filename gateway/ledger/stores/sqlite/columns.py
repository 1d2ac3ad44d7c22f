"""Columns in the order in which they are written and read, which is that of the rows' fields."""

from __future__ import annotations

from typing import Final

COSIGNATURE: Final = "ledger, kind, size, note, time_ns, signer"
REPORT: Final = (
    "seq, report_id, digest, event_id, kind, submitted_by, accepted_ns, decision, payload, withdrawn_ns, pruned_ns"
)
RELEASED: Final = "report_id, partner, ledger, idx, traffic_class, precedence, withdrawn_ns, originator, agreement"
FEED: Final = "seq, item, ledger, idx, originator, report_id, kind, traffic_class, precedence, received_ns"
RECEIVED: Final = "originator, report_id, feed, withdrawn_ns, traffic_class, precedence"
COPY: Final = "originator, report_id, via, ledger, idx, received_ns, withdrawn_ns, traffic_class, precedence"
HELD: Final = "originator, report_id, partner, due_ns"
UNTOLD: Final = "originator, report_id, partner"
