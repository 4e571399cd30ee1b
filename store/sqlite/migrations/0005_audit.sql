-- Who changed what. An entry is written in the transaction of its change; position and hash are set once, when it is linked into
-- the chain (package audit), and nothing else ever changes. Times are whole Unix microseconds by SQLite's clock.

CREATE TABLE audit_log (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, -- so that the ID of a last entry that was taken out is not given again
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL CHECK (actor <> ''),
    action   TEXT    NOT NULL CHECK (action <> ''),
    subject  TEXT    NOT NULL,
    detail   TEXT    NOT NULL,
    position INTEGER UNIQUE CHECK (position >= 1), -- in the chain; NULL until it is linked
    hash     BLOB    CHECK (length(hash) = 32),
    CHECK ((position IS NULL) = (hash IS NULL))
) STRICT;

-- What the linker looks for, each second.
CREATE INDEX audit_log_unlinked ON audit_log (id) WHERE position IS NULL;
CREATE INDEX audit_log_subject ON audit_log (subject, id);

-- REPLACE deletes without firing triggers for it: an ID that is there is refused before.
CREATE TRIGGER audit_log_inserted BEFORE INSERT ON audit_log
WHEN NEW.position IS NOT NULL OR EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'audit_log is append-only: INSERT is refused');
END;

CREATE TRIGGER audit_log_updated BEFORE UPDATE ON audit_log
WHEN OLD.position IS NOT NULL OR NEW.position IS NOT 1 + coalesce((SELECT max(position) FROM audit_log), 0) -- one after another
    OR (NEW.id, NEW.at, NEW.actor, NEW.action, NEW.subject, NEW.detail) IS NOT (OLD.id, OLD.at, OLD.actor, OLD.action, OLD.subject, OLD.detail)
BEGIN
    SELECT RAISE(ABORT, 'audit_log is append-only: UPDATE is refused');
END;

CREATE TRIGGER audit_log_deleted BEFORE DELETE ON audit_log
BEGIN
    SELECT RAISE(ABORT, 'audit_log is append-only: DELETE is refused');
END;
