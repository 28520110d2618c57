// Package secret turns references to secrets ({value}, {stored}, {env},
// {file}, {store} in a manifest) into handles whose value is one atomic load
// away. Fetching, watching and retrying go on in the background; a handle that
// was resolved once keeps its value when its source is away.
//
// It owns: Cache and its handles, the rule who may refer to what on the host
// (Allow), and the Backend contract; a subpackage implements one backend.
//
// It does not own: encryption (internal/seal), where sealed values are kept
// (internal/store, through the port that the stored subpackage declares), or
// which fields of a resource are secrets (api/v1 and the callers).
//
// No value ever stands in an error, a log line or Status.
//
// Called by: internal/app (one Cache; Reconcile before a snapshot is
// published), gateway and control packages that hold handles, and control/api,
// which asks Allow before it writes a reference.
package secret
