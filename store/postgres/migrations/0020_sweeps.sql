-- Sweeps: who sweeps, how far he is, and from where. See docs/sweeps.md.

-- A sweep's row is its lease and its progress.
CREATE TABLE sweeps (
    name        text        COLLATE "C" PRIMARY KEY,
    holder      text        NOT NULL,
    lease_until timestamptz NOT NULL,
    tick        text        NOT NULL,
    part        text        NOT NULL,
    done        bigint      NOT NULL,
    due         bigint      NOT NULL, -- an estimate, 0 where none is needed
    ended       boolean     NOT NULL,
    began_at    timestamptz NOT NULL,
    told_at     timestamptz NOT NULL
) WITH (fillfactor = 20);

-- A sweep walks an index from its oldest end, where the entries of what it deleted stay until they are vacuumed: an empty sweep over a
-- million of them took 12 s. So each walk begins at a mark. Of the rows that are due before it, all are gone but those in
-- sweep_held, which somebody had locked. The mark is a hint: every few hours a walk begins at the oldest end all the same.
CREATE TABLE sweep_marks (
    part    text        COLLATE "C" PRIMARY KEY,
    mark    timestamptz NOT NULL,
    full_at timestamptz NOT NULL -- when a walk began at the oldest end last
) WITH (fillfactor = 20);

CREATE TABLE sweep_held (
    part text        COLLATE "C" NOT NULL,
    due  timestamptz NOT NULL,
    PRIMARY KEY (part, due)
);

-- The outbox has no index by ended_at, which every INSERT would pay for: its IDs begin with their time, and so do those that ticks name.
CREATE INDEX ticks_row ON ticks (row_id);
CREATE INDEX mails_made ON mails (created_at);
CREATE INDEX user_tokens_expiry ON user_tokens (expires_at);

-- Room for what is written into a row after its INSERT, so that no new index entries are made for it: pending_users gets sent_at, mails a
-- lease and an answer. login_state, login_devices and outbox have theirs. The others are written once.
ALTER TABLE pending_users SET (fillfactor = 85);
ALTER TABLE mails SET (fillfactor = 80, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE mail_attempts SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE ticks SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE quarantine SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE user_tokens SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);

-- The chain of audit_log begins after its anchor: up to there its links were purged. It moves forward alone, from one link to a later one
-- that is there, and never to the newest: a chain goes on from its last link.
CREATE TABLE audit_anchor (
    id        integer     PRIMARY KEY CHECK (id = 1),
    position  bigint      NOT NULL CHECK (position >= 1),
    hash      bytea       NOT NULL CHECK (length(hash) = 32),
    purged_at timestamptz NOT NULL DEFAULT statement_timestamp()
);

CREATE FUNCTION sealq_audit_anchor_moves_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' AND EXISTS (SELECT FROM audit_log WHERE position = NEW.position AND hash = NEW.hash)
        AND EXISTS (SELECT FROM audit_log WHERE position > NEW.position)
        AND (TG_OP = 'INSERT' OR NEW.position > OLD.position) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only: its anchor moves to a later link alone, % is refused', TG_OP;
END $$;

CREATE TRIGGER audit_anchor_moves_forward BEFORE INSERT OR UPDATE OR DELETE ON audit_anchor
    FOR EACH ROW EXECUTE FUNCTION sealq_audit_anchor_moves_forward();

CREATE OR REPLACE FUNCTION sealq_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.position IS NULL THEN
        RETURN NEW;
    END IF;
    -- Places are given one after another: the linker goes on from the highest, and a chain has no holes.
    IF TG_OP = 'UPDATE' AND OLD.position IS NULL AND NEW.position = 1 + coalesce((SELECT max(position) FROM audit_log), 0)
        AND (NEW.id, NEW.at, NEW.actor, NEW.action, NEW.subject, NEW.detail) IS NOT DISTINCT FROM (OLD.id, OLD.at, OLD.actor, OLD.action, OLD.subject, OLD.detail) THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.position <= (SELECT position FROM audit_anchor) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP;
END $$;
