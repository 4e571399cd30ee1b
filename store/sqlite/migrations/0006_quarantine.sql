-- The quarantine is bounded, and its entries can be released. Times are whole Unix microseconds by SQLite's clock.

ALTER TABLE quarantine ADD COLUMN charged INTEGER NOT NULL DEFAULT 0 CHECK (charged >= 0); -- bytes, as the budget counts them
ALTER TABLE quarantine ADD COLUMN class TEXT NOT NULL DEFAULT 'unverified' CHECK (class IN ('unverified', 'moved', 'reserved')); -- whose budget
ALTER TABLE quarantine ADD COLUMN released_at INTEGER;
ALTER TABLE quarantine ADD COLUMN released_as TEXT CHECK ((released_at IS NULL) = (released_as IS NULL)); -- the ID of the outbox row that a release made

UPDATE quarantine SET charged = 512 + length(payload) + length(headers), class = CASE
    WHEN NOT authentic THEN 'unverified'
    WHEN reason IN ('must_be_encrypted', 'issued_in_future', 'lifetime_exceeded', 'bad_payload') THEN 'reserved'
    ELSE 'moved' END;

-- How much there is, kept by triggers, so that nobody counts rows.
CREATE TABLE quarantine_totals (
    class   TEXT    NOT NULL PRIMARY KEY,
    entries INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) STRICT;

INSERT INTO quarantine_totals (class, entries, bytes)
SELECT c.class, count(q.id), coalesce(sum(q.charged), 0)
FROM (SELECT 'unverified' AS class UNION ALL SELECT 'moved' UNION ALL SELECT 'reserved') AS c LEFT JOIN quarantine AS q ON q.class = c.class
GROUP BY c.class;

CREATE TRIGGER quarantine_kept AFTER INSERT ON quarantine
BEGIN
    UPDATE quarantine_totals SET entries = entries + 1, bytes = bytes + NEW.charged WHERE class = NEW.class;
END;

CREATE TRIGGER quarantine_gone AFTER DELETE ON quarantine
BEGIN
    UPDATE quarantine_totals SET entries = entries - 1, bytes = bytes - OLD.charged WHERE class = OLD.class;
END;

-- Refused tasks that found no room and were counted only.
CREATE TABLE quarantine_overflow (
    reason   TEXT    NOT NULL PRIMARY KEY,
    entries  INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
