// Package settings is what an operator sets for the process: addresses, limits,
// where data and keys are.
//
// It owns every setting's names (flag, environment, file), default, meaning and
// check, which all stand in the tags of Settings; the environment that other
// gateways read (AUTH_*, OIDC_CONFIG_FILE_PATH, providers' usual variables); and
// the resources that this environment stands for. It does not own what the
// settings do: internal/app wires them. cmd/gatehouse loads them and internal/app
// takes them. It reads files but opens no connection.
//
// docs/settings.md is made from the tags by the command refgen below this folder.
//
//go:generate go run ./refgen -root ../../..
package settings
