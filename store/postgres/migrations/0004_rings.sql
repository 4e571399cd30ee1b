-- The key ring as the database may see it, what processes say of theirs, and leases.

CREATE TABLE signing_keys (
    id         integer     PRIMARY KEY CHECK (id = 1), -- there is one ring
    version    bigint      NOT NULL CHECK (version >= 1),
    wrapped    bytea       NOT NULL, -- under a key-encryption key that is never here
    written_at timestamptz NOT NULL DEFAULT statement_timestamp()
);

CREATE TABLE ring_reports (
    process      text        COLLATE "C" PRIMARY KEY,
    ring_version bigint      NOT NULL CHECK (ring_version >= 1),
    check_values jsonb       NOT NULL, -- by key ID, in hexadecimal: no secrets
    seen_at      timestamptz NOT NULL
);

-- A row of its own, because reports are purged and a ring that was seen once must not be followed by an older one.
CREATE TABLE highest_ring (
    id      integer PRIMARY KEY CHECK (id = 1),
    version bigint  NOT NULL CHECK (version >= 1)
);

CREATE TABLE leases (
    name   text        COLLATE "C" PRIMARY KEY,
    holder text        COLLATE "C" NOT NULL,
    until  timestamptz NOT NULL
);

-- For what a key still has to do, and for the links that die with it.
CREATE INDEX pending_users_kid ON pending_users (kid, expires_at) WHERE kid IS NOT NULL;
