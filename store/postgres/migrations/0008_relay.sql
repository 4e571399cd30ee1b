-- A relay claims rows of the kinds that it knows, and leaves out queues that are full: however many rows of other kinds and
-- queues wait, it must not have to read them.
CREATE INDEX outbox_lanes ON outbox (kind, queue, coalesce(lease_until, next_at), id) WHERE state IN ('queued', 'claimed');
DROP INDEX outbox_waiting;
