-- Schedules and the due times that became jobs.

CREATE TABLE schedules (
    name        text        COLLATE "C" PRIMARY KEY,
    cron        text        NOT NULL,
    revision    bigint      NOT NULL DEFAULT 1 CHECK (revision >= 1),
    anchor      timestamptz NOT NULL, -- @every counts from here
    last_due_at timestamptz NOT NULL, -- the last due time that became a tick; the anchor before the first
    paused      boolean     NOT NULL DEFAULT false
);

CREATE TABLE ticks (
    schedule text        COLLATE "C" NOT NULL REFERENCES schedules (name) ON DELETE CASCADE,
    due_at   timestamptz NOT NULL,
    row_id   uuid        NOT NULL, -- of the outbox
    made_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    PRIMARY KEY (schedule, due_at)
);
