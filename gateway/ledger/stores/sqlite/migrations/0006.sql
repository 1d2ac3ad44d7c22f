-- Schema version 6: what was released and is kept back.

-- Entries of own ledgers that their recipient is given as hashes alone, since they may not go any more. The entry itself
-- stays in its segment. The note is this node's signed reason, which is served whenever the entry is asked for.
CREATE TABLE kept_back (
    ledger INTEGER NOT NULL REFERENCES ledger (id),
    idx    INTEGER NOT NULL,
    reason TEXT    NOT NULL,
    note   BLOB    NOT NULL,
    PRIMARY KEY (ledger, idx)
) STRICT, WITHOUT ROWID;

-- Of an own ledger that has ended: how many of its entries were confirmed then. Those above stand in its successor
-- again, as far as they are reports and withdrawals.
ALTER TABLE ledger ADD COLUMN agreed INTEGER CHECK (agreed >= 0);
UPDATE ledger SET agreed = coalesce(
    (SELECT max(cosignature.size) FROM cosignature WHERE cosignature.ledger = ledger.id AND cosignature.kind = 'receipt'),
    0
) WHERE replica = 0 AND successor IS NOT NULL;
