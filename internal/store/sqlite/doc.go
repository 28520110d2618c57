// Package sqlite opens the store on SQLite: two files beside each other,
// gatehouse.db, whose acknowledged writes survive a power cut, and records.db,
// which may lose its last moments to one.
//
// It owns the files, their permissions, the connections and the schema. It
// does not own the statements (internal/store). The app opens it; without a
// database the same code runs in memory.
package sqlite
