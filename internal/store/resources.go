package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// storedResource is a row of resources.
type storedResource struct {
	uid, kind, name, apiVersion string
	spec, labels, annotations   string
	manager, version            string
	generation, createdMillis   int64
}

const resourceColumns = `uid, kind, name, api_version, spec, labels, annotations, manager, generation, resource_version, created_at`

func (s *storedResource) scan(r row) error {
	return r.Scan(&s.uid, &s.kind, &s.name, &s.apiVersion, &s.spec, &s.labels, &s.annotations,
		&s.manager, &s.generation, &s.version, &s.createdMillis)
}

func (s *storedResource) key() identity.ResourceKey {
	return identity.ResourceKey{Kind: v1.Kind(s.kind), Name: s.name}
}

// newVersion is not a counter: a resource that was deleted and made again, or
// restored from a backup, must never match an ETag of its former self.
func newVersion() string {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand
	return hex.EncodeToString(raw[:])
}

// specOf returns the spec as JSON. Values of secrets must not be set.
func specOf(r v1.Resource) (string, error) {
	whole, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("marshal %s %s: %w", r.Type().Kind, r.Meta().Name, err)
	}
	var parts struct {
		Spec json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal(whole, &parts); err != nil {
		return "", fmt.Errorf("read the spec of %s %s: %w", r.Type().Kind, r.Meta().Name, err)
	}
	return string(parts.Spec), nil
}

func encodeMap(m map[string]string) (string, error) {
	if len(m) == 0 {
		return "", nil
	}
	b, err := json.Marshal(m)
	return string(b), err
}

func decodeMap(s string) (m map[string]string, err error) {
	if s == "" {
		return nil, nil
	}
	err = json.Unmarshal([]byte(s), &m)
	return m, err
}

// decode is strict: a field that this version does not know may be one that
// narrows, so a resource that has one is not readable rather than read without it.
func (s *storedResource) decode() (v1.Resource, error) {
	r := v1.New(v1.Kind(s.kind))
	if r == nil {
		return nil, fmt.Errorf("this version does not know the kind %q", s.kind)
	}
	if s.apiVersion != v1.APIVersion {
		return nil, fmt.Errorf("this version does not know the apiVersion %q", s.apiVersion)
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(`{"spec":` + s.spec + `}`)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("this version cannot read the spec: %w", err)
	}
	labels, err := decodeMap(s.labels)
	if err != nil {
		return nil, fmt.Errorf("this version cannot read the labels: %w", err)
	}
	annotations, err := decodeMap(s.annotations)
	if err != nil {
		return nil, fmt.Errorf("this version cannot read the annotations: %w", err)
	}
	*r.Type() = v1.TypeMeta{APIVersion: s.apiVersion, Kind: v1.Kind(s.kind)}
	m := r.Meta()
	m.Name, m.Labels, m.Annotations = s.name, labels, annotations
	s.fill(m)
	return r, nil
}

// fill sets what Gatehouse sets.
func (s *storedResource) fill(m *v1.ObjectMeta) {
	created := fromMillis(s.createdMillis)
	m.UID, m.ResourceVersion, m.Generation, m.Manager, m.CreationTimestamp = s.uid, s.version, s.generation, s.manager, &created
}

// add puts the resource where it belongs: read, or quarantined.
func (s *storedResource) add(rows *identity.Rows) {
	r, err := s.decode()
	if err != nil {
		rows.Quarantined = append(rows.Quarantined, identity.Quarantined{Key: s.key(), Reason: err.Error()})
		return
	}
	rows.Resources = append(rows.Resources, r)
}

func (t *tx) resource(key identity.ResourceKey) (storedResource, bool, error) {
	return t.resourceWhere(`kind = ? AND name = ?`, string(key.Kind), key.Name)
}

func (t *tx) resourceWhere(where string, args ...any) (storedResource, bool, error) {
	var s storedResource
	found := false
	err := t.each(`SELECT `+resourceColumns+` FROM resources WHERE `+where, args, func(r row) error {
		found = true
		return s.scan(r)
	})
	return s, found, err
}

