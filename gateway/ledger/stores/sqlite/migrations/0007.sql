-- Schema version 7: signatures by several nodes on one checkpoint, and the index by which decisions are searched.

-- Who signed: a witness ledger is cosigned by every partner. 'anchor' is the owner's signature, under the log key that
-- took over, on the last checkpoint that it signed under the key before.
ALTER TABLE cosignature RENAME TO cosignature_before;
CREATE TABLE cosignature (
    ledger  INTEGER NOT NULL REFERENCES ledger (id),
    kind    TEXT    NOT NULL CHECK (kind IN ('receipt', 'pq', 'anchor')),
    -- Node code.
    signer  TEXT    NOT NULL,
    size    INTEGER NOT NULL,
    note    BLOB    NOT NULL,
    time_ns INTEGER NOT NULL,
    PRIMARY KEY (ledger, kind, signer, size)
) STRICT, WITHOUT ROWID;
-- An origin line begins 'signalfire/v1/JPN/KOR/': the owner's code stands at 15, the recipient's at 19.
INSERT INTO cosignature
    SELECT c.ledger, c.kind, substr(l.origin, CASE c.kind WHEN 'pq' THEN 15 ELSE 19 END, 3), c.size, c.note, c.time_ns
    FROM cosignature_before AS c JOIN ledger AS l ON l.id = c.ledger;
DROP TABLE cosignature_before;

-- What decisions have in common: a row for each combination that ever occurred. `name` holds rule and agreement, sealed
-- under the node's storage key. An event of the node has neither partner nor outcome, and its kind stands as the rule.
CREATE TABLE verdict (
    id            INTEGER PRIMARY KEY,
    partner       TEXT    NOT NULL,
    originator    TEXT    NOT NULL,  -- empty: this node
    outcome       INTEGER NOT NULL,  -- Outcome
    kind          TEXT    NOT NULL,
    traffic_class INTEGER NOT NULL,
    precedence    INTEGER NOT NULL,
    name          BLOB    NOT NULL
) STRICT;

-- Every decision and every event of the node: when, and where its record stands in a decisions ledger.
CREATE TABLE decision (
    verdict INTEGER NOT NULL REFERENCES verdict (id),
    time_ns INTEGER NOT NULL,
    ledger  INTEGER NOT NULL REFERENCES ledger (id),
    idx     INTEGER NOT NULL,
    PRIMARY KEY (verdict, time_ns, ledger, idx)
) STRICT, WITHOUT ROWID;

-- Records of decisions by what they are about, except those that `report.decision` names: an own report's first one, in
-- the first generation of the decisions ledger.
CREATE TABLE decision_subject (
    report_id BLOB    NOT NULL CHECK (length(report_id) = 16),
    time_ns   INTEGER NOT NULL,
    ledger    INTEGER NOT NULL REFERENCES ledger (id),
    idx       INTEGER NOT NULL,
    event_id  TEXT    NOT NULL,
    PRIMARY KEY (report_id, time_ns, ledger, idx)
) STRICT, WITHOUT ROWID;
CREATE INDEX decision_subject_event ON decision_subject (event_id, time_ns, ledger, idx);

-- Reports of an event, in the order of their decisions.
DROP INDEX report_event;
CREATE INDEX report_event ON report (event_id, accepted_ns, decision);

-- Where the index has still to be made from the decisions ledgers: (number of a ledger, index in it), 8 bytes each.
INSERT INTO meta (key, value)
    SELECT 'decisions to index', zeroblob(16) FROM ledger
    WHERE size > 0 AND replica = 0 AND origin GLOB 'signalfire/v1/*/decisions/*' LIMIT 1;
