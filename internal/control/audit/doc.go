// Package audit keeps the audit's promise that nobody rewrites it: it signs
// checkpoints of the chain at intervals, and writes the export that
// `gatehouse audit verify` reads.
//
// It owns the signing key's life and when a checkpoint is made. It does not
// own the chain's format (internal/auditchain), in which transaction an entry
// is linked (internal/store), or who may export (internal/control/api). Called
// by internal/app, and by internal/control/api through a port.
package audit
