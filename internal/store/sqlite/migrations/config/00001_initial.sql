-- +goose Up
-- Times are milliseconds since 1970, UTC. Flags are 0 or 1.

CREATE TABLE meta (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    epoch          TEXT    NOT NULL,
    revision       INTEGER NOT NULL,
    pruned_through INTEGER NOT NULL,
    check_value    BLOB
) STRICT;

-- What changed at which revision; what it is now stands in its own table.
CREATE TABLE changes (
    revision INTEGER NOT NULL,
    kind     TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    op       TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (revision, kind, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE resources (
    uid              TEXT PRIMARY KEY,
    kind             TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    api_version      TEXT    NOT NULL,
    spec             TEXT    NOT NULL,
    labels           TEXT    NOT NULL,
    annotations      TEXT    NOT NULL,
    manager          TEXT    NOT NULL,
    generation       INTEGER NOT NULL,
    resource_version TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    UNIQUE (kind, name)
) STRICT;

-- Ciphertext only.
CREATE TABLE sealed_secrets (
    resource_uid TEXT NOT NULL REFERENCES resources (uid) ON DELETE CASCADE,
    path         TEXT NOT NULL,
    digest       TEXT NOT NULL,
    sealed       BLOB NOT NULL,
    PRIMARY KEY (resource_uid, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    uid           TEXT PRIMARY KEY,
    email         TEXT    NOT NULL UNIQUE,
    user_name     TEXT    NOT NULL,
    user_name_key TEXT UNIQUE,
    display_name  TEXT    NOT NULL,
    active        INTEGER NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE user_identities (
    issuer    TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    user_uid  TEXT    NOT NULL REFERENCES users (uid) ON DELETE CASCADE,
    linked_at INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_identities_by_user ON user_identities (user_uid, issuer, subject, linked_at);

CREATE TABLE memberships (
    user_uid   TEXT    NOT NULL REFERENCES users (uid) ON DELETE CASCADE,
    team       TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    manager    INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (user_uid, team, source)
) STRICT, WITHOUT ROWID;

-- Tokens are known by their SHA-256 alone. Revoked ones stay, so that the
-- audit can name them.
CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    kind         INTEGER NOT NULL,
    name         TEXT    NOT NULL,
    digest       BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
    owner        TEXT    NOT NULL,
    bootstrap    INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    revoked_at   INTEGER,
    narrowing    TEXT,
    created_by   TEXT    NOT NULL,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_owner ON tokens (owner);

CREATE TABLE tombstones (
    uid        TEXT PRIMARY KEY,
    email      TEXT    NOT NULL,
    deleted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstones_by_email ON tombstones (email);

CREATE TABLE tombstone_identities (
    uid     TEXT NOT NULL REFERENCES tombstones (uid) ON DELETE CASCADE,
    issuer  TEXT NOT NULL,
    subject TEXT NOT NULL,
    PRIMARY KEY (uid, issuer, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstone_identities_by_subject ON tombstone_identities (issuer, subject);

CREATE TABLE audit (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    at          INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    actor_uid   TEXT    NOT NULL,
    via         TEXT    NOT NULL,
    token_id    TEXT    NOT NULL,
    remote_addr TEXT    NOT NULL,
    request_id  TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    before_json TEXT,
    after_json  TEXT,
    outcome     TEXT    NOT NULL
) STRICT;
