// Package safehttp makes outbound HTTP clients that refuse to be sent to places an operator did not mean: link-local
// and cloud metadata addresses never, private ranges and loopback only where the policy says so, plain HTTP only on
// loopback or where the manifest says insecureHTTP. The address is checked at dial time, after DNS, so that a name
// which changes its answer between the check and the connection (DNS rebinding) gains nothing.
//
// It owns: the address policy, the check of a URL when it is written, transports with timeouts everywhere, and one
// bounded GET. It does not own: retries, caching, credentials, connection pools' lifetime.
//
// Callers: authn/keyring (key sets), control/sso (discovery, keys, SAML metadata), the gateway's transports; app/settings for the rule of what is loopback.
package safehttp
