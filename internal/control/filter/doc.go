// Package filter reads filters in the grammar of SCIM (RFC 7644, 3.4.2.2), and
// evaluates those of list requests: eq, ne, co, sw, ew, pr, and, or, not and
// parentheses, over what every resource has: its kind and its metadata.
//
// It owns the grammar, for the control API (Parse) and, with ordering, numbers,
// booleans and value paths, for the SCIM server (ParseExpr, ParsePath), and the
// comparison of resources. It does not own which resources a caller may see:
// whoever lists decides that first, so that a filter cannot be used to guess at
// what is hidden. Specs cannot be filtered by, for the same reason. It does not
// own SCIM's schemas: internal/control/scim binds what is read to them.
//
// internal/control/api and internal/control/scim call it.
package filter
