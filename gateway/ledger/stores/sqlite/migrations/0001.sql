-- The store of one node, schema version 1.
--
-- Times are integers: nanoseconds since 1970-01-01T00:00:00Z. Report identifiers are the 16 bytes of their UUID.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Every ledger that this node keeps: its own, and replicas of what partners keep for it (or have it carry).
CREATE TABLE ledger (
    id        INTEGER PRIMARY KEY,
    origin    TEXT    NOT NULL UNIQUE,
    replica   INTEGER NOT NULL CHECK (replica IN (0, 1)),
    size      INTEGER NOT NULL CHECK (size >= 0),
    root      BLOB    NOT NULL CHECK (length(root) = 32),
    -- Origin line of the next generation, once this one has ended.
    successor TEXT
) STRICT;

-- What one commit appended to one ledger: `count` entries as a C2SP entry bundle. Length 0 in the bundle stands for
-- an entry of which only the hash is kept (see `absent`).
CREATE TABLE segment (
    id      INTEGER PRIMARY KEY,
    ledger  INTEGER NOT NULL REFERENCES ledger (id),
    first   INTEGER NOT NULL CHECK (first >= 0),
    count   INTEGER NOT NULL CHECK (count >= 1),
    entries BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX segment_place ON segment (ledger, first);

-- Entries of which only the leaf hash is kept, each with the owner's signed reason.
CREATE TABLE absent (
    ledger    INTEGER NOT NULL REFERENCES ledger (id),
    idx       INTEGER NOT NULL,
    leaf_hash BLOB    NOT NULL CHECK (length(leaf_hash) = 32),
    note      BLOB    NOT NULL,
    PRIMARY KEY (ledger, idx)
) STRICT, WITHOUT ROWID;

-- C2SP tlog-tiles: up to 256 hashes each. Level 0 stands here once full; higher levels also while they fill.
CREATE TABLE tile (
    ledger INTEGER NOT NULL REFERENCES ledger (id),
    level  INTEGER NOT NULL CHECK (level BETWEEN 0 AND 7),
    idx    INTEGER NOT NULL,
    hashes BLOB    NOT NULL,
    PRIMARY KEY (ledger, level, idx)
) STRICT;

-- Signed checkpoints: one a segment, at its end.
CREATE TABLE checkpoint (
    ledger INTEGER NOT NULL REFERENCES ledger (id),
    size   INTEGER NOT NULL,
    note   BLOB    NOT NULL,
    PRIMARY KEY (ledger, size)
) STRICT, WITHOUT ROWID;

-- Further signatures on those checkpoints: the recipient's receipts, the owner's post-quantum lines.
CREATE TABLE cosignature (
    ledger  INTEGER NOT NULL REFERENCES ledger (id),
    kind    TEXT    NOT NULL CHECK (kind IN ('receipt', 'pq')),
    size    INTEGER NOT NULL,
    note    BLOB    NOT NULL,
    time_ns INTEGER NOT NULL,
    PRIMARY KEY (ledger, kind, size)
) STRICT, WITHOUT ROWID;

-- Signed statements about entries that could not be used: given (replicas) or got (own ledgers).
CREATE TABLE unopenable (
    ledger  INTEGER NOT NULL REFERENCES ledger (id),
    idx     INTEGER NOT NULL,
    note    BLOB    NOT NULL,
    time_ns INTEGER NOT NULL,
    PRIMARY KEY (ledger, idx)
) STRICT, WITHOUT ROWID;

-- Reports that this nation's C2 systems submitted. The payload is sealed under the node's storage key.
CREATE TABLE report (
    seq          INTEGER PRIMARY KEY,
    report_id    BLOB    NOT NULL UNIQUE CHECK (length(report_id) = 16),
    digest       BLOB    NOT NULL CHECK (length(digest) = 32),
    event_id     TEXT    NOT NULL,
    kind         INTEGER NOT NULL,  -- ReportKind
    submitted_by TEXT    NOT NULL,
    accepted_ns  INTEGER NOT NULL,
    -- Index of its record in the decisions ledger.
    decision     INTEGER NOT NULL,
    payload      BLOB    NOT NULL,
    -- Since when it no longer stands, if it does not.
    withdrawn_ns INTEGER
) STRICT;
CREATE INDEX report_event ON report (event_id, kind);

-- Which partner was released which report, and where.
CREATE TABLE released (
    report_id     BLOB    NOT NULL CHECK (length(report_id) = 16),
    partner       TEXT    NOT NULL,
    ledger        INTEGER NOT NULL REFERENCES ledger (id),
    idx           INTEGER NOT NULL,
    traffic_class INTEGER NOT NULL,
    precedence    INTEGER NOT NULL,
    withdrawn_ns  INTEGER,
    PRIMARY KEY (report_id, partner)
) STRICT, WITHOUT ROWID;

-- What subscribers read, in the order in which it became durable here. The content stays in the ledger (or, of own
-- reports, in `report`); these columns are what a subscription filters by.
CREATE TABLE feed (
    seq           INTEGER PRIMARY KEY,
    item          INTEGER NOT NULL CHECK (item IN (1, 2)),  -- 1 report, 2 withdrawal
    ledger        INTEGER REFERENCES ledger (id),           -- NULL: an own report
    idx           INTEGER NOT NULL,                         -- index in that ledger, or report.seq
    originator    TEXT    NOT NULL,
    report_id     BLOB    NOT NULL CHECK (length(report_id) = 16),
    kind          INTEGER NOT NULL,                         -- ReportKind; 0 for a withdrawal
    traffic_class INTEGER NOT NULL,
    precedence    INTEGER NOT NULL,
    received_ns   INTEGER NOT NULL
) STRICT;

-- Every report of a partner that arrived or was withdrawn. A row without `feed` is a tombstone: the withdrawal came
-- before its report.
CREATE TABLE received (
    originator   TEXT    NOT NULL,
    report_id    BLOB    NOT NULL CHECK (length(report_id) = 16),
    feed         INTEGER,
    withdrawn_ns INTEGER,
    PRIMARY KEY (originator, report_id)
) STRICT, WITHOUT ROWID;
