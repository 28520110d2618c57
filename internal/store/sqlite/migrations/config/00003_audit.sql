-- +goose Up
-- The audit's chain and its checkpoints, and sealed values that are replaced.
-- Nothing existing changes: the version before this one goes on working.

-- Entries from before this, and those that the version before this one writes
-- beside it, are in no chain: they have no chain_seq, and no export holds them.
ALTER TABLE audit ADD COLUMN chain_seq INTEGER;
ALTER TABLE audit ADD COLUMN prev_hash BLOB CHECK (length(prev_hash) = 32);
ALTER TABLE audit ADD COLUMN hash BLOB CHECK (length(hash) = 32);
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
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    chain TEXT    NOT NULL,
    seq   INTEGER NOT NULL,
    hash  BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE audit_checkpoints (
    seq       INTEGER PRIMARY KEY,
    hash      BLOB    NOT NULL CHECK (length(hash) = 32),
    at        INTEGER NOT NULL,
    key_id    TEXT    NOT NULL,
    signature BLOB    NOT NULL
) STRICT;

CREATE INDEX memberships_by_team ON memberships (team, user_uid);

-- Ciphertext only.
CREATE TABLE sealed_values (
    name       TEXT PRIMARY KEY,
    sealed     BLOB    NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
