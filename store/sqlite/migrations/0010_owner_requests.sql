-- What somebody who is not logged in asks for by an address: a link for a new password, say. Whether the address has an account is looked up
-- by a worker, so that neither the answer nor its time tells. A row throttles the next request for the address, is answered once, and is swept
-- when its time is over.
CREATE TABLE owner_requests (
    email_norm  TEXT    NOT NULL,
    mail        TEXT    NOT NULL CHECK (mail <> ''), -- what was asked for
    id          TEXT    NOT NULL UNIQUE,             -- of the last request; one that it replaced is answered by it
    asked_at    INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    answered_at INTEGER,
    PRIMARY KEY (email_norm, mail)
) STRICT, WITHOUT ROWID;

CREATE INDEX owner_requests_expiry ON owner_requests (expires_at);
