package postgres

import "github.com/gatehouse-ai/gatehouse/internal/store"

// Classify and Parse are for tests of what no server can be made to say.
var (
	Classify = classify
	Parse    = parse
)

// Pools shows the connections.
func (db *DB) Pools() (config, records store.Pools) { return db.config, db.records }
