package secret

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// The managers whose resources the operator writes on the host itself.
const (
	managerDir = "dir"
	managerEnv = "env"
)

// Allow says which references to the host's environment and files may be used
// by resources that do not come from the operator's own files (manifests.dir)
// or environment. Its zero value allows none.
type Allow struct {
	// Env is secrets.allowEnv: exact names, or a prefix that ends in *.
	Env []string
	// Files is secrets.allowFiles: absolute paths, or directories that end in /.
	// A file in an allowed directory may be a link only if the link is relative
	// and stays inside; a path that is listed by itself may lead anywhere.
	Files []string
	// NeverEnv and NeverFiles are Gatehouse's own secrets (the master key): no
	// list reaches them.
	NeverEnv   []string
	NeverFiles []string
}

// Validate reports entries that could mean something else than they say, with
// the setting's name. An entry that Validate refuses allows nothing.
func (a Allow) Validate() error {
	var errs []error
	for _, e := range a.Env {
		if !validEnvEntry(e) {
			errs = append(errs, fmt.Errorf("secrets.allowEnv: %q is not a name, or a prefix of one followed by *", e))
		}
	}
	for _, e := range a.Files {
		if !validFileEntry(e) {
			errs = append(errs, fmt.Errorf("secrets.allowFiles: %q is not an absolute path without \".\" and \"..\", or a directory below / that ends in /", e))
		}
	}
	return errors.Join(errs...)
}

func validEnvEntry(e string) bool {
	name := strings.TrimSuffix(e, "*")
	return name != "" && !strings.ContainsAny(name, "*= \x00")
}

func validFileEntry(e string) bool {
	path := strings.TrimSuffix(e, "/")
	return path != "" && clean(path)
}

// clean reports whether p has only one reading: absolute, no ".", "..", "//".
func clean(p string) bool {
	return filepath.IsAbs(p) && filepath.Clean(p) == p && !strings.ContainsRune(p, 0)
}

// Check says whether a resource of this manager may use the reference v. It is
// asked when the resource is written and again whenever the value is fetched.
// The error has CodePermissionDenied and names the setting. Values and store
// references are not its business.
func (a Allow) Check(v v1.SecretValue, manager string) error {
	_, err := a.check(v, manager)
	return err
}

// CheckFile is Check for the fields that name a file and are no secrets (a CA
// bundle).
func (a Allow) CheckFile(path, manager string) error {
	return a.Check(v1.SecretValue{File: path}, manager)
}

// check returns besides the directory that a file must not leave.
func (a Allow) check(v v1.SecretValue, manager string) (within string, err error) {
	if manager == managerDir || manager == managerEnv {
		return "", nil
	}
	if v.Env != "" && !a.allowsEnv(v.Env) {
		return "", denied("secrets.allowEnv", fmt.Sprintf("the environment variable %q is not in secrets.allowEnv", v.Env))
	}
	if v.File == "" {
		return "", nil
	}
	if !clean(v.File) {
		return "", denied("secrets.allowFiles", fmt.Sprintf("the path %q must be absolute and written without \".\", \"..\" and \"//\"", v.File))
	}
	for _, own := range a.NeverFiles {
		if sameFile(own, v.File) {
			return "", denied("secrets.allowFiles", fmt.Sprintf("the file %q is Gatehouse's own", v.File))
		}
	}
	for _, e := range a.Files {
		if !validFileEntry(e) {
			continue
		}
		if e == v.File {
			return "", nil
		}
		if !strings.HasSuffix(e, "/") || !strings.HasPrefix(v.File, e) {
			continue
		}
		if err := staysInside(e, strings.TrimPrefix(v.File, e)); err != nil {
			return "", denied("secrets.allowFiles", fmt.Sprintf("the file %q leads out of the directory %q of secrets.allowFiles, or cannot be looked at", v.File, e))
		}
		return e, nil
	}
	return "", denied("secrets.allowFiles", fmt.Sprintf("the file %q is not in secrets.allowFiles", v.File))
}

func (a Allow) allowsEnv(name string) bool {
	for _, own := range a.NeverEnv {
		if own == name {
			return false
		}
	}
	for _, e := range a.Env {
		prefix, isPrefix := strings.CutSuffix(e, "*")
		if validEnvEntry(e) && (e == name || isPrefix && strings.HasPrefix(name, prefix)) {
			return true
		}
	}
	return false
}

// staysInside follows the links of dir/name and fails if one leads out of dir.
// What does not exist yet is inside: it is looked at again when it is read.
func staysInside(dir, name string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // read only
	if _, err = root.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sameFile reports whether two paths are one file, through whatever links.
func sameFile(a, b string) bool {
	if filepath.Clean(a) == filepath.Clean(b) {
		return true
	}
	ia, errA := os.Stat(a)
	ib, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(ia, ib)
}

func denied(setting, message string) error {
	return &identity.Error{
		Code:    identity.CodePermissionDenied,
		Message: message + "; use {value: …}, or ask the operator to extend " + setting,
	}
}
