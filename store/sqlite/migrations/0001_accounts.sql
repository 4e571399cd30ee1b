-- Times are whole Unix microseconds by SQLite's clock. E-mail addresses are compared byte by byte: package accounts
-- has folded email_norm already.

CREATE TABLE users (
    id                   TEXT    NOT NULL PRIMARY KEY,
    email                TEXT    NOT NULL, -- as given: where mail goes
    email_norm           TEXT    NOT NULL UNIQUE,
    password_hash        TEXT    NOT NULL,
    created_at           INTEGER NOT NULL,
    disabled_at          INTEGER,
    sessions_valid_after INTEGER
) STRICT;

CREATE TABLE user_roles (
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role       TEXT    NOT NULL CHECK (role <> ''),
    granted_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, role)
) STRICT, WITHOUT ROWID;

-- Rows exist for addresses without an account too, so that their answers look alike.
CREATE TABLE login_state (
    email_norm      TEXT    NOT NULL PRIMARY KEY,
    failed_attempts INTEGER NOT NULL CHECK (failed_attempts >= 0),
    last_failed_at  INTEGER,
    locked_until    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX login_state_locked ON login_state (locked_until) WHERE locked_until IS NOT NULL;

CREATE TABLE pending_users (
    id            TEXT    NOT NULL PRIMARY KEY,
    email_norm    TEXT    NOT NULL UNIQUE,
    email         TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    nonce         BLOB    NOT NULL CHECK (length(nonce) >= 16),
    generation    INTEGER NOT NULL CHECK (generation >= 1),
    kid           TEXT,
    key_hash      BLOB    UNIQUE CHECK (length(key_hash) = 32),
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    sent_at       INTEGER,
    resend_count  INTEGER NOT NULL DEFAULT 0 CHECK (resend_count >= 0),
    CHECK ((kid IS NULL) = (key_hash IS NULL))
) STRICT;

CREATE INDEX pending_users_expiry ON pending_users (expires_at);
