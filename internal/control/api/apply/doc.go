// Package apply writes resources: one PUT, one DELETE or a whole folder of
// manifests, all or nothing, through one engine.
//
// It owns who may write what (permissions, "nobody grants more than they
// hold", the mode of virtual accounts), one manager a resource, references
// between resources, what becomes of secret values, and the audit entries of
// a change. It does not own HTTP (internal/control/api), how manifests are
// read and compared (internal/manifest), or the transaction (internal/store).
//
// internal/control/api calls it for people, and internal/app for
// manifests.dir and the environment, whose writer is the operator and has no
// principal.
package apply
