-- Schema version 9: what partners gave back of own ledgers.

-- Recovery records that came back with the entries that hold them, each a `SealedRecovery` under the nation's recovery
-- key. `ledger` is the origin line of the ledger that they were sealed in: of one that has forked this store may hold
-- other entries. `key_idx` is the index of the record that holds the key.
CREATE TABLE recovery (
    ledger  TEXT    NOT NULL,
    idx     INTEGER NOT NULL,
    key_idx INTEGER NOT NULL,
    sealed  BLOB    NOT NULL,
    rebuilt INTEGER NOT NULL CHECK (rebuilt IN (0, 1)),
    PRIMARY KEY (ledger, idx)
) STRICT, WITHOUT ROWID;

-- Own reports that are known to have been accepted, and whose content is lost: by who submitted them.
CREATE INDEX report_lost ON report (submitted_by) WHERE payload = x'';
