// Package store keeps the configuration, the people, their tokens and sessions,
// and the records in SQL. Everything that both databases share is here: one file
// a table group, plain SQL with question marks, and the transaction that makes
// the order of revisions the order of commits. An audit entry is linked into the
// chain of internal/auditchain in the transaction that writes it.
//
// It owns the tables' contents, revisions and changes, tombstones, what may be
// used once, the audit's order, and sealed bytes. It does not own how a database
// is opened, migrated and locked (store/sqlite, store/postgres), how entries are
// hashed and checkpoints signed (internal/auditchain, internal/control/audit),
// what the rows mean together (internal/snapshot), who may read or write them
// (internal/control), or encryption (internal/seal): it sees ciphertext and
// digests only, never a token, a cookie or a secret.
//
// The app opens one store and hands it to the control wing, to the snapshot's
// loader, to the gateway's directory port and to the ledger, each through an
// interface that they declare themselves.
package store
