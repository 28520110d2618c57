//go:build unix

package app

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// lockDir makes a directory this process's own until release is called, or the
// process ends however it does. Error: another process has it.
func lockDir(dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "gatehouse.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another Gatehouse uses it")
		}
		return nil, errors.Join(err, file.Close())
	}
	return file.Close, nil
}
