"""What a node keeps on disk, behind one interface.

`Commit` is everything that one step of a node makes durable at once; `Store.commit` writes it whole or not at all.
`StoreReader` answers what the ledgers, the feed and the records hold. The embedded store is
`gateway.ledger.stores.sqlite`; a site's database server implements the same two protocols, in a room of its own beside
it.

The two protocols stand in `interface.py`; what goes in and comes out, in `commit.py`, `ledger_rows.py`,
`report_rows.py` and `decision_rows.py`. Rows that reports bring by the thousand are tuples, with their fields in the
order of the columns.
"""

from __future__ import annotations

from gateway.ledger.stores.commit import Commit
from gateway.ledger.stores.decision_rows import (
    DecisionPlace,
    DecisionRange,
    DecisionRow,
    DecisionSubjectRow,
    OrderRow,
    RecoveryRow,
    VerdictRow,
)
from gateway.ledger.stores.interface import Store, StoreReader
from gateway.ledger.stores.ledger_rows import (
    RUN_ABSENT,
    RUN_ENTRIES,
    AbsentRow,
    Append,
    CosignatureKind,
    CosignatureRow,
    KeptBackRow,
    LedgerId,
    LedgerRow,
    PrunedSegment,
    Run,
    Segment,
    UnopenableRow,
)
from gateway.ledger.stores.report_rows import (
    CopyRow,
    Counts,
    FeedFilter,
    FeedItem,
    FeedRow,
    HeldRow,
    OfEvent,
    PrunedReport,
    ReceivedRow,
    ReleasedRow,
    ReportRow,
    UntoldRow,
)

__all__ = [
    "RUN_ABSENT",
    "RUN_ENTRIES",
    "AbsentRow",
    "Append",
    "Commit",
    "CopyRow",
    "CosignatureKind",
    "CosignatureRow",
    "Counts",
    "DecisionPlace",
    "DecisionRange",
    "DecisionRow",
    "DecisionSubjectRow",
    "FeedFilter",
    "FeedItem",
    "FeedRow",
    "HeldRow",
    "KeptBackRow",
    "LedgerId",
    "LedgerRow",
    "OfEvent",
    "OrderRow",
    "PrunedReport",
    "PrunedSegment",
    "ReceivedRow",
    "RecoveryRow",
    "ReleasedRow",
    "ReportRow",
    "Run",
    "Segment",
    "Store",
    "StoreReader",
    "UnopenableRow",
    "UntoldRow",
    "VerdictRow",
]
