// Package storetest is the one suite that every database behind the store must
// pass: each test states a promise that the rest of Gatehouse builds on.
//
// It owns the promises that any caller can see through the store's methods. It
// does not own what only one database can break (power cuts, file modes,
// schemas): that is tested in the database's own package. Tests call it.
package storetest
