// Package real starts the components that Gatehouse is tested against and that
// its authors did not write: Keycloak, oidc-provider, a llama.cpp server, an
// OpenAPI validator, nginx, Caddy, and the official SDKs.
//
// It owns their processes: each binds 127.0.0.1 on a free port, writes its log
// into the test's folder (shown when the test fails), and ends with its whole
// process group at cleanup, also when the test binary itself is killed.
//
// It does not own fetching them: scripts/real/fetch does, and leaves one status
// file a component, which this package reads. A component that is not there
// skips the test with the reason that fetch gave, unless GATEHOUSE_REAL_REQUIRE
// (a comma-separated list of components) names it: then the test fails. Where
// GATEHOUSE_REAL_REPORT names a file, one line a use is appended to it:
// `ran NAME VERSION TEST` or `skipped NAME TEST: REASON`.
//
// Tests under the build tag `real` call it; nothing in the product does.
package real
