-- Schema version 3: the officers' orders.

-- Every order that was put in force, in their one sequence. The payload is an `EnactedOrder`: the order as it was
-- signed, and the files of the bundle that it activated. It is sealed under the node's storage key, so that nobody who
-- reaches the file alone can read a policy there, or add an order.
CREATE TABLE officer_order (
    sequence   INTEGER PRIMARY KEY CHECK (sequence >= 1),
    digest     BLOB    NOT NULL CHECK (length(digest) = 32),
    enacted_ns INTEGER NOT NULL,
    -- Index of its event in the decisions ledger.
    event      INTEGER NOT NULL,
    payload    BLOB    NOT NULL
) STRICT;
