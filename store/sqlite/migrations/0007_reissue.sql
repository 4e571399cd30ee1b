-- A row that ended may be reissued: it takes its unique key back, if no other has it meanwhile.
ALTER TABLE outbox ADD COLUMN ended_key TEXT; -- the unique key that the row had when it ended
