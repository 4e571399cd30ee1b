-- The rest of an account's life: links for a new password or address, mails to owners, devices, locks by hand.

-- Numbers the user's mails: a token and a notice take the next one. It is never given twice, so that a mail that comes late
-- cannot be taken for a later one.
ALTER TABLE users ADD COLUMN mail_generation INTEGER NOT NULL DEFAULT 0 CHECK (mail_generation >= 0);

-- A lock that an operator set, which neither a success nor a new password lifts.
ALTER TABLE login_state ADD COLUMN by_operator INTEGER NOT NULL DEFAULT 0;

-- When the confirmation mail was asked for last.
ALTER TABLE pending_users ADD COLUMN asked_at INTEGER NOT NULL DEFAULT 0;

-- One link at a time for each purpose. A link that was used is gone; one whose time is over waits for the next request.
CREATE TABLE user_tokens (
    user_id        TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose        TEXT    NOT NULL CHECK (purpose IN ('password_reset', 'email_change')),
    new_email      TEXT    NOT NULL, -- '' but for a change of address
    new_email_norm TEXT    NOT NULL,
    nonce          BLOB    NOT NULL CHECK (length(nonce) >= 16),
    generation     INTEGER NOT NULL CHECK (generation >= 1),
    kid            TEXT,
    key_hash       BLOB    UNIQUE CHECK (length(key_hash) = 32),
    asked_at       INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    sent_at        INTEGER,
    PRIMARY KEY (user_id, purpose),
    CHECK ((kid IS NULL) = (key_hash IS NULL)),
    CHECK ((purpose = 'email_change') = (new_email_norm <> ''))
) STRICT;

CREATE INDEX user_tokens_kid ON user_tokens (kid, expires_at) WHERE kid IS NOT NULL;

-- What an owner is told, and at which address: after a change of address the old one. The next notice deletes those that are over.
CREATE TABLE user_notices (
    user_id    TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    generation INTEGER NOT NULL CHECK (generation >= 1),
    mail       TEXT    NOT NULL CHECK (mail <> ''),
    email      TEXT    NOT NULL,
    stage      TEXT    NOT NULL,
    detail     TEXT    NOT NULL, -- for the owner to read: no secret, no address in clear
    told_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, generation)
) STRICT, WITHOUT ROWID;

-- Browsers that have logged in before have a counter of their own.
CREATE TABLE login_devices (
    token_hash      BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    failed_attempts INTEGER NOT NULL DEFAULT 0 CHECK (failed_attempts >= 0),
    last_failed_at  INTEGER,
    locked_until    INTEGER,
    expires_at      INTEGER NOT NULL
) STRICT;

CREATE INDEX login_devices_user ON login_devices (user_id, expires_at);
