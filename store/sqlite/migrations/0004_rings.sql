-- The key ring as the database may see it, what processes say of theirs, and leases. Times are whole Unix microseconds by
-- SQLite's clock.

CREATE TABLE signing_keys (
    id         INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), -- there is one ring
    version    INTEGER NOT NULL CHECK (version >= 1),
    wrapped    BLOB    NOT NULL, -- under a key-encryption key that is never here
    written_at INTEGER NOT NULL
) STRICT;

CREATE TABLE ring_reports (
    process      TEXT    NOT NULL PRIMARY KEY,
    ring_version INTEGER NOT NULL CHECK (ring_version >= 1),
    check_values TEXT    NOT NULL CHECK (json_valid(check_values)), -- by key ID, in hexadecimal: no secrets
    seen_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A row of its own, because reports are purged and a ring that was seen once must not be followed by an older one.
CREATE TABLE highest_ring (
    id      INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL CHECK (version >= 1)
) STRICT;

CREATE TABLE leases (
    name   TEXT    NOT NULL PRIMARY KEY,
    holder TEXT    NOT NULL,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- For what a key still has to do, and for the links that die with it.
CREATE INDEX pending_users_kid ON pending_users (kid, expires_at) WHERE kid IS NOT NULL;
