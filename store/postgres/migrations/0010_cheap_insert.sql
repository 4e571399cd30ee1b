-- An application waits for its insert of a row, and PostgreSQL reads a table's CHECK constraints anew for each of its
-- statements: nine of them were a third of what the insert costs the server. They go, and so does the unique index's entry
-- for the rows without a key, which is most of them. What they said is held elsewhere:
--   - retries and a key that is not empty: by jobs.Job, whose faults EnqueueTx and EnqueueBatch
--     return, and by sealq_enqueue, which takes retries from job_kinds (whose own CHECKs stay) and refuses blank keys;
--   - states, a lease in claimed rows alone, an end and no unique key in ended rows: by this package's statements, which are all
--     that write them. They are in one constant each where they have to agree, and the conformance suite asks for all of it
--     after every one of its sentences;
--   - attempts and failures: they start at the columns' defaults, and are only ever counted up.
-- Nobody but the owner of the table can write it: sealq_enqueue is all that an application in SQL has.
DO $migration$
DECLARE
    old text;
BEGIN
    FOR old IN SELECT conname FROM pg_constraint WHERE conrelid = 'outbox'::regclass AND contype = 'c' LOOP
        EXECUTE format('ALTER TABLE outbox DROP CONSTRAINT %I', old);
    END LOOP;
END $migration$;

ALTER TABLE outbox DROP CONSTRAINT outbox_unique_key_key;
CREATE UNIQUE INDEX outbox_unique_key_key ON outbox (unique_key) WHERE unique_key IS NOT NULL;
