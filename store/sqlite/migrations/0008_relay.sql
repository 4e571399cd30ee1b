-- A relay claims rows of the kinds that it knows, and leaves out queues that are full: however many rows of other kinds and
-- queues wait, it must not have to read them.
CREATE INDEX outbox_lanes ON outbox (kind, queue, claimable_at, id, expires_at) WHERE claimable_at IS NOT NULL;
DROP INDEX outbox_waiting;
