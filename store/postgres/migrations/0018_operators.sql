-- Who operates the deployment through the dashboard: people who are no users of the app. Their failed attempts are counted in
-- login_state, under names that no address can have ('operator:…').
CREATE TABLE operators (
    id            uuid        PRIMARY KEY,
    name          text        COLLATE "C" NOT NULL UNIQUE CHECK (name <> ''),
    password_hash text        NOT NULL,
    role          text        NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    created_at    timestamptz NOT NULL DEFAULT statement_timestamp(),
    disabled_at   timestamptz,
    logged_in_at  timestamptz -- the last time
);

CREATE TABLE operator_sessions (
    token_hash  bytea       PRIMARY KEY CHECK (length(token_hash) = 32),
    id          uuid        NOT NULL UNIQUE, -- which names it to people
    operator_id uuid        NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    complete    boolean     NOT NULL, -- false: the password was right, and the code is still wanted
    created_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    seen_at     timestamptz NOT NULL DEFAULT statement_timestamp(),
    expires_at  timestamptz NOT NULL,
    agent       text        NOT NULL, -- what the browser calls itself
    remote      text        NOT NULL, -- where it connected from
    proposal    bytea       CHECK (length(proposal) >= 16) -- the secret of codes that this session was shown, and has not proved yet
);

CREATE INDEX operator_sessions_operator ON operator_sessions (operator_id);
CREATE INDEX operator_sessions_expiry ON operator_sessions (expires_at);

-- The secret of time-based codes (RFC 6238), which the server needs as it is. last_step is that of the last code that was
-- taken: none is taken twice, and none that is older.
CREATE TABLE totp (
    operator_id  uuid        PRIMARY KEY REFERENCES operators (id) ON DELETE CASCADE,
    secret       bytea       NOT NULL CHECK (length(secret) >= 16),
    last_step    bigint      NOT NULL CHECK (last_step >= 0),
    confirmed_at timestamptz NOT NULL DEFAULT statement_timestamp()
);

CREATE TABLE recovery_codes (
    operator_id uuid  NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    code_hash   bytea NOT NULL CHECK (length(code_hash) = 32),
    PRIMARY KEY (operator_id, code_hash)
);

-- What scripts show in place of a session. One never can more than whose it is.
CREATE TABLE api_keys (
    hash        bytea       PRIMARY KEY CHECK (length(hash) = 32),
    id          uuid        NOT NULL UNIQUE,
    operator_id uuid        NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    name        text        NOT NULL CHECK (name <> ''),
    role        text        NOT NULL CHECK (role IN ('viewer', 'operator')),
    created_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    expires_at  timestamptz NOT NULL,
    used_at     timestamptz,
    revoked_at  timestamptz
);

CREATE INDEX api_keys_operator ON api_keys (operator_id);

-- What stands in quarantine, by queue and reason, without reading any payload.
CREATE INDEX quarantine_groups ON quarantine (queue, reason, authentic, received_at) WHERE released_at IS NULL;
