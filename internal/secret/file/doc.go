// Package file is the secret backend for {file: PATH}. It reads files and
// notices when they change: in place, by rename, or by the link swap with which
// Kubernetes updates mounted secrets; a poll stands behind the notifications
// for file systems that send none.
//
// It owns the reading and the watching. Who may name which file is
// internal/secret's Allow, which hands over the directory that a file must not
// leave. internal/app makes it, gives it to secret.Cache, and closes it after
// the cache.
package file
