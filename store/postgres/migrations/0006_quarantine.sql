-- The quarantine is bounded, and its entries can be released.

ALTER TABLE quarantine
    ADD COLUMN charged     bigint NOT NULL DEFAULT 0 CHECK (charged >= 0), -- bytes, as the budget counts them
    ADD COLUMN class       text   NOT NULL DEFAULT 'unverified' CHECK (class IN ('unverified', 'moved', 'reserved')), -- whose budget
    ADD COLUMN released_at timestamptz,
    ADD COLUMN released_as text, -- the ID of the outbox row that a release made
    ADD CHECK ((released_at IS NULL) = (released_as IS NULL));

UPDATE quarantine SET charged = 512 + length(payload) + length(headers), class = CASE
    WHEN NOT authentic THEN 'unverified'
    WHEN reason IN ('must_be_encrypted', 'issued_in_future', 'lifetime_exceeded', 'bad_payload') THEN 'reserved'
    ELSE 'moved' END;

-- How much there is, kept by triggers, so that nobody counts rows. Each class is spread over 16 rows, of which a writer changes
-- one: writers do not wait for one another. A row may be negative, their sum is what counts.
CREATE TABLE quarantine_totals (
    class   text    NOT NULL,
    shard   integer NOT NULL,
    entries bigint  NOT NULL,
    bytes   bigint  NOT NULL,
    PRIMARY KEY (class, shard)
) WITH (fillfactor = 20);

INSERT INTO quarantine_totals (class, shard, entries, bytes)
SELECT class, shard, 0, 0 FROM (VALUES ('unverified'), ('moved'), ('reserved')) AS c (class), generate_series(0, 15) AS shard;

UPDATE quarantine_totals t SET entries = q.entries, bytes = q.bytes
FROM (SELECT class, count(*) AS entries, sum(charged) AS bytes FROM quarantine GROUP BY class) q
WHERE t.class = q.class AND t.shard = 0;

CREATE FUNCTION sealq_quarantine_counts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    direction integer := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
    any_shard integer := floor(random() * 16);
    sums      record;
BEGIN
    FOR sums IN SELECT c.class, count(*) AS entries, sum(c.charged) AS bytes FROM changed c GROUP BY c.class ORDER BY c.class LOOP
        UPDATE quarantine_totals t SET entries = t.entries + direction * sums.entries, bytes = t.bytes + direction * sums.bytes
        WHERE t.class = sums.class AND t.shard = any_shard;
    END LOOP;
    RETURN NULL;
END $$;

CREATE FUNCTION sealq_quarantine_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE quarantine_totals SET entries = 0, bytes = 0;
    RETURN NULL;
END $$;

CREATE TRIGGER quarantine_kept AFTER INSERT ON quarantine REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sealq_quarantine_counts();
CREATE TRIGGER quarantine_gone AFTER DELETE ON quarantine REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION sealq_quarantine_counts();
CREATE TRIGGER quarantine_emptied AFTER TRUNCATE ON quarantine
    FOR EACH STATEMENT EXECUTE FUNCTION sealq_quarantine_emptied();

-- Refused tasks that found no room and were counted only.
CREATE TABLE quarantine_overflow (
    reason   text        PRIMARY KEY,
    entries  bigint      NOT NULL,
    bytes    bigint      NOT NULL,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL
);

ALTER TABLE quarantine SET (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01);
