-- Who changed what. An entry is written in the transaction of its change; position and hash are set once, when it is linked into
-- the chain (package audit), and nothing else ever changes.

CREATE TABLE audit_log (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT statement_timestamp() CHECK (isfinite(at)),
    actor    text        NOT NULL CHECK (actor <> ''),
    action   text        NOT NULL CHECK (action <> ''),
    subject  text        NOT NULL,
    detail   jsonb       NOT NULL,
    position bigint      UNIQUE CHECK (position >= 1), -- in the chain; NULL until it is linked
    hash     bytea       CHECK (length(hash) = 32),
    CHECK ((position IS NULL) = (hash IS NULL))
);

-- What the linker looks for, each second.
CREATE INDEX audit_log_unlinked ON audit_log (id) WHERE position IS NULL;
CREATE INDEX audit_log_subject ON audit_log (subject, id);

CREATE FUNCTION sealq_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.position IS NULL THEN
        RETURN NEW;
    END IF;
    -- Places are given one after another: the linker goes on from the highest, and a chain has no holes.
    IF TG_OP = 'UPDATE' AND OLD.position IS NULL AND NEW.position = 1 + coalesce((SELECT max(position) FROM audit_log), 0)
        AND (NEW.id, NEW.at, NEW.actor, NEW.action, NEW.subject, NEW.detail) IS NOT DISTINCT FROM (OLD.id, OLD.at, OLD.actor, OLD.action, OLD.subject, OLD.detail) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit_log is append-only: % is refused', TG_OP;
END $$;

CREATE TRIGGER audit_log_append_only BEFORE INSERT OR UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION sealq_audit_is_append_only();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION sealq_audit_is_append_only();

ALTER TABLE audit_log SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);
