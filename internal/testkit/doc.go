// Package testkit runs Gatehouse for tests: an App in process on free ports
// and a data directory of its own, and what a test usually asks of it.
//
// It owns no assertion about the product. Tests call it; testkit/real starts
// the components that are not ours.
package testkit
