-- What was refused under a row's name is asked for whenever somebody follows a mail, however full the quarantine is. Rows' IDs have 36
-- characters; what a forger calls his tasks may be longer than an index holds.
CREATE INDEX quarantine_row ON quarantine (left(row_id, 36)) WHERE row_id <> '';
CREATE INDEX quarantine_task ON quarantine (left(task_id, 37));
