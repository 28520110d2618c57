package stored

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
)

// Keys seal what is kept; seal.Keyset is one.
type Keys interface {
	Opener
	Seal(plaintext, associatedData []byte) ([]byte, error)
}

// KeptOptions are the settings of a Kept; all but Log are required.
type KeptOptions struct {
	// Dir is where the files go, one a value. It is made where it does not
	// exist, for its owner alone. One process owns it.
	Dir    string
	Keys   Keys
	Reader SealedReader
	// Log is told of values that cannot be kept. Default: nobody.
	Log *slog.Logger
}

// Kept is a SealedReader that keeps what another has read, and hands it out
// while that one's database is away: a gateway that starts meanwhile still has
// the providers' keys. What it keeps is the ciphertext, sealed once more with
// the place and the digest that it belongs to.
type Kept struct {
	opt KeptOptions
	mu  sync.Mutex // one writer of a file
}

// NewKept makes the directory. Error: it cannot be made.
func NewKept(opt KeptOptions) (*Kept, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the directory of the kept secrets: %w", err)
	}
	return &Kept{opt: opt}, nil
}

// value is what a file holds, before it is sealed.
type value struct {
	UID    string `json:"uid"`
	Path   string `json:"path"`
	Digest string `json:"digest"`
	Sealed []byte `json:"sealed"`
}

// keptExt is how the files end; whatever else lies there is left alone.
const keptExt = ".secret"

// keptPlace binds a file's bytes to what they are.
var keptPlace = []byte("kept-secret/1")

func fileOf(uid, path string) string {
	sum := sha256.Sum256([]byte(uid + "\x00" + path))
	return hex.EncodeToString(sum[:16]) + keptExt
}

// SealedSecret asks the reader, and where its database is away what was kept.
// Errors: the reader's.
func (k *Kept) SealedSecret(ctx context.Context, resourceUID, path string) (sealed []byte, digest string, err error) {
	sealed, digest, err = k.opt.Reader.SealedSecret(ctx, resourceUID, path)
	if err == nil {
		k.keep(value{UID: resourceUID, Path: path, Digest: digest, Sealed: sealed})
		return sealed, digest, nil
	}
	if identity.CodeOf(err) != identity.CodeDatabaseUnavailable {
		return nil, "", err
	}
	v, keptErr := k.read(resourceUID, path)
	if keptErr != nil {
		return nil, "", errors.Join(err, keptErr)
	}
	return v.Sealed, v.Digest, nil
}

func (k *Kept) read(uid, path string) (v value, err error) {
	sealed, err := os.ReadFile(filepath.Join(k.opt.Dir, fileOf(uid, path)))
	if errors.Is(err, fs.ErrNotExist) {
		return v, errors.New("and no copy of the value is kept on disk")
	}
	if err != nil {
		return v, fmt.Errorf("read the kept value: %w", err)
	}
	plain, err := k.opt.Keys.Open(sealed, keptPlace)
	if err != nil {
		return v, fmt.Errorf("open the kept value: %w", err)
	}
	if err := json.Unmarshal(plain, &v); err != nil {
		return v, fmt.Errorf("read the kept value: %w", err)
	}
	if v.UID != uid || v.Path != path {
		return v, errors.New("the kept value is of another place")
	}
	return v, nil
}

// keep writes a value unless it is there already. One that cannot be kept is
// missing at the next start, no more.
func (k *Kept) keep(v value) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, err := k.read(v.UID, v.Path); err == nil && old.Digest == v.Digest && string(old.Sealed) == string(v.Sealed) {
		return
	}
	if err := k.write(v); err != nil {
		k.opt.Log.Warn("a stored secret cannot be kept on disk; a start without the database would be without it", "field", v.Path, "error", err)
	}
}

func (k *Kept) write(v value) error {
	plain, err := json.Marshal(v)
	if err != nil {
		return err
	}
	sealed, err := k.opt.Keys.Seal(plain, keptPlace)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(k.opt.Dir, "tmp-*") // 0600
	if err != nil {
		return err
	}
	_, err = file.Write(sealed)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), filepath.Join(k.opt.Dir, fileOf(v.UID, v.Path)))
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

// Only forgets every value that none of refs names as stored.
func (k *Kept) Only(refs []secret.Ref) {
	named := map[string]bool{}
	for _, r := range refs {
		if secret.KindOf(r.Value) == secret.KindStored {
			named[fileOf(r.ResourceUID, r.Path)] = true
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	entries, err := os.ReadDir(k.opt.Dir)
	for _, e := range entries {
		left := strings.HasPrefix(e.Name(), "tmp-") // of a write that was cut off
		if left || strings.HasSuffix(e.Name(), keptExt) && !named[e.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(k.opt.Dir, e.Name())))
		}
	}
	if err != nil {
		k.opt.Log.Warn("a secret that is no longer used cannot be removed from disk", "error", err)
	}
}
