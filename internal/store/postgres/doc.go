// Package postgres opens the store on PostgreSQL, which several replicas share:
// configuration and records in one database, each with connections of its own;
// the records' commits do not wait for the disk.
//
// It owns the connections and their limits, the schema, what PostgreSQL's errors
// mean, and hearing of the other replicas' commits: LISTEN/NOTIFY, and behind it
// a look at the revision twice a second. It does not own the statements
// (internal/store). The app opens it.
//
// Work that one replica alone may do needs leases (name, holder, fencing number,
// the database's time); they will be a table of the store, beside replay.
package postgres
