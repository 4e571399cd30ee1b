-- Sweeps: who sweeps, and how far he is. A row is a sweep's lease and its progress. Times are whole Unix microseconds by SQLite's clock.

CREATE TABLE sweeps (
    name        TEXT    NOT NULL PRIMARY KEY,
    holder      TEXT    NOT NULL,
    lease_until INTEGER NOT NULL,
    tick        TEXT    NOT NULL,
    part        TEXT    NOT NULL,
    done        INTEGER NOT NULL,
    due         INTEGER NOT NULL, -- an estimate, 0 where none is needed
    ended       INTEGER NOT NULL CHECK (ended IN (0, 1)),
    began_at    INTEGER NOT NULL,
    told_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The outbox has no index by ended_at, which every INSERT would pay for: its IDs begin with their time, and so do those that ticks name.
CREATE INDEX ticks_row ON ticks (row_id);
CREATE INDEX mails_made ON mails (created_at);
CREATE INDEX user_tokens_expiry ON user_tokens (expires_at);

-- The chain of audit_log begins after its anchor: up to there its links were purged. It moves forward alone, from one link to a later one
-- that is there, and never to the newest: a chain goes on from its last link.
CREATE TABLE audit_anchor (
    id        INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    position  INTEGER NOT NULL CHECK (position >= 1),
    hash      BLOB    NOT NULL CHECK (length(hash) = 32),
    purged_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER audit_anchor_inserted BEFORE INSERT ON audit_anchor
WHEN EXISTS (SELECT 1 FROM audit_anchor) -- REPLACE deletes without firing triggers for it
    OR NOT EXISTS (SELECT 1 FROM audit_log WHERE position = NEW.position AND hash = NEW.hash)
    OR NOT EXISTS (SELECT 1 FROM audit_log WHERE position > NEW.position)
BEGIN
    SELECT RAISE(ABORT, 'audit_log is append-only: its anchor moves to a later link alone, INSERT is refused');
END;

CREATE TRIGGER audit_anchor_updated BEFORE UPDATE ON audit_anchor
WHEN NEW.position <= OLD.position OR NOT EXISTS (SELECT 1 FROM audit_log WHERE position = NEW.position AND hash = NEW.hash)
    OR NOT EXISTS (SELECT 1 FROM audit_log WHERE position > NEW.position)
BEGIN
    SELECT RAISE(ABORT, 'audit_log is append-only: its anchor moves to a later link alone, UPDATE is refused');
END;

CREATE TRIGGER audit_anchor_deleted BEFORE DELETE ON audit_anchor
BEGIN
    SELECT RAISE(ABORT, 'audit_log is append-only: its anchor moves to a later link alone, DELETE is refused');
END;

DROP TRIGGER audit_log_deleted;
CREATE TRIGGER audit_log_deleted BEFORE DELETE ON audit_log
WHEN OLD.position IS NULL OR OLD.position > coalesce((SELECT position FROM audit_anchor), 0)
BEGIN
    SELECT RAISE(ABORT, 'audit_log is append-only: DELETE is refused');
END;
