//go:build race

package gateway

// raceEnabled: the race detector makes sync.Pool drop things and allocates itself.
const raceEnabled = true
