-- Times are whole Unix microseconds by SQLite's clock.

CREATE TABLE outbox (
    id           TEXT    NOT NULL PRIMARY KEY,
    kind         TEXT    NOT NULL,
    queue        TEXT    NOT NULL,
    payload      BLOB    NOT NULL,
    retries      INTEGER NOT NULL CHECK (retries >= 0),
    headers      TEXT    NOT NULL CHECK (json_valid(headers)), -- pairs of name and value in base64, sorted
    unique_key   TEXT    UNIQUE CHECK (unique_key <> ''), -- NULL once the row has ended
    state        TEXT    NOT NULL DEFAULT 'queued'
                 CHECK (state IN ('queued', 'claimed', 'enqueued', 'done', 'refused', 'dead', 'expired')),
    attempts     INTEGER NOT NULL DEFAULT 1 CHECK (attempts >= 1), -- to enqueue it
    failures     INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0), -- of its handler, over all attempts
    try_after    INTEGER, -- a failure before then is not counted
    not_before   INTEGER NOT NULL, -- when the job may run
    -- queued and claimed: since when it waits to be enqueued. enqueued: since when its task may be missed.
    next_at      INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    lease_until  INTEGER,
    lease_token  TEXT,
    cause        TEXT    NOT NULL DEFAULT '', -- what went wrong last
    created_at   INTEGER NOT NULL,
    ended_at     INTEGER,
    claimable_at INTEGER GENERATED ALWAYS AS (CASE state WHEN 'queued' THEN next_at WHEN 'claimed' THEN lease_until END) VIRTUAL,
    CHECK ((state = 'claimed') = (lease_token IS NOT NULL)),
    CHECK ((state = 'claimed') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('queued', 'claimed', 'enqueued')) = (ended_at IS NULL)),
    CHECK (unique_key IS NULL OR ended_at IS NULL)
) STRICT;

-- Small however many rows have ended: each holds unfinished rows only.
CREATE INDEX outbox_waiting ON outbox (claimable_at, id, expires_at) WHERE claimable_at IS NOT NULL;
CREATE INDEX outbox_progress ON outbox (state, next_at, expires_at) WHERE ended_at IS NULL; -- what is overdue, and how deep it is
CREATE INDEX outbox_unfinished ON outbox (expires_at, state) WHERE ended_at IS NULL;

CREATE TABLE mails (
    id          TEXT    NOT NULL PRIMARY KEY, -- the effect's ID
    pending_id  TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    message_id  TEXT    NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL, -- the mail's date, the same for every try
    tries       INTEGER NOT NULL DEFAULT 1 CHECK (tries >= 1),
    lease_until INTEGER,
    lease_token TEXT,
    smtp_code   INTEGER,
    smtp_reply  TEXT,
    cause       TEXT    NOT NULL DEFAULT '', -- what went wrong last
    sent_at     INTEGER,
    CHECK ((lease_until IS NULL) = (lease_token IS NULL))
) STRICT;

CREATE INDEX mails_pending ON mails (pending_id);

CREATE TABLE ledger (
    kind       TEXT    NOT NULL,
    effect_id  TEXT    NOT NULL,
    done_at    INTEGER NOT NULL,
    keep_until INTEGER NOT NULL,
    PRIMARY KEY (kind, effect_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX ledger_expiry ON ledger (keep_until);

CREATE TABLE quarantine (
    id             TEXT    NOT NULL PRIMARY KEY,
    task_id        TEXT    NOT NULL,
    queue          TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    headers        TEXT    NOT NULL CHECK (json_valid(headers)), -- as in outbox
    max_retry      INTEGER NOT NULL,
    payload        BLOB    NOT NULL,
    size           INTEGER NOT NULL CHECK (size >= 0),
    payload_sha256 BLOB    NOT NULL CHECK (length(payload_sha256) = 32),
    reason         TEXT    NOT NULL,
    kid            TEXT    NOT NULL,
    detail         TEXT    NOT NULL,
    authentic      INTEGER NOT NULL CHECK (authentic IN (0, 1)),
    row_id         TEXT    NOT NULL,
    attempt        INTEGER NOT NULL,
    received_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX quarantine_received ON quarantine (received_at, id);
