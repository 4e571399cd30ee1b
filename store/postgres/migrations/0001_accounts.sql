-- Accounts. E-mail addresses are compared byte by byte: package accounts has folded email_norm already, so the
-- columns need neither citext nor a collation that knows a language ("C" is also the cheapest to compare).

CREATE TABLE users (
    id                   uuid        PRIMARY KEY,
    email                text        NOT NULL, -- as given: where mail goes
    email_norm           text        COLLATE "C" NOT NULL UNIQUE,
    password_hash        text        NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT statement_timestamp(),
    disabled_at          timestamptz,
    sessions_valid_after timestamptz
);

CREATE TABLE user_roles (
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role       text        NOT NULL CHECK (role <> ''),
    granted_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (user_id, role)
);

-- Rows exist for addresses without an account too, so that their answers look alike. Every attempt writes here:
-- room is left on the pages, and no index covers what an attempt changes, so that PostgreSQL updates in place (HOT).
CREATE TABLE login_state (
    email_norm      text        COLLATE "C" PRIMARY KEY,
    failed_attempts bigint      NOT NULL CHECK (failed_attempts >= 0),
    last_failed_at  timestamptz,
    locked_until    timestamptz,
    -- How many of the attempts were refused unseen since the lock began. 0: the last attempt was allowed. The
    -- charging statement tells by it what the row was before (RETURNING knows only the new row before PostgreSQL 18).
    refused         bigint      NOT NULL DEFAULT 0 CHECK (refused >= 0)
) WITH (fillfactor = 70);

CREATE INDEX login_state_locked ON login_state (locked_until) WHERE locked_until IS NOT NULL;

CREATE TABLE pending_users (
    id            uuid        PRIMARY KEY,
    email_norm    text        COLLATE "C" NOT NULL UNIQUE,
    email         text        NOT NULL,
    password_hash text        NOT NULL,
    nonce         bytea       NOT NULL CHECK (length(nonce) >= 16),
    generation    bigint      NOT NULL CHECK (generation >= 1),
    kid           text,
    key_hash      bytea       UNIQUE CHECK (length(key_hash) = 32),
    created_at    timestamptz NOT NULL DEFAULT statement_timestamp(),
    expires_at    timestamptz NOT NULL,
    sent_at       timestamptz,
    resend_count  bigint      NOT NULL DEFAULT 0 CHECK (resend_count >= 0),
    CHECK ((kid IS NULL) = (key_hash IS NULL))
);

CREATE INDEX pending_users_expiry ON pending_users (expires_at);

-- Sweeps walk an index from its oldest end, where dead entries pile up: an empty sweep over them took 12 s until they
-- were vacuumed. So these tables are vacuumed after 1,000 dead rows and 1 %, and not after the default's 20 %.
ALTER TABLE pending_users SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE login_state SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);
