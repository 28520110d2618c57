//go:build !race

package manifest

const heavySize = maxFile
