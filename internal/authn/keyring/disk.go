package keyring

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn/jose"
)

// disk keeps the last good set of each provider, so that a restart during an outage works. A file is named by the
// provider's uid and by the hash of what makes it trusted, so keys of another configuration are never read back.
type disk struct{ dir string }

type diskEntry struct {
	Version int        `json:"version"`
	UID     string     `json:"uid"`
	Hash    string     `json:"hash"`
	JWKSURL string     `json:"jwksURL,omitempty"` // what discovery said
	Parts   []diskPart `json:"parts"`
}

type diskPart struct {
	URL      string    `json:"url"`
	Fetched  time.Time `json:"fetched"`
	Document []byte    `json:"document"`
}

const (
	diskVersion = 1
	// A clock that was set back must not make a set live longer.
	clockSlack = 5 * time.Minute
)

func (d disk) path(uid, hash string) string {
	return filepath.Join(d.dir, uidPart(uid)+"-"+hash[:32]+".jwks.json")
}

func uidPart(uid string) string {
	sum := sha256.Sum256([]byte(uid))
	return hex.EncodeToString(sum[:16])
}

// load returns what may still be used. Files of the same provider under another configuration are removed.
func (d disk) load(s Source, hash string, now time.Time) ([]part, string, error) {
	if d.dir == "" {
		return nil, "", nil
	}
	own := d.path(s.UID, hash)
	others, err := filepath.Glob(filepath.Join(d.dir, uidPart(s.UID)+"-*"))
	if err != nil {
		return nil, "", err
	}
	for _, other := range others {
		if other != own {
			if err := os.Remove(other); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, "", err
			}
		}
	}
	data, err := os.ReadFile(own)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	var e diskEntry
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, "", fmt.Errorf("%s: %w", filepath.Base(own), err)
	}
	if e.Version != diskVersion || e.UID != s.UID || e.Hash != hash {
		return nil, "", fmt.Errorf("%s belongs to another configuration or version", filepath.Base(own))
	}
	var parts []part
	for _, one := range e.Parts {
		if one.Fetched.After(now.Add(clockSlack)) || one.URL != e.JWKSURL && !slices.Contains(s.JWKSURLs, one.URL) {
			continue
		}
		keys, problems, err := jose.ParseKeySet(one.Document)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", filepath.Base(own), err)
		}
		parts = append(parts, part{url: one.URL, fetched: one.Fetched, document: one.Document, keys: keys, problems: problems})
	}
	return parts, e.JWKSURL, nil
}

// save writes beside, syncs, and renames: a crash leaves the old file or the new one.
func (d disk) save(s Source, hash, jwksURL string, parts []part) error {
	if d.dir == "" {
		return nil
	}
	e := diskEntry{Version: diskVersion, UID: s.UID, Hash: hash, JWKSURL: jwksURL}
	for _, p := range parts {
		if !p.fetched.IsZero() {
			e.Parts = append(e.Parts, diskPart{URL: p.url, Fetched: p.fetched, Document: p.document})
		}
	}
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	own := d.path(s.UID, hash)
	f, err := os.CreateTemp(d.dir, filepath.Base(own)+".tmp-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), own)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return d.syncDir()
}

func (d disk) syncDir() error {
	dir, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (d disk) remove(uid, hash string) error {
	if d.dir == "" {
		return nil
	}
	if err := os.Remove(d.path(uid, hash)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
