-- +goose Up
-- People with a version and a manager, signed-in browsers, things that are
-- used once, and sealed keys that replicas share. Nothing existing changes: the
-- version before this one goes on working.

-- Empty manager is api; attributes are a JSON object, kept as it was written.
ALTER TABLE users
    ADD COLUMN version     BIGINT NOT NULL DEFAULT 1,
    ADD COLUMN manager     TEXT   COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN external_id TEXT   COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN attributes  TEXT;
CREATE INDEX users_by_manager ON users (manager, uid);
CREATE UNIQUE INDEX users_by_external_id ON users (manager, external_id) WHERE external_id <> '';

-- Sessions are known by the SHA-256 of their cookie alone. Ended ones stay for
-- a while, so that people see what ended them.
CREATE TABLE sessions (
    id               TEXT   COLLATE "C" PRIMARY KEY,
    digest           BYTEA  NOT NULL UNIQUE CHECK (length(digest) = 32),
    user_uid         TEXT   COLLATE "C" NOT NULL,
    connection       TEXT   NOT NULL,
    issuer           TEXT   COLLATE "C" NOT NULL,
    subject          TEXT   COLLATE "C" NOT NULL,
    provider_session TEXT   COLLATE "C" NOT NULL,
    authenticated_at BIGINT NOT NULL,
    acr              TEXT   NOT NULL,
    amr              TEXT   NOT NULL,
    created_at       BIGINT NOT NULL,
    last_seen_at     BIGINT NOT NULL,
    expires_at       BIGINT NOT NULL,
    ended_at         BIGINT,
    ended_by         TEXT   NOT NULL,
    remote_addr      TEXT   NOT NULL,
    user_agent       TEXT   NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_uid);
CREATE INDEX sessions_by_provider_session ON sessions (issuer, provider_session);
CREATE INDEX sessions_by_subject ON sessions (issuer, subject);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- What has been used and must not be used again until it has expired.
CREATE TABLE replay (
    scope      TEXT   COLLATE "C" NOT NULL,
    id         TEXT   COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (scope, id)
);
CREATE INDEX replay_by_expiry ON replay (expires_at);

-- Ciphertext only.
CREATE TABLE keys (
    name       TEXT COLLATE "C" PRIMARY KEY,
    sealed     BYTEA  NOT NULL,
    created_at BIGINT NOT NULL
);
