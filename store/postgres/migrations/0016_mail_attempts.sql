-- What a mail server said to each try of a mail. The table mails keeps the last answer alone.
CREATE TABLE mail_attempts (
    mail       text        NOT NULL REFERENCES mails (id) ON DELETE CASCADE,
    try        integer     NOT NULL CHECK (try >= 1), -- mails.tries at its claim; one that is missing ended without a word
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL,
    server     text        NOT NULL, -- its host, '' where it was not said
    stage      text        NOT NULL, -- of SMTP at which it failed, '' where it did not, or not there
    outcome    text        NOT NULL CHECK (outcome <> ''),
    smtp_code  integer     NOT NULL,
    smtp_reply text        NOT NULL,
    cause      text        NOT NULL,
    PRIMARY KEY (mail, try)
);

-- A mail that was not tried, and why: 'domain', 'hour' or 'day' for a limit, 'suppressed' for its address. tries counts the
-- try that is to come, then.
ALTER TABLE mails ADD COLUMN held_by text, ADD COLUMN held_until timestamptz;

-- Addresses that a mail server refused for good. Nothing is sent to them until somebody takes them off.
CREATE TABLE suppressions (
    email_norm    text        PRIMARY KEY CHECK (email_norm <> ''),
    reason        text        NOT NULL CHECK (reason <> ''),
    smtp_code     integer     NOT NULL,
    smtp_reply    text        NOT NULL,
    mail          text        NOT NULL, -- whose refusal it was
    suppressed_at timestamptz NOT NULL DEFAULT statement_timestamp()
);

CREATE INDEX suppressions_newest ON suppressions (suppressed_at DESC, email_norm);

-- The limits of a deployment: 'domain/example.org', 'hour' and 'day'. The row is what their users lock.
CREATE TABLE mail_limits (
    name    text        PRIMARY KEY CHECK (name <> ''),
    next_at timestamptz NOT NULL, -- of a domain: when its bucket is full again
    tail_at timestamptz NOT NULL  -- when the last of those that wait for room is to come back
);

CREATE INDEX mail_limits_idle ON mail_limits (next_at);

-- What the hour and the day have used, by slices of them.
CREATE TABLE mail_usage (
    name     text        NOT NULL REFERENCES mail_limits (name) ON DELETE CASCADE,
    slice_at timestamptz NOT NULL, -- its begin
    taken    integer     NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (name, slice_at)
);
