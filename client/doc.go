// Package client talks to the control API of Gatehouse.
//
// It owns the requests, the typed answers and the typed error (*Problem). It
// does not own how a token is got and kept (the CLI's login), what the
// resources mean (api/v1), or YAML: manifests are sent as they were written.
// It imports the standard library and api/v1 only, so that it can be used
// outside this repository.
package client
