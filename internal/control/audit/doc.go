// Package audit keeps the audit's promise that nobody rewrites it: it signs
// checkpoints of the chain at intervals, and writes the export that
// `gatehouse audit verify` reads. And that nobody fills it: it bounds how many
// refusals of one caller are written.
//
// It owns the signing key's life and when a checkpoint is made. It does not
// own the chain's format (internal/auditchain), in which transaction an entry
// is linked (internal/store), or who may export (internal/control/api). Called
// by internal/app, and by internal/control/api through a port; Refusals by
// internal/control/api and internal/control/scim.
package audit
