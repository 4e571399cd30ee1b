-- What any scheduler needs to make a schedule's ticks, whoever placed it, and what a watchdog needs to judge it.

ALTER TABLE schedules ADD COLUMN zone            TEXT    NOT NULL DEFAULT ''; -- an IANA name; '' is UTC
ALTER TABLE schedules ADD COLUMN kind            TEXT    NOT NULL DEFAULT '';
ALTER TABLE schedules ADD COLUMN args            TEXT    NOT NULL DEFAULT ''; -- JSON; '': a program's function makes the jobs
ALTER TABLE schedules ADD COLUMN catch_up        TEXT    NOT NULL DEFAULT 'latest' CHECK (catch_up IN ('latest', 'all', 'skip'));
ALTER TABLE schedules ADD COLUMN jitter          INTEGER NOT NULL DEFAULT 0 CHECK (jitter >= 0); -- microseconds
ALTER TABLE schedules ADD COLUMN source          TEXT    NOT NULL DEFAULT 'code' CHECK (source IN ('code', 'config', 'runtime'));
ALTER TABLE schedules ADD COLUMN changed         INTEGER NOT NULL DEFAULT 0; -- at run time, since the source placed it
ALTER TABLE schedules ADD COLUMN placed          TEXT    NOT NULL DEFAULT ''; -- what the source said last
ALTER TABLE schedules ADD COLUMN placed_paused   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE schedules ADD COLUMN missed          INTEGER NOT NULL DEFAULT 0; -- due times that came to nothing
ALTER TABLE schedules ADD COLUMN last_tick_at    INTEGER; -- due time of the last tick
ALTER TABLE schedules ADD COLUMN last_started_at INTEGER;
ALTER TABLE schedules ADD COLUMN last_success_at INTEGER;
ALTER TABLE schedules ADD COLUMN last_outcome    TEXT    NOT NULL DEFAULT '';

ALTER TABLE ticks ADD COLUMN manual      INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ticks ADD COLUMN started_at  INTEGER;
ALTER TABLE ticks ADD COLUMN finished_at INTEGER;
ALTER TABLE ticks ADD COLUMN outcome     TEXT    NOT NULL DEFAULT ''; -- of the outbox row, which may be purged; '' while it is unfinished
ALTER TABLE ticks ADD COLUMN cause       TEXT    NOT NULL DEFAULT '';

CREATE INDEX ticks_unsettled ON ticks (schedule, row_id) WHERE outcome = '';

UPDATE schedules SET last_tick_at = (SELECT max(due_at) FROM ticks WHERE schedule = schedules.name);

-- The version of all schedules together: a scheduler reads them anew when it is another.
CREATE TABLE schedule_book (
    one     INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    version INTEGER NOT NULL
) STRICT;

INSERT INTO schedule_book (version) SELECT coalesce(max(revision), 0) + 1 FROM schedules;
