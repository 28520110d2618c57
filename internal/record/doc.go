// Package record holds what happened: Request and Usage for every call,
// AuditEntry for every administrative change, and Batch, the one shape in
// which a change is written.
//
// It owns the words, not the writing (internal/store), the queueing
// (internal/ledger) or who may see them (data access). It imports the ground
// floor only.
package record
