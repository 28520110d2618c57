// Package manifest turns manifests into the resources of api/v1 and back: YAML
// and JSON with the line and column of everything that is wrong with them.
//
// It owns how manifests are read (strictly: nothing unknown, nothing twice,
// nothing guessed), where in a file a field stands, how resources are written
// as YAML, and the difference between two of them. It does not own what the
// fields mean or which values are right (api/v1), what may be applied by whom
// (internal/control/api), or where resources are kept (internal/store).
// The CLI, the control API and the watcher of manifests.dir call it.
//
// docs/manifests.md is made from the comments of api/v1 by the command refgen
// below this folder.
//
//go:generate go run ./refgen -root ../..
package manifest
