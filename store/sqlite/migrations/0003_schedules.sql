-- Times are whole Unix microseconds by SQLite's clock.

CREATE TABLE schedules (
    name        TEXT    NOT NULL PRIMARY KEY,
    cron        TEXT    NOT NULL,
    revision    INTEGER NOT NULL DEFAULT 1 CHECK (revision >= 1),
    anchor      INTEGER NOT NULL, -- @every counts from here
    last_due_at INTEGER NOT NULL, -- the last due time that became a tick; the anchor before the first
    paused      INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE ticks (
    schedule TEXT    NOT NULL REFERENCES schedules (name) ON DELETE CASCADE,
    due_at   INTEGER NOT NULL,
    row_id   TEXT    NOT NULL, -- of the outbox
    made_at  INTEGER NOT NULL,
    PRIMARY KEY (schedule, due_at)
) STRICT, WITHOUT ROWID;
