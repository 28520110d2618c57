// Package sso signs people in: OpenID Connect with the identity providers that
// SsoConnections name, SAML 2.0 by the messages of the subpackage saml, the break-glass
// administrator, and what a sign-in leaves behind: a session.
//
// It owns the pages under /sso/ (server-rendered, without JavaScript), one
// attempt to sign in from its start to its end (state, nonce, PKCE, sealed in
// the browser's cookie and claimed once), the relying party's checks of
// OpenID Connect Core, of RFC 9207, of RP-Initiated Logout and of Back-Channel
// Logout, the rule by which an identity finds its user at sign-in, and the
// sessions' life: made, rotated, looked up by cookie, kept alive, ended.
//
// It does not own: what tokens of an identity provider mean to the gateway
// (internal/authn, whose rules for people it repeats), where users and sessions
// are kept (ports), what a signed-in person may do (internal/authz), SAML
// messages (the subpackage saml), or our own authorization server.
//
// The only credential that it reads is its own cookie, and that cookie is read
// nowhere else: Sessions.Authenticate is what the control API and the
// authorization server call.
//
// Called by: internal/app, which mounts Handler at /sso/ and hands Sessions to
// the control API.
package sso
