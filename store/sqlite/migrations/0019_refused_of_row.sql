-- What was refused under a row's name is asked for whenever somebody follows a mail, however full the quarantine is. Rows' IDs have 36
-- characters; what a forger calls his tasks may be of any length.
CREATE INDEX quarantine_row ON quarantine (substr(row_id, 1, 36)) WHERE row_id <> '';
CREATE INDEX quarantine_task ON quarantine (substr(task_id, 1, 37));
