-- The rest of an account's life: links for a new password or address, mails to owners, devices, locks by hand.

-- Numbers the user's mails: a token and a notice take the next one. It is never given twice, so that a mail that comes late
-- cannot be taken for a later one.
ALTER TABLE users ADD COLUMN mail_generation bigint NOT NULL DEFAULT 0 CHECK (mail_generation >= 0);

-- A lock that an operator set, which neither a success nor a new password lifts.
ALTER TABLE login_state ADD COLUMN by_operator boolean NOT NULL DEFAULT false;

-- When the confirmation mail was asked for last.
ALTER TABLE pending_users ADD COLUMN asked_at timestamptz NOT NULL DEFAULT statement_timestamp();

-- One link at a time for each purpose. A link that was used is gone; one whose time is over waits for the next request.
-- What is asked for and bound changes key_hash, which is indexed: there is nothing to be had from a fillfactor.
CREATE TABLE user_tokens (
    user_id        uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose        text        NOT NULL CHECK (purpose IN ('password_reset', 'email_change')),
    new_email      text        NOT NULL, -- '' but for a change of address
    new_email_norm text        COLLATE "C" NOT NULL,
    nonce          bytea       NOT NULL CHECK (length(nonce) >= 16),
    generation     bigint      NOT NULL CHECK (generation >= 1),
    kid            text,
    key_hash       bytea       UNIQUE CHECK (length(key_hash) = 32),
    asked_at       timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    sent_at        timestamptz,
    PRIMARY KEY (user_id, purpose),
    CHECK ((kid IS NULL) = (key_hash IS NULL)),
    CHECK ((purpose = 'email_change') = (new_email_norm <> ''))
);

CREATE INDEX user_tokens_kid ON user_tokens (kid, expires_at) WHERE kid IS NOT NULL;

-- What an owner is told, and at which address: after a change of address the old one. The next notice deletes those that are over.
CREATE TABLE user_notices (
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    generation bigint      NOT NULL CHECK (generation >= 1),
    mail       text        NOT NULL CHECK (mail <> ''),
    email      text        NOT NULL,
    stage      text        NOT NULL,
    detail     text        NOT NULL, -- for the owner to read: no secret, no address in clear
    told_at    timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, generation)
);

-- Browsers that have logged in before have a counter of their own. Every attempt from one writes here, in place.
CREATE TABLE login_devices (
    token_hash      bytea       PRIMARY KEY CHECK (length(token_hash) = 32),
    user_id         uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    failed_attempts bigint      NOT NULL DEFAULT 0 CHECK (failed_attempts >= 0),
    last_failed_at  timestamptz,
    locked_until    timestamptz,
    refused         bigint      NOT NULL DEFAULT 0 CHECK (refused >= 0),
    expires_at      timestamptz NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX login_devices_user ON login_devices (user_id, expires_at);
