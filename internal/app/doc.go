// Package app is the only place where things are wired: it opens the store,
// makes the runtimes, starts the two wings on their listeners, and takes all
// of it down again in the opposite order.
//
// It owns the order of starting and stopping, the listeners, the health
// endpoints, the adapters between packages that must not import each other,
// the watching of manifests.dir, the one-time bootstrap and what
// `gatehouse dev` adds. It does not own anything that can be tested without
// it. cmd/gatehouse and testkit call it.
package app
