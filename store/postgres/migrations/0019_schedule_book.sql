-- What any scheduler needs to make a schedule's ticks, whoever placed it, and what a watchdog needs to judge it.

ALTER TABLE schedules
    ADD COLUMN zone            text        NOT NULL DEFAULT '', -- an IANA name; '' is UTC
    ADD COLUMN kind            text        NOT NULL DEFAULT '',
    ADD COLUMN args            bytea       NOT NULL DEFAULT '', -- JSON; '': a program's function makes the jobs
    ADD COLUMN catch_up        text        NOT NULL DEFAULT 'latest' CHECK (catch_up IN ('latest', 'all', 'skip')),
    ADD COLUMN jitter          bigint      NOT NULL DEFAULT 0 CHECK (jitter >= 0), -- microseconds
    ADD COLUMN source          text        NOT NULL DEFAULT 'code' CHECK (source IN ('code', 'config', 'runtime')),
    ADD COLUMN changed         boolean     NOT NULL DEFAULT false, -- at run time, since the source placed it
    ADD COLUMN placed          text        NOT NULL DEFAULT '', -- what the source said last
    ADD COLUMN placed_paused   boolean     NOT NULL DEFAULT false,
    ADD COLUMN missed          bigint      NOT NULL DEFAULT 0, -- due times that came to nothing
    ADD COLUMN last_tick_at    timestamptz, -- due time of the last tick
    ADD COLUMN last_started_at timestamptz,
    ADD COLUMN last_success_at timestamptz,
    ADD COLUMN last_outcome    text        NOT NULL DEFAULT '';

-- Every tick updates its schedule's row, beside which there should be room, and no index holds what is updated.
ALTER TABLE schedules SET (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.1);

ALTER TABLE ticks
    ADD COLUMN manual      boolean     NOT NULL DEFAULT false,
    ADD COLUMN started_at  timestamptz,
    ADD COLUMN finished_at timestamptz,
    ADD COLUMN outcome     text        NOT NULL DEFAULT '', -- of the outbox row, which may be purged; '' while it is unfinished
    ADD COLUMN cause       text        NOT NULL DEFAULT '';

ALTER TABLE ticks SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX ticks_unsettled ON ticks (schedule, row_id) WHERE outcome = '';

UPDATE schedules SET last_tick_at = (SELECT max(due_at) FROM ticks WHERE schedule = schedules.name);

-- The version of all schedules together: a scheduler reads them anew when it is another. Whoever changes a schedule locks it
-- first, so that versions follow the order of commits.
CREATE TABLE schedule_book (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint  NOT NULL
);

INSERT INTO schedule_book (version) SELECT coalesce(max(revision), 0) + 1 FROM schedules;
