// Package api is the control API, /api/v1: one uniform set of verbs for every
// resource kind, apply, people, tokens, explain and the audit.
//
// It owns HTTP: routes and their OpenAPI description, preconditions, paging,
// filters, problem+json, and that every operation declares its permission and
// its audit action where it is registered. It does not own what may be written
// by whom (the subpackage apply), how filters are read (filter), who is asking
// (internal/authn), how decisions are made (internal/authz), or the database
// (internal/store), which it sees through the ports below.
//
// It takes credentials from headers alone, never from cookies.
//
// internal/app makes one and mounts its Handler under /api/v1/.
package api
