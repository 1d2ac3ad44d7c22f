-- Schema version 8: own reports of which the content was let go.

-- Since when `payload` holds only what is kept of a pruned report. NULL: the report is whole.
ALTER TABLE report ADD COLUMN pruned_ns INTEGER;
