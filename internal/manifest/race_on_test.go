//go:build race

package manifest

// heavySize is smaller under the race detector, which makes everything ten
// times slower.
const heavySize = maxFile / 4