// Resource returns one resource.
// Errors: not_found, database_unavailable; uncoded for a resource that this
// version cannot read.
func (db *Database) Resource(ctx context.Context, key identity.ResourceKey) (v1.Resource, error) {
	return db.oneResource(ctx, key.Kind, key.Name, func(t *tx) (storedResource, bool, error) { return t.resource(key) })
}

// ResourceByUID returns the resource of a kind with a uid.
// Errors: as Resource.
func (db *Database) ResourceByUID(ctx context.Context, kind v1.Kind, uid string) (v1.Resource, error) {
	return db.oneResource(ctx, kind, "with the uid "+uid, func(t *tx) (storedResource, bool, error) {
		return t.resourceWhere(`uid = ? AND kind = ?`, uid, string(kind))
	})
}

func (db *Database) oneResource(ctx context.Context, kind v1.Kind, what string, read func(*tx) (storedResource, bool, error)) (v1.Resource, error) {
	var s storedResource
	err := db.view(ctx, db.config, func(t *tx) error {
		var found bool
		var err error
		if s, found, err = read(t); err == nil && !found {
			err = identity.Errorf(identity.CodeNotFound, "there is no %s %s", kind.Slug(), what)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r, err := s.decode()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind.Slug(), what, err)
	}
	return r, nil
}

// Resources lists resources of a kind by name, those after a name; "" begins.
// A limit of 0 is 500; 10 000 is the most. Resources that this version cannot
// read are left out; Load lists them.
// Errors: database_unavailable.
func (db *Database) Resources(ctx context.Context, kind v1.Kind, after string, limit int) ([]v1.Resource, error) {
	var list []v1.Resource
	err := db.view(ctx, db.config, func(t *tx) error {
		// A page is as long as it can be, whatever is left out of it.
		for want := pageSize(limit); want > 0; want = pageSize(limit) - len(list) {
			rows, last, err := t.resourcePage(kind, after, want)
			if err != nil {
				return err
			}
			list = append(list, rows.Resources...)
			if after = last; after == "" {
				break
			}
		}
		return nil
	})
	return list, err
}

// resourcePage reads up to n rows; last is "" when there are no more.
func (t *tx) resourcePage(kind v1.Kind, after string, n int) (rows identity.Rows, last string, err error) {
	count := 0
	err = t.each(`SELECT `+resourceColumns+` FROM resources WHERE kind = ? AND name > ? ORDER BY name LIMIT ?`, []any{string(kind), after, n}, func(r row) error {
		var s storedResource
		if err := s.scan(r); err != nil {
			return err
		}
		s.add(&rows)
		last = s.name
		count++
		return nil
	})
	if count < n {
		last = ""
	}
	return rows, last, err
}

// AllResources lists every resource that this version can read, by kind and name.
// Errors: database_unavailable.
func (db *Database) AllResources(ctx context.Context) ([]v1.Resource, error) {
	var list []v1.Resource
	err := db.view(ctx, db.config, func(t *tx) error {
		return t.loadResources(func(rows *identity.Rows) error {
			list = append(list, rows.Resources...)
			return nil
		})
	})
	return list, err
}

// SealedSecret returns the ciphertext and the digest of a stored secret value.
// Errors: not_found, database_unavailable.
func (db *Database) SealedSecret(ctx context.Context, resourceUID, path string) (sealed []byte, digest string, err error) {
	err = db.view(ctx, db.config, func(t *tx) error {
		found, err := t.one(`SELECT sealed, digest FROM sealed_secrets WHERE resource_uid = ? AND path = ?`, []any{resourceUID, path}, &sealed, &digest)
		if err == nil && !found {
			err = identity.Errorf(identity.CodeNotFound, "there is no stored value for %s", path)
		}
		return err
	})
	return sealed, digest, err
}
