// Package filter reads and evaluates the filters of list requests, in the
// grammar of SCIM (RFC 7644, 3.4.2.2): eq, ne, co, sw, ew, pr, and, or, not
// and parentheses, over what every resource has: its kind and its metadata.
//
// It owns the grammar and the comparison. It does not own which resources a
// caller may see: whoever lists decides that first, so that a filter cannot be
// used to guess at what is hidden. Specs cannot be filtered by, for the same
// reason. internal/control/api calls it.
package filter
