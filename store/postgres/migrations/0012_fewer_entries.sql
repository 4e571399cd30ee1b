-- An application waits for its insert of a row into the outbox, and pays for every index of that, also for a partial one that the row
-- does not enter. A row that waits for a relay has two entries now, of the primary key and of its lane: ExpireRows finds it in the
-- lane, at the front. Once it is enqueued, its end stands beside its due time. Names of kinds and queues are compared byte by
-- byte, whatever the database's language.
DROP INDEX outbox_unfinished;
DROP INDEX outbox_lanes;
DROP INDEX outbox_enqueued;
ALTER TABLE outbox ALTER COLUMN kind TYPE text COLLATE "C", ALTER COLUMN queue TYPE text COLLATE "C";
CREATE INDEX outbox_enqueued ON outbox (next_at, expires_at) WHERE state = 'enqueued';
CREATE INDEX outbox_lanes ON outbox (kind, queue, coalesce(lease_until, next_at), id) WHERE state IN ('queued', 'claimed');
