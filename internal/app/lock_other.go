//go:build !unix

package app

import "os"

// lockDir makes the directory. On this system nothing keeps another process out.
func lockDir(dir string) (release func() error, err error) {
	return func() error { return nil }, os.MkdirAll(dir, 0o700)
}
