-- Who operates the deployment through the dashboard: people who are no users of the app. Their failed attempts are counted in
-- login_state, under names that no address can have ('operator:…').
CREATE TABLE operators (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE CHECK (name <> ''),
    password_hash TEXT    NOT NULL,
    role          TEXT    NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at    INTEGER NOT NULL,
    disabled_at   INTEGER,
    logged_in_at  INTEGER -- the last time
) STRICT;

CREATE TABLE operator_sessions (
    token_hash  BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    id          TEXT    NOT NULL UNIQUE, -- which names it to people
    operator_id TEXT    NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    complete    INTEGER NOT NULL CHECK (complete IN (0, 1)), -- 0: the password was right, and the code is still wanted
    created_at  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    agent       TEXT    NOT NULL, -- what the browser calls itself
    remote      TEXT    NOT NULL, -- where it connected from
    proposal    BLOB    CHECK (length(proposal) >= 16) -- the secret of codes that this session was shown, and has not proved yet
) STRICT;

CREATE INDEX operator_sessions_operator ON operator_sessions (operator_id);
CREATE INDEX operator_sessions_expiry ON operator_sessions (expires_at);

-- The secret of time-based codes (RFC 6238), which the server needs as it is. last_step is that of the last code that was
-- taken: none is taken twice, and none that is older.
CREATE TABLE totp (
    operator_id  TEXT    NOT NULL PRIMARY KEY REFERENCES operators (id) ON DELETE CASCADE,
    secret       BLOB    NOT NULL CHECK (length(secret) >= 16),
    last_step    INTEGER NOT NULL CHECK (last_step >= 0),
    confirmed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE recovery_codes (
    operator_id TEXT NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    code_hash   BLOB NOT NULL CHECK (length(code_hash) = 32),
    PRIMARY KEY (operator_id, code_hash)
) STRICT;

-- What scripts show in place of a session. One never can more than whose it is.
CREATE TABLE api_keys (
    hash        BLOB    NOT NULL PRIMARY KEY CHECK (length(hash) = 32),
    id          TEXT    NOT NULL UNIQUE,
    operator_id TEXT    NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL CHECK (name <> ''),
    role        TEXT    NOT NULL CHECK (role IN ('viewer', 'operator')),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    used_at     INTEGER,
    revoked_at  INTEGER
) STRICT;

CREATE INDEX api_keys_operator ON api_keys (operator_id);

-- What stands in quarantine, by queue and reason, without reading any payload.
CREATE INDEX quarantine_groups ON quarantine (queue, reason, authentic, received_at) WHERE released_at IS NULL;
