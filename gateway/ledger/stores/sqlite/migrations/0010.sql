-- Schema version 10: on which agreements the releases in a part of a ledger rest is read from one index alone; their rows
-- are scattered by report.

DROP INDEX released_place;
CREATE INDEX released_place ON released (ledger, idx, agreement);
