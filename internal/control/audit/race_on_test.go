//go:build race

package audit_test

// raceEnabled: the race detector makes SQLite's Go code twenty times slower.
const raceEnabled = true
