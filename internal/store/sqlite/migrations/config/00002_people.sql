-- +goose Up
-- People with a version and a manager, signed-in browsers, things that are
-- used once, and sealed keys that replicas share. Nothing existing changes: the
-- version before this one goes on working.

ALTER TABLE users ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
-- Empty is api.
ALTER TABLE users ADD COLUMN manager TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN external_id TEXT NOT NULL DEFAULT '';
-- A JSON object.
ALTER TABLE users ADD COLUMN attributes TEXT;
CREATE INDEX users_by_manager ON users (manager, uid);
CREATE UNIQUE INDEX users_by_external_id ON users (manager, external_id) WHERE external_id <> '';

-- Sessions are known by the SHA-256 of their cookie alone. Ended ones stay for
-- a while, so that people see what ended them.
CREATE TABLE sessions (
    id               TEXT PRIMARY KEY,
    digest           BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
    user_uid         TEXT    NOT NULL,
    connection       TEXT    NOT NULL,
    issuer           TEXT    NOT NULL,
    subject          TEXT    NOT NULL,
    provider_session TEXT    NOT NULL,
    authenticated_at INTEGER NOT NULL,
    acr              TEXT    NOT NULL,
    amr              TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    last_seen_at     INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    ended_at         INTEGER,
    ended_by         TEXT    NOT NULL,
    remote_addr      TEXT    NOT NULL,
    user_agent       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_uid);
CREATE INDEX sessions_by_provider_session ON sessions (issuer, provider_session);
CREATE INDEX sessions_by_subject ON sessions (issuer, subject);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- What has been used and must not be used again until it has expired.
CREATE TABLE replay (
    scope      TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX replay_by_expiry ON replay (expires_at);

-- Ciphertext only.
CREATE TABLE keys (
    name       TEXT PRIMARY KEY,
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
