-- Schema version 2: what is known of a partner's report says of which traffic class and precedence it is, so that a
-- withdrawal is compared with its report whichever of the two comes first.

ALTER TABLE received ADD COLUMN traffic_class INTEGER NOT NULL DEFAULT 0;
ALTER TABLE received ADD COLUMN precedence    INTEGER NOT NULL DEFAULT 0;

-- For this migration alone: rows that stand already take both from what came first.
CREATE INDEX feed_subject ON feed (originator, report_id, seq);
UPDATE received SET (traffic_class, precedence) = (
    SELECT feed.traffic_class, feed.precedence FROM feed
    WHERE feed.originator = received.originator AND feed.report_id = received.report_id
    ORDER BY feed.seq LIMIT 1
);
DROP INDEX feed_subject;
