package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	stdinName   = "stdin"
	maxFolders  = 16    // levels of folders
	maxManifest = 10000 // files of one folder
)

// ReadPath reads the manifests of a file, of "-" (standard input), or of a
// folder and its folders (*.yaml, *.yml, *.json, in the order of their names;
// whatever begins with a dot is left out, so that a mounted ConfigMap is read
// once, through its visible links). A folder without manifests yields none and
// no error. Wrong manifests yield an Errors, as Parse does; a file that cannot
// be read yields its own error and no documents at all, so that nobody takes
// what is missing for what was removed.
func ReadPath(path string) ([]Document, error) {
	if path == "-" {
		data, err := readLimited(os.Stdin)
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return Parse(stdinName, data)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	files := []string{path}
	if info.IsDir() {
		w := &walker{}
		if err := w.folder(path, 0); err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		files = w.files
	}
	var docs []Document
	var errs Errors
	for _, f := range files {
		data, err := readFile(f)
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		more, err := Parse(f, data)
		if list, ok := errors.AsType[Errors](err); ok {
			errs = append(errs, list...)
		}
		docs = append(docs, more...)
	}
	for _, e := range duplicates(docs) {
		if !slices.Contains(errs, e) { // Parse has found those of one file
			errs = append(errs, e)
		}
	}
	return docs, errs.asError()
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readLimited(f)
}

// readLimited reads one byte more than a file may have, so that Parse refuses
// what is too large.
func readLimited(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxFile+1)) }

type walker struct {
	files []string
	above []string // the real folders that we are in, to notice links in a circle
}

func (w *walker) folder(dir string, level int) error {
	target, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if slices.Contains(w.above, target) || level > maxFolders {
		return fmt.Errorf("%s: folders are nested too deeply, or link to each other in a circle", dir)
	}
	w.above = append(w.above, target)
	defer func() { w.above = w.above[:len(w.above)-1] }()
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := w.entry(filepath.Join(dir, e.Name()), e, level); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) entry(name string, e fs.DirEntry, level int) error {
	isDir := e.IsDir()
	if e.Type()&fs.ModeSymlink != 0 {
		info, err := os.Stat(name)
		if err != nil && !isManifest(name) {
			return nil // a dead link that would not be read anyway
		}
		if err != nil {
			return err
		}
		isDir = info.IsDir()
	}
	if isDir {
		return w.folder(name, level+1)
	}
	if !isManifest(name) {
		return nil
	}
	if len(w.files) == maxManifest {
		return fmt.Errorf("%s: more than %d manifests in one folder", name, maxManifest)
	}
	w.files = append(w.files, name)
	return nil
}

func isManifest(name string) bool {
	return slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}
