-- Which key signed a row's task last, and when, so that one person's mail can be explained when Redis has forgotten the task.
-- NULL in rows that were enqueued before this.
ALTER TABLE outbox ADD COLUMN kid text, ADD COLUMN signed_at timestamptz;
