-- Jobs: the outbox, the ledger of effects, mails and the quarantine. Effects are text, because a job that does not come
-- from the outbox names its own; what the outbox and accounts name are UUIDs, at half the size.

CREATE TABLE outbox (
    id          uuid        PRIMARY KEY,
    kind        text        NOT NULL,
    queue       text        NOT NULL,
    payload     bytea       NOT NULL, -- arguments in JSON, to the byte
    headers     bytea       NOT NULL, -- JSON: pairs of name and value in base64, sorted
    retries     integer     NOT NULL CHECK (retries >= 0),
    unique_key  text        UNIQUE CHECK (unique_key <> ''), -- NULL once the row has ended
    state       text        NOT NULL DEFAULT 'queued'
                CHECK (state IN ('queued', 'claimed', 'enqueued', 'done', 'refused', 'dead', 'expired')),
    attempts    integer     NOT NULL DEFAULT 1 CHECK (attempts >= 1), -- to enqueue it
    failures    integer     NOT NULL DEFAULT 0 CHECK (failures >= 0), -- of its handler, over all attempts
    try_after   timestamptz, -- a failure before then is not counted
    not_before  timestamptz NOT NULL, -- when the job may run
    -- queued and claimed: since when it waits to be enqueued. enqueued: since when its task may be missed.
    next_at     timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    lease_until timestamptz,
    lease_token text,
    cause       text        NOT NULL DEFAULT '', -- what went wrong last
    created_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    ended_at    timestamptz,
    CHECK ((state = 'claimed') = (lease_token IS NOT NULL)),
    CHECK ((state = 'claimed') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('queued', 'claimed', 'enqueued')) = (ended_at IS NULL)),
    CHECK (unique_key IS NULL OR ended_at IS NULL)
) WITH (fillfactor = 70);

-- Small however many rows have ended: each holds unfinished rows only.
CREATE INDEX outbox_waiting ON outbox (coalesce(lease_until, next_at), id) WHERE state IN ('queued', 'claimed');
CREATE INDEX outbox_enqueued ON outbox (next_at) WHERE state = 'enqueued';
CREATE INDEX outbox_unfinished ON outbox (expires_at) WHERE state IN ('queued', 'claimed', 'enqueued');

CREATE TABLE ledger (
    kind       text        NOT NULL,
    effect_id  text        NOT NULL,
    done_at    timestamptz NOT NULL DEFAULT statement_timestamp(),
    keep_until timestamptz NOT NULL, -- until then a signature for the effect might be accepted
    PRIMARY KEY (kind, effect_id)
);

CREATE INDEX ledger_expiry ON ledger (keep_until);

CREATE TABLE mails (
    id          text        PRIMARY KEY, -- the effect's ID
    pending_id  uuid        NOT NULL,
    generation  bigint      NOT NULL,
    message_id  text        NOT NULL UNIQUE,
    created_at  timestamptz NOT NULL DEFAULT statement_timestamp(), -- the mail's date, the same for every try
    tries       integer     NOT NULL DEFAULT 1 CHECK (tries >= 1),
    lease_until timestamptz,
    lease_token text,
    smtp_code   integer,
    smtp_reply  text,
    cause       text        NOT NULL DEFAULT '', -- what went wrong last
    sent_at     timestamptz,
    CHECK ((lease_until IS NULL) = (lease_token IS NULL))
);

CREATE INDEX mails_pending ON mails (pending_id);

CREATE TABLE quarantine (
    id             text        PRIMARY KEY,
    task_id        text        NOT NULL,
    queue          text        NOT NULL,
    kind           text        NOT NULL,
    headers        bytea       NOT NULL, -- JSON: pairs of name and value in base64, sorted
    max_retry      bigint      NOT NULL,
    payload        bytea       NOT NULL,
    size           bigint      NOT NULL CHECK (size >= 0),
    payload_sha256 bytea       NOT NULL CHECK (length(payload_sha256) = 32),
    reason         text        NOT NULL,
    kid            text        NOT NULL,
    detail         text        NOT NULL,
    authentic      boolean     NOT NULL,
    row_id         text        NOT NULL,
    attempt        bigint      NOT NULL,
    received_at    timestamptz NOT NULL
);

CREATE INDEX quarantine_received ON quarantine (received_at, id);

ALTER TABLE outbox SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE ledger SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);
