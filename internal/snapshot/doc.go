// Package snapshot compiles configuration into an immutable picture of it and
// publishes that picture.
//
// It owns Snapshot (what may be looked up, in constant time and without
// locks), the Builder that makes one from rows or from a change, and the
// Publisher that follows a store and swaps pictures. It does not own what
// lives longer than a snapshot (key sets, secrets, transports: the runtimes,
// which are told through Reconcile before a publish), nor any decision
// (internal/authz). The gateway wing and the control wing both read it, and
// never each other.
package snapshot
