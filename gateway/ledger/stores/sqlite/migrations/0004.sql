-- Schema version 4: reports that are held, withdrawals that wait, and what each release rests on.

-- A report that waits to be decided again for one partner. `originator` is empty for this node's own.
CREATE TABLE held (
    originator TEXT    NOT NULL,
    report_id  BLOB    NOT NULL CHECK (length(report_id) = 16),
    partner    TEXT    NOT NULL,
    due_ns     INTEGER NOT NULL,
    PRIMARY KEY (originator, report_id, partner)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_due ON held (due_ns);

-- A withdrawal that a partner has still to be told: of a recall too large for one commit, or of a partner who is
-- suspended or whose keys are not known.
CREATE TABLE untold (
    seq        INTEGER PRIMARY KEY,
    originator TEXT    NOT NULL,
    report_id  BLOB    NOT NULL CHECK (length(report_id) = 16),
    partner    TEXT    NOT NULL,
    UNIQUE (originator, report_id, partner)
) STRICT;
CREATE INDEX untold_partner ON untold (partner, seq);

-- Releases now say whose report it is (empty: this node's own) and which agreement they rest on (empty: none).
ALTER TABLE released RENAME TO released_before;
CREATE TABLE released (
    originator    TEXT    NOT NULL,
    report_id     BLOB    NOT NULL CHECK (length(report_id) = 16),
    partner       TEXT    NOT NULL,
    ledger        INTEGER NOT NULL REFERENCES ledger (id),
    idx           INTEGER NOT NULL,
    traffic_class INTEGER NOT NULL,
    precedence    INTEGER NOT NULL,
    agreement     TEXT    NOT NULL,
    withdrawn_ns  INTEGER,
    PRIMARY KEY (originator, report_id, partner)
) STRICT, WITHOUT ROWID;
INSERT INTO released
    SELECT '', report_id, partner, ledger, idx, traffic_class, precedence, '', withdrawn_ns FROM released_before;
DROP TABLE released_before;
CREATE INDEX released_place ON released (ledger, idx);
