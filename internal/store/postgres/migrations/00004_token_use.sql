-- +goose Up
-- From which address a token was last used. Nothing existing changes: the
-- version before this one goes on working.
ALTER TABLE tokens ADD COLUMN last_used_from TEXT NOT NULL DEFAULT '';
