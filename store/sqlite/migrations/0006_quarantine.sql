-- The quarantine is bounded, and its entries can be released. Times are whole Unix microseconds by SQLite's clock.

ALTER TABLE quarantine ADD COLUMN charged INTEGER NOT NULL DEFAULT 0 CHECK (charged >= 0); -- bytes, as the budget counts them
ALTER TABLE quarantine ADD COLUMN released_at INTEGER;
ALTER TABLE quarantine ADD COLUMN released_as TEXT CHECK ((released_at IS NULL) = (released_as IS NULL)); -- the ID of the outbox row that a release made

UPDATE quarantine SET charged = 512 + length(payload) + length(headers);

-- How much there is, kept by triggers, so that nobody counts rows.
CREATE TABLE quarantine_totals (
    authentic INTEGER NOT NULL PRIMARY KEY CHECK (authentic IN (0, 1)),
    entries   INTEGER NOT NULL,
    bytes     INTEGER NOT NULL
) STRICT;

INSERT INTO quarantine_totals (authentic, entries, bytes)
SELECT class.authentic, count(q.id), coalesce(sum(q.charged), 0)
FROM (SELECT 0 AS authentic UNION ALL SELECT 1) AS class LEFT JOIN quarantine AS q ON q.authentic = class.authentic
GROUP BY class.authentic;

CREATE TRIGGER quarantine_kept AFTER INSERT ON quarantine
BEGIN
    UPDATE quarantine_totals SET entries = entries + 1, bytes = bytes + NEW.charged WHERE authentic = NEW.authentic;
END;

CREATE TRIGGER quarantine_gone AFTER DELETE ON quarantine
BEGIN
    UPDATE quarantine_totals SET entries = entries - 1, bytes = bytes - OLD.charged WHERE authentic = OLD.authentic;
END;

-- Refused tasks that found no room and were counted only.
CREATE TABLE quarantine_overflow (
    reason   TEXT    NOT NULL PRIMARY KEY,
    entries  INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
