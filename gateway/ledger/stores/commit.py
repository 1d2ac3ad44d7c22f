"""Everything that one step of a node makes durable at once."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.ledger.origin import Origin
from gateway.ledger.stores.decision_rows import DecisionRow, DecisionSubjectRow, OrderRow, RecoveryRow, VerdictRow
from gateway.ledger.stores.ledger_rows import (
    Append,
    CosignatureRow,
    KeptBackRow,
    LedgerId,
    LedgerRow,
    PrunedSegment,
    UnopenableRow,
)
from gateway.ledger.stores.report_rows import (
    CopyRow,
    FeedRow,
    HeldRow,
    PrunedReport,
    ReceivedRow,
    ReleasedRow,
    ReportRow,
    UntoldRow,
)


@dataclass(slots=True)
class Commit:
    """Everything that one step makes durable at once."""

    ledgers: list[LedgerRow] = field(default_factory=list)
    appends: list[Append] = field(default_factory=list)
    ended: list[tuple[LedgerId, Origin | None]] = field(default_factory=list)
    """(ledger, successor) of those that end. None: of a replica that goes on, as its owner never opened the successor.
    """
    agreed: list[tuple[LedgerId, int]] = field(default_factory=list)
    """(ledger, size): how many entries of an own ledger that ends were confirmed."""
    kept_back: list[KeptBackRow] = field(default_factory=list)
    cosignatures: list[CosignatureRow] = field(default_factory=list)
    unopenable: list[UnopenableRow] = field(default_factory=list)
    reports: list[ReportRow] = field(default_factory=list)
    released: list[ReleasedRow] = field(default_factory=list)
    recalled: list[tuple[bytes, int]] = field(default_factory=list)
    """(report id, time): own reports that no longer stand."""
    withdrawn: list[tuple[str, bytes, str, int]] = field(default_factory=list)
    """(originator, report id, partner, time): releases that no longer stand."""
    not_told: list[tuple[str, bytes, str]] = field(default_factory=list)
    """(originator, report id, partner): withdrawals that were sealed, and were kept back."""
    moved: list[tuple[LedgerId, int, LedgerId, int]] = field(default_factory=list)
    """(ledger, index, ledger, index): where releases stood that were sealed again, and where they stand now."""
    held: list[HeldRow] = field(default_factory=list)
    decided: list[tuple[str, bytes, str]] = field(default_factory=list)
    """(originator, report id, partner): reports that are held no longer."""
    untold: list[UntoldRow] = field(default_factory=list)
    told: list[UntoldRow] = field(default_factory=list)
    feed: list[FeedRow] = field(default_factory=list)
    received: list[ReceivedRow] = field(default_factory=list)
    copies: list[CopyRow] = field(default_factory=list)
    orders: list[OrderRow] = field(default_factory=list)
    verdicts: list[VerdictRow] = field(default_factory=list)
    decisions: list[DecisionRow] = field(default_factory=list)
    decision_subjects: list[DecisionSubjectRow] = field(default_factory=list)
    pruned: list[PrunedSegment] = field(default_factory=list)
    pruned_reports: list[PrunedReport] = field(default_factory=list)
    returned: list[Append] = field(default_factory=list)
    """What comes back of own ledgers that have ended: nothing else is appended to these."""
    cited: list[tuple[str, bytes, str, str]] = field(default_factory=list)
    """(originator, report id, partner, agreement): on what releases rest that came back without saying so."""
    refilled: list[tuple[int, bytes]] = field(default_factory=list)
    """(number, payload): own reports whose content is there again."""
    recovery: list[RecoveryRow] = field(default_factory=list)
    meta: dict[str, bytes] = field(default_factory=dict)
