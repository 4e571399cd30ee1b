-- Enqueuing in SQL, for applications in any language: which role may enqueue which kinds, and the one function that does it.
-- A role that is granted a kind holds no privilege on any of these tables.

-- What the definitions of kinds say, as far as a row of the outbox needs it. Processes that know definitions write it.
CREATE TABLE job_kinds (
    kind           text     COLLATE "C" PRIMARY KEY CHECK (kind <> ''),
    queue          text     NOT NULL CHECK (queue <> ''),
    retries        integer  NOT NULL CHECK (retries >= 0),
    life           interval NOT NULL CHECK (life > '0'), -- of a row, from when its job is due
    unique_by_args boolean  NOT NULL
);

-- regrole is an ID that reads as a name: it follows a role that is renamed, and means nobody once the role is dropped, also
-- where another one takes its name.
CREATE TABLE enqueue_grants (
    role regrole NOT NULL,
    kind text    COLLATE "C" NOT NULL REFERENCES job_kinds (kind),
    PRIMARY KEY (role, kind)
);

DO $migration$
DECLARE
    here    constant text := quote_ident(current_schema());
    made    constant text := here || '.sealq_enqueue(text, jsonb, interval, text)';
    own     record;
    -- The body names everything by its schema, or finds it in pg_catalog, which is first in the path that the function sets.
    -- Its literals have no backslash, and it compares no times with days in them: callers choose standard_conforming_strings
    -- and TimeZone.
    body    constant text := $body$
#variable_conflict use_column
DECLARE
    policy  record;
    payload bytea;
    asked   constant timestamptz := statement_timestamp();
    due     timestamptz;
    key     text;
    micros  constant bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    -- A UUIDv7 (RFC 9562, 5.7) as the Go enqueuers make it: 48 bits of milliseconds, the version, 12 bits of what is left of
    -- the millisecond in 256 ns, and the variant and randomness of a UUIDv4.
    id      constant uuid := encode(overlay(uuid_send(gen_random_uuid()) PLACING
                int8send(((micros / 1000) << 16) | 28672 | ((micros % 1000) * 1000 / 256)) FROM 1 FOR 8), 'hex')::uuid;
BEGIN
    -- session_user is who logged in: neither SET ROLE nor a SECURITY DEFINER function around this one changes it.
    SELECT k.* INTO policy
    FROM @schema@.enqueue_grants AS g JOIN @schema@.job_kinds AS k ON k.kind = g.kind
    WHERE g.role = to_regrole(quote_ident(session_user)) AND g.kind = sealq_enqueue.kind COLLATE "C";
    IF NOT FOUND THEN -- the same words for both: a role learns nothing of kinds that are not its own
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('sealq_enqueue: the kind %s does not exist or is not granted to the role %s',
                quote_nullable(left(sealq_enqueue.kind, 100)), quote_ident(session_user)),
            HINT = 'Grant it: sealq migrate grants --role ROLE --kinds KIND';
    END IF;

    IF jsonb_typeof(sealq_enqueue.args) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('sealq_enqueue: args of the kind %s must be a JSON object', quote_literal(policy.kind));
    END IF;
    payload := convert_to(sealq_enqueue.args::text, 'UTF8');
    IF octet_length(payload) > 1048548 THEN -- 1 MiB, less what encryption adds
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('sealq_enqueue: args of the kind %s have %s bytes, which is more than 1048548',
                quote_literal(policy.kind), octet_length(payload));
    END IF;

    -- What comes of it is looked at too: an interval of a thousand years less as many days compares as a short one.
    IF sealq_enqueue.delay NOT BETWEEN '0' AND '366 days'
       OR asked + sealq_enqueue.delay NOT BETWEEN asked AND asked + interval '366 days' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'sealq_enqueue: delay must be from 0 to 366 days';
    END IF;
    due := asked + coalesce(sealq_enqueue.delay, '0');

    IF btrim(sealq_enqueue.unique_key) = '' OR octet_length(sealq_enqueue.unique_key) > 256 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'sealq_enqueue: unique_key must not be blank nor longer than 256 bytes';
    END IF;
    -- Neither a kind nor a key of Go's contains a control character: a key of one kind is no key of another, nor of Go's.
    key := policy.kind || chr(31) || CASE WHEN sealq_enqueue.unique_key IS NOT NULL THEN sealq_enqueue.unique_key
                                          WHEN policy.unique_by_args THEN encode(sha256(payload), 'hex') END;

    INSERT INTO @schema@.outbox (id, kind, queue, payload, headers, retries, unique_key, not_before, next_at, expires_at)
    VALUES (id, policy.kind, policy.queue, payload, '[]', policy.retries, key, due, greatest(asked, due - interval '1 minute'),
            due + policy.life)
    ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'unique_violation',
            MESSAGE = format('sealq_enqueue: an unfinished job of the kind %s with this unique key exists', quote_literal(policy.kind));
    END IF;
    RETURN id;
END $body$;
BEGIN
    PERFORM (here || '.outbox')::regclass; -- or the search_path is not the one that the tables were made with
    EXECUTE format(
        'CREATE FUNCTION %s.sealq_enqueue(kind text, args jsonb DEFAULT ''{}'', delay interval DEFAULT NULL, unique_key text DEFAULT NULL)
         RETURNS uuid LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %L',
        here, replace(body, '@schema@', here));

    -- PUBLIC may execute every function, and what ALTER DEFAULT PRIVILEGES gives to roles would let them grant themselves kinds.
    FOR own IN
        SELECT DISTINCT o.object, CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS grantee
        FROM (SELECT 'TABLE ' || oid::regclass, relowner, relacl FROM pg_class
              WHERE oid IN ('job_kinds'::regclass, 'enqueue_grants'::regclass)
              UNION ALL
              SELECT 'FUNCTION ' || oid::regprocedure, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
              WHERE oid = made::regprocedure) AS o (object, owner, acl),
             aclexplode(o.acl) AS acl
        WHERE acl.grantee <> o.owner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', own.object, own.grantee);
    END LOOP;
END $migration$;
