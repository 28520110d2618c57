// Package v1 holds the resources of Gatehouse exactly as people write them:
// one file a kind, with its defaults and its validation.
//
// It owns the shape of manifests and API bodies, the short forms that are
// normalised, and every rule that can be checked by looking at one resource
// alone. It does not own YAML (internal/manifest), who may write what
// (internal/control/api), or what resources mean together (internal/snapshot).
// Everything that reads configuration imports it; it imports the standard
// library only, so that it can be used outside this repository.
package v1
