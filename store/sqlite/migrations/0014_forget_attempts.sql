-- Attempts on addresses that nobody has leave rows, which are deleted when they count no more.
CREATE INDEX login_state_failed ON login_state (last_failed_at) WHERE locked_until IS NULL;
