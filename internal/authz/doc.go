// Package authz decides. Decide is the one function that says whether a
// principal may do something; listing, calling, administering and explaining
// all ask it.
//
// It owns the order of the steps and the reasons. It does not own who is
// asking (internal/authn) or what was granted (internal/snapshot). It is pure:
// no I/O, no clock but the one in the request.
package authz
