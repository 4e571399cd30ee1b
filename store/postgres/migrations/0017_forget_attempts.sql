-- Attempts on addresses that nobody has leave rows, which are deleted when they count no more. They are found by the day (UTC) of the last attempt, because
-- no index may cover what each attempt changes: see login_state. The rows that are there begin with today, which rewrites none of them.
ALTER TABLE login_state ADD COLUMN attempted_on date NOT NULL DEFAULT (statement_timestamp() AT TIME ZONE 'UTC')::date;
CREATE INDEX login_state_attempted ON login_state (attempted_on) WHERE locked_until IS NULL;
