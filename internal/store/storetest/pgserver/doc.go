// Package pgserver runs a real PostgreSQL server for tests: in a directory that
// is removed, on 127.0.0.1 and a free port, with a password, without fsync.
//
// It owns the server's process and its end, also when the test binary is
// killed. It does not own what is tested against it. Tests of store/postgres and
// of testkit call it; nothing in the product does.
package pgserver
