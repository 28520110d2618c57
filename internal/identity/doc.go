// Package identity is the glossary of who is asking and what they may do:
// Principal and Grant, User, Membership, Token and Session, Subject,
// Permission and the built-in roles, and the coded errors that every other
// package returns.
//
// It owns these words, the format of our own tokens and the catalogue of
// permissions. It does not own how a credential is verified (internal/authn),
// how a decision is made (internal/authz) or where anything is kept
// (internal/store). Every package above the ground floor imports it; it
// imports the standard library and api/v1 only.
package identity
