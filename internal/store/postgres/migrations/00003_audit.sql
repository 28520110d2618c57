-- +goose Up
-- The audit's chain and its checkpoints, and sealed values that are replaced.
-- Nothing existing changes: the version before this one goes on working.

-- Entries from before this, and those that the version before this one writes
-- beside it, are in no chain: they have no chain_seq, and no export holds them.
ALTER TABLE audit
    ADD COLUMN chain_seq BIGINT,
    ADD COLUMN prev_hash BYTEA CHECK (length(prev_hash) = 32),
    ADD COLUMN hash      BYTEA CHECK (length(hash) = 32),
    -- The order of bytes, for looking for a prefix. No row is written again.
    ALTER COLUMN actor   TYPE TEXT COLLATE "C",
    ALTER COLUMN action  TYPE TEXT COLLATE "C",
    ALTER COLUMN target  TYPE TEXT COLLATE "C",
    ALTER COLUMN outcome TYPE TEXT COLLATE "C";
CREATE UNIQUE INDEX audit_by_chain_seq ON audit (chain_seq);
-- For lists, the newest first, of what one of these names, and of all.
CREATE INDEX audit_by_time ON audit (at, seq);
CREATE INDEX audit_by_actor ON audit (actor, at, seq);
CREATE INDEX audit_by_action ON audit (action, at, seq);
CREATE INDEX audit_by_target ON audit (target, at, seq);
CREATE INDEX audit_by_outcome ON audit (outcome, at, seq);

-- The newest entry of the chain. The chain's id is made once, and a backup that
-- is restored has it too: it is not the epoch.
CREATE TABLE audit_chain (
    id    SMALLINT PRIMARY KEY CHECK (id = 1),
    chain TEXT     NOT NULL,
    seq   BIGINT   NOT NULL,
    hash  BYTEA    NOT NULL CHECK (length(hash) = 32)
);

CREATE TABLE audit_checkpoints (
    seq       BIGINT PRIMARY KEY,
    hash      BYTEA  NOT NULL CHECK (length(hash) = 32),
    at        BIGINT NOT NULL,
    key_id    TEXT   NOT NULL,
    signature BYTEA  NOT NULL
);

CREATE INDEX memberships_by_team ON memberships (team, user_uid);

-- Ciphertext only.
CREATE TABLE sealed_values (
    name       TEXT COLLATE "C" PRIMARY KEY,
    sealed     BYTEA  NOT NULL,
    updated_at BIGINT NOT NULL
);
