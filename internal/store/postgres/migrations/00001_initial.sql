-- +goose Up
-- Times are milliseconds since 1970, UTC; in requests microseconds. Flags are 0
-- or 1. Text that is compared or put in order has the order of its bytes,
-- whatever the database's language: pages and merges count on it.

CREATE TABLE meta (
    id             SMALLINT PRIMARY KEY CHECK (id = 1),
    epoch          TEXT   NOT NULL,
    revision       BIGINT NOT NULL,
    pruned_through BIGINT NOT NULL,
    check_value    BYTEA
);

-- What changed at which revision; what it is now stands in its own table.
CREATE TABLE changes (
    revision BIGINT NOT NULL,
    kind     TEXT   COLLATE "C" NOT NULL,
    key      TEXT   COLLATE "C" NOT NULL,
    op       TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (revision, kind, key)
);

CREATE TABLE resources (
    uid              TEXT   COLLATE "C" PRIMARY KEY,
    kind             TEXT   COLLATE "C" NOT NULL,
    name             TEXT   COLLATE "C" NOT NULL,
    api_version      TEXT   NOT NULL,
    spec             TEXT   NOT NULL,
    labels           TEXT   NOT NULL,
    annotations      TEXT   NOT NULL,
    manager          TEXT   NOT NULL,
    generation       BIGINT NOT NULL,
    resource_version TEXT   NOT NULL,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL,
    UNIQUE (kind, name)
);

-- Ciphertext only.
CREATE TABLE sealed_secrets (
    resource_uid TEXT  COLLATE "C" NOT NULL REFERENCES resources (uid) ON DELETE CASCADE,
    path         TEXT  COLLATE "C" NOT NULL,
    digest       TEXT  NOT NULL,
    sealed       BYTEA NOT NULL,
    PRIMARY KEY (resource_uid, path)
);

CREATE TABLE users (
    uid           TEXT     COLLATE "C" PRIMARY KEY,
    email         TEXT     COLLATE "C" NOT NULL UNIQUE,
    user_name     TEXT     NOT NULL,
    user_name_key TEXT     COLLATE "C" UNIQUE,
    display_name  TEXT     NOT NULL,
    active        SMALLINT NOT NULL,
    created_at    BIGINT   NOT NULL
);

CREATE TABLE user_identities (
    issuer    TEXT   COLLATE "C" NOT NULL,
    subject   TEXT   COLLATE "C" NOT NULL,
    user_uid  TEXT   COLLATE "C" NOT NULL REFERENCES users (uid) ON DELETE CASCADE,
    linked_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX user_identities_by_user ON user_identities (user_uid, issuer, subject, linked_at);

CREATE TABLE memberships (
    user_uid   TEXT     COLLATE "C" NOT NULL REFERENCES users (uid) ON DELETE CASCADE,
    team       TEXT     COLLATE "C" NOT NULL,
    source     TEXT     COLLATE "C" NOT NULL,
    manager    SMALLINT NOT NULL,
    expires_at BIGINT,
    PRIMARY KEY (user_uid, team, source)
);

-- Tokens are known by their SHA-256 alone. Revoked ones stay, so that the
-- audit can name them.
CREATE TABLE tokens (
    id           TEXT     COLLATE "C" PRIMARY KEY,
    kind         SMALLINT NOT NULL,
    name         TEXT     NOT NULL,
    digest       BYTEA    NOT NULL UNIQUE CHECK (length(digest) = 32),
    owner        TEXT     COLLATE "C" NOT NULL,
    bootstrap    SMALLINT NOT NULL,
    created_at   BIGINT   NOT NULL,
    expires_at   BIGINT   NOT NULL,
    revoked_at   BIGINT,
    narrowing    TEXT,
    created_by   TEXT     NOT NULL,
    last_used_at BIGINT
);
CREATE INDEX tokens_by_owner ON tokens (owner);

CREATE TABLE tombstones (
    uid        TEXT   COLLATE "C" PRIMARY KEY,
    email      TEXT   COLLATE "C" NOT NULL,
    deleted_at BIGINT NOT NULL
);
CREATE INDEX tombstones_by_email ON tombstones (email);

CREATE TABLE tombstone_identities (
    uid     TEXT COLLATE "C" NOT NULL REFERENCES tombstones (uid) ON DELETE CASCADE,
    issuer  TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (uid, issuer, subject)
);
CREATE INDEX tombstone_identities_by_subject ON tombstone_identities (issuer, subject);

CREATE TABLE audit (
    seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          TEXT   COLLATE "C" NOT NULL UNIQUE,
    at          BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    actor_uid   TEXT   NOT NULL,
    via         TEXT   NOT NULL,
    token_id    TEXT   NOT NULL,
    remote_addr TEXT   NOT NULL,
    request_id  TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    target      TEXT   NOT NULL,
    before_json TEXT,
    after_json  TEXT,
    outcome     TEXT   NOT NULL
);

CREATE TABLE requests (
    seq           BIGINT PRIMARY KEY,
    at            BIGINT  NOT NULL,
    uid           TEXT    COLLATE "C" NOT NULL,
    team          TEXT    COLLATE "C" NOT NULL,
    account       TEXT    COLLATE "C" NOT NULL,
    model         TEXT    COLLATE "C" NOT NULL,
    status        INTEGER NOT NULL,
    input_tokens  BIGINT  NOT NULL,
    output_tokens BIGINT  NOT NULL,
    cached_tokens BIGINT  NOT NULL,
    duration      BIGINT  NOT NULL,
    detail        BYTEA   NOT NULL
);

-- One line a batch, for removing what is old without an index on time.
CREATE TABLE request_batches (
    hi     BIGINT PRIMARY KEY,
    lo     BIGINT NOT NULL,
    min_at BIGINT NOT NULL,
    max_at BIGINT NOT NULL
);

-- One line a principal of each batch: their records are between lo and hi.
CREATE TABLE request_principals (
    uid TEXT   COLLATE "C" NOT NULL,
    hi  BIGINT NOT NULL,
    lo  BIGINT NOT NULL,
    PRIMARY KEY (uid, hi)
);
