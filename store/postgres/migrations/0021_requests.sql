-- What operators ask for on pages that hold no key, and what became of it. A request is taken by one process, once.

CREATE TABLE requests (
    id          text        COLLATE "C" PRIMARY KEY,
    kind        text        COLLATE "C" NOT NULL,
    args        text        COLLATE "C" NOT NULL, -- an object of texts in JSON, its names sorted
    actor       text        NOT NULL,
    state       text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'taken', 'done', 'failed')),
    made_at     timestamptz NOT NULL DEFAULT statement_timestamp(),
    expires_at  timestamptz NOT NULL, -- until then it may be taken
    holder      text        NOT NULL DEFAULT '',
    taken_at    timestamptz CHECK ((taken_at IS NULL) = (state = 'waiting')),
    lease_until timestamptz CHECK ((lease_until IS NULL) = (taken_at IS NULL)),
    ended_at    timestamptz CHECK ((ended_at IS NOT NULL) = (state IN ('done', 'failed'))),
    outcome     text        NOT NULL DEFAULT ''
);

CREATE INDEX requests_waiting ON requests (made_at) WHERE state = 'waiting';
CREATE INDEX requests_made ON requests (made_at);

-- What stands in quarantine and may be released, among many forgeries: a page lists it, and a request releases all of it.
CREATE INDEX quarantine_releasable ON quarantine (received_at, id) WHERE released_at IS NULL AND (authentic OR reason = 'unknown_key');
