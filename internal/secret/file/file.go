package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gatehouse-ai/gatehouse/internal/secret"
)

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 64 << 10

// Fetch reads the file and trims the line ends at its end. A file that is
// empty, larger than MaxSize or not a regular file is an error; with
// ref.Within also one that leads out of that directory.
func (b *Backend) Fetch(_ context.Context, ref secret.Ref) (string, error) {
	path := ref.Value.File
	f, err := open(path, ref.Within)
	if err != nil {
		return "", fmt.Errorf("open the file %s: %w", path, cause(err))
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("open the file %s: %w", path, cause(err))
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read the file %s: %w", path, cause(err))
	case len(data) > MaxSize:
		return "", fmt.Errorf("the file %s is larger than %d bytes", path, MaxSize)
	}
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" {
		return "", fmt.Errorf("the file %s is empty", path)
	}
	return value, nil
}

// open never waits for a writer of a named pipe. With within the kernel's view
// of the path is held to that directory at every step, so that a link that is
// swapped between a check and the reading gains nothing.
func open(path, within string) (*os.File, error) {
	const flags = os.O_RDONLY | syscall.O_NONBLOCK
	if within == "" {
		return os.OpenFile(path, flags, 0)
	}
	root, err := os.OpenRoot(within)
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // read only
	name, ok := strings.CutPrefix(path, filepath.Clean(within)+"/")
	if !ok {
		return nil, errors.New("the path is outside of its directory")
	}
	return root.OpenFile(name, flags, 0)
}

// cause drops the path that os errors repeat.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
