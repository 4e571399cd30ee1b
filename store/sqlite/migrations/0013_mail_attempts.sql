-- What a mail server said to each try of a mail. The table mails keeps the last answer alone.
CREATE TABLE mail_attempts (
    mail       TEXT    NOT NULL REFERENCES mails (id) ON DELETE CASCADE,
    try        INTEGER NOT NULL CHECK (try >= 1), -- mails.tries at its claim; one that is missing ended without a word
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    server     TEXT    NOT NULL, -- its host, '' where it was not said
    stage      TEXT    NOT NULL, -- of SMTP at which it failed, '' where it did not, or not there
    outcome    TEXT    NOT NULL CHECK (outcome <> ''),
    smtp_code  INTEGER NOT NULL,
    smtp_reply TEXT    NOT NULL,
    cause      TEXT    NOT NULL,
    PRIMARY KEY (mail, try)
) STRICT, WITHOUT ROWID;

-- A mail that was not tried, and why: 'domain', 'hour' or 'day' for a limit, 'suppressed' for its address. tries counts the
-- try that is to come, then.
ALTER TABLE mails ADD COLUMN held_by TEXT;
ALTER TABLE mails ADD COLUMN held_until INTEGER;

-- Addresses that a mail server refused for good. Nothing is sent to them until somebody takes them off.
CREATE TABLE suppressions (
    email_norm    TEXT    NOT NULL PRIMARY KEY CHECK (email_norm <> ''),
    reason        TEXT    NOT NULL CHECK (reason <> ''),
    smtp_code     INTEGER NOT NULL,
    smtp_reply    TEXT    NOT NULL,
    mail          TEXT    NOT NULL, -- whose refusal it was
    suppressed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX suppressions_newest ON suppressions (suppressed_at DESC, email_norm);

-- The limits of a deployment: 'domain/example.org', 'hour' and 'day'.
CREATE TABLE mail_limits (
    name    TEXT    NOT NULL PRIMARY KEY CHECK (name <> ''),
    next_at INTEGER NOT NULL, -- of a domain: when its bucket is full again
    tail_at INTEGER NOT NULL  -- when the last of those that wait for room is to come back
) STRICT, WITHOUT ROWID;

CREATE INDEX mail_limits_idle ON mail_limits (next_at);

-- What the hour and the day have used, by slices of them.
CREATE TABLE mail_usage (
    name     TEXT    NOT NULL REFERENCES mail_limits (name) ON DELETE CASCADE,
    slice_at INTEGER NOT NULL, -- its begin
    taken    INTEGER NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (name, slice_at)
) STRICT, WITHOUT ROWID;
