// Package seal encrypts what Gatehouse keeps at rest: stored secret values and
// the copy of the snapshot on disk. It opens the installation's master key
// from a reference, seals and opens bytes with it (AES-256-GCM through Tink),
// and computes the keyed digest that is shown in place of a stored value.
//
// It owns: the forms in which a master key may be given (secrets.masterKey),
// the file's creation and its permissions, key rotation in a key file, the
// check value that detects a wrong key, and how sealed bytes are bound to the
// place that they belong to (AssociatedData).
//
// It does not own: where sealed bytes are kept (internal/store), when a secret
// is read (internal/secret), or which settings lead here (internal/app).
//
// Called by: internal/app at the start, control/api when a secret is written,
// internal/secret/stored when one is read, and whoever writes the snapshot to
// disk.
package seal
