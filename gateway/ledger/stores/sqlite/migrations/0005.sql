-- Schema version 5: a partner's report can arrive by several ways: from its originator, and passed on by others.

-- What each of them brought and withdrew. `via` is the owner of the ledger that it came in. A copy that has not arrived
-- has no place; its row then keeps a withdrawal that overtook it.
CREATE TABLE copy (
    originator    TEXT    NOT NULL,
    report_id     BLOB    NOT NULL CHECK (length(report_id) = 16),
    via           TEXT    NOT NULL,
    ledger        INTEGER REFERENCES ledger (id),
    idx           INTEGER,
    received_ns   INTEGER,
    withdrawn_ns  INTEGER,
    traffic_class INTEGER NOT NULL,
    precedence    INTEGER NOT NULL,
    PRIMARY KEY (originator, report_id, via)
) STRICT, WITHOUT ROWID;
INSERT INTO copy
    SELECT r.originator, r.report_id, r.originator, f.ledger, f.idx, f.received_ns, r.withdrawn_ns,
           r.traffic_class, r.precedence
    FROM received AS r LEFT JOIN feed AS f ON f.seq = r.feed;
