-- What operators ask for on pages that hold no key, and what became of it. A request is taken by one process, once. Times are whole Unix
-- microseconds by SQLite's clock.

CREATE TABLE requests (
    id          TEXT    NOT NULL PRIMARY KEY,
    kind        TEXT    NOT NULL,
    args        TEXT    NOT NULL CHECK (json_valid(args)), -- an object of texts, its names sorted
    actor       TEXT    NOT NULL,
    state       TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'taken', 'done', 'failed')),
    made_at     INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL, -- until then it may be taken
    holder      TEXT    NOT NULL DEFAULT '',
    taken_at    INTEGER CHECK ((taken_at IS NULL) = (state = 'waiting')),
    lease_until INTEGER CHECK ((lease_until IS NULL) = (taken_at IS NULL)),
    ended_at    INTEGER CHECK ((ended_at IS NOT NULL) = (state IN ('done', 'failed'))),
    outcome     TEXT    NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE INDEX requests_waiting ON requests (made_at) WHERE state = 'waiting';
CREATE INDEX requests_made ON requests (made_at);

-- What stands in quarantine and may be released, among many forgeries: a page lists it, and a request releases all of it.
CREATE INDEX quarantine_releasable ON quarantine (received_at, id) WHERE released_at IS NULL AND (authentic OR reason = 'unknown_key');
