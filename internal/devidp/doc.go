// Package devidp is the development identity provider: an OpenID provider with
// a handful of users whose passwords are known to everybody.
//
// It owns discovery, keys, the token endpoint (password, client credentials,
// refresh, authorization code with PKCE), a sign-in page, userinfo, sign-out and
// two shortcuts for a shell. It owns no real account and must never be reached
// from another machine: CheckAddress refuses every address that is not loopback,
// and the handler answers only to loopback names, so that no web page can reach
// it through DNS. `gatehouse dev` serves it beside the gateway; tests use it as
// an identity provider that does what they ask. It opens no listener itself.
package devidp
