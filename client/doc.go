// Package client talks to the control API of Gatehouse.
//
// It owns the requests, the typed answers and the typed error (*Problem): what
// the command line uses, and what else a program asks of tokens, people and the
// audit. Every method and every type is held to a running server and to the
// API's own description in internal/testkit/e2e; what is not held there goes. It
// does not own how a token is got and kept (the CLI's login), what the
// resources mean (api/v1), or YAML: manifests are sent as they were written.
// It imports the standard library and api/v1 only, so that it can be used
// outside this repository.
package client
