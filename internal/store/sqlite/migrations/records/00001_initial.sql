-- +goose Up
-- Times and durations are microseconds, times since 1970, UTC. seq is the
-- order of writing.

CREATE TABLE requests (
    seq           INTEGER PRIMARY KEY,
    at            INTEGER NOT NULL,
    uid           TEXT    NOT NULL,
    team          TEXT    NOT NULL,
    account       TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    status        INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    duration      INTEGER NOT NULL,
    detail        BLOB    NOT NULL
) STRICT;

-- One line a batch, for removing what is old without an index on time.
CREATE TABLE request_batches (
    hi     INTEGER PRIMARY KEY,
    lo     INTEGER NOT NULL,
    min_at INTEGER NOT NULL,
    max_at INTEGER NOT NULL
) STRICT;

-- One line a principal of each batch: their records are between lo and hi.
CREATE TABLE request_principals (
    uid TEXT    NOT NULL,
    hi  INTEGER NOT NULL,
    lo  INTEGER NOT NULL,
    PRIMARY KEY (uid, hi)
) STRICT, WITHOUT ROWID;
