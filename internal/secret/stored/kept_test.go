package stored_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/seal"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/secret/stored"
)

// vault is a database of stored values, by place.
type vault struct {
	rows map[string]row
	err  error // every answer, where it is not nil
}

func (v *vault) SealedSecret(_ context.Context, uid, path string) ([]byte, string, error) {
	r, ok := v.rows[uid+" "+path]
	switch {
	case v.err != nil:
		return nil, "", v.err
	case !ok:
		return nil, "", identity.Errorf(identity.CodeNotFound, "no such value")
	}
	return r.sealed, r.digest, nil
}

var errAway = identity.Errorf(identity.CodeDatabaseUnavailable, "away")

type keptWorld struct {
	t    *testing.T
	keys *seal.Keyset
	dir  string
	db   *vault
}

func newKeptWorld(t *testing.T) *keptWorld {
	t.Helper()
	return &keptWorld{t: t, keys: keyset(t), dir: filepath.Join(t.TempDir(), "secrets"), db: &vault{rows: map[string]row{}}}
}

// put stores a value and returns the reference to it.
func (w *keptWorld) put(uid, value string) secret.Ref {
	w.t.Helper()
	ad := seal.AssociatedData(uid, "spec.key")
	sealed, err := w.keys.Seal([]byte(value), ad)
	if err != nil {
		w.t.Fatal(err)
	}
	digest := w.keys.Digest(value, ad)
	w.db.rows[uid+" spec.key"] = row{sealed: sealed, digest: digest}
	return secret.Ref{ResourceUID: uid, Path: "spec.key", Value: v1.SecretValue{Stored: true, Digest: digest}}
}

// process is what a process has of it.
func (w *keptWorld) process() (*stored.Kept, *stored.Backend) {
	w.t.Helper()
	kept, err := stored.NewKept(stored.KeptOptions{Dir: w.dir, Keys: w.keys, Reader: w.db})
	if err != nil {
		w.t.Fatal(err)
	}
	return kept, stored.New(kept, w.keys)
}

func (w *keptWorld) files() (names []string) {
	w.t.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, filepath.Join(w.dir, e.Name()))
	}
	return names
}

func TestAStoredValueIsThereWhileTheDatabaseIsAway(t *testing.T) {
	w := newKeptWorld(t)
	ref := w.put("u1", "sk-private")
	_, first := w.process()
	if got, err := first.Fetch(t.Context(), ref); got != "sk-private" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	w.db.err = errAway
	_, second := w.process()
	if got, err := second.Fetch(t.Context(), ref); got != "sk-private" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	never := secret.Ref{ResourceUID: "u2", Path: "spec.key", Value: ref.Value}
	if got, err := second.Fetch(t.Context(), never); got != "" || identity.CodeOf(err) != identity.CodeDatabaseUnavailable {
		t.Errorf("what was never kept: %q, %v", got, err)
	}
}

func TestSecurityWhatIsKeptIsSealedAndItsOwnersAlone(t *testing.T) {
	w := newKeptWorld(t)
	ref := w.put("u1", "sk-private")
	_, b := w.process()
	if _, err := b.Fetch(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Stat(w.dir)
	if err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v", dir.Mode(), err)
	}
	files := w.files()
	if len(files) != 1 {
		t.Fatalf("files %v", files)
	}
	st, err := os.Stat(files[0])
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", st.Mode(), err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil || strings.Contains(string(text), "sk-private") || strings.Contains(string(text), "u1") || strings.Contains(files[0], "u1") {
		t.Errorf("%s holds %q, %v", files[0], text, err)
	}
}

// Only a database that is away is stood in for: what it says itself counts.
func TestSecurityTheDatabasesNoIsNoToWhatIsKept(t *testing.T) {
	w := newKeptWorld(t)
	ref := w.put("u1", "sk-private")
	_, b := w.process()
	if _, err := b.Fetch(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	delete(w.db.rows, "u1 spec.key")
	if got, err := b.Fetch(t.Context(), ref); got != "" || identity.CodeOf(err) != identity.CodeNotFound {
		t.Errorf("%q, %v", got, err)
	}
	w.db.err = errors.New("broken")
	if got, err := b.Fetch(t.Context(), ref); got != "" || err == nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSecurityAnOlderOrAlteredFileIsNotTaken(t *testing.T) {
	w := newKeptWorld(t)
	old := w.put("u1", "sk-old")
	kept, b := w.process()
	if _, err := b.Fetch(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	file := w.files()[0]
	oldText, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ref := w.put("u1", "sk-new")
	other := w.put("u2", "sk-other")
	for _, r := range []secret.Ref{ref, other} {
		if _, err := b.Fetch(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	w.db.err = errAway
	if got, err := b.Fetch(t.Context(), ref); got != "sk-new" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	newText, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var otherText []byte
	for _, name := range w.files() {
		if name != file {
			if otherText, err = os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	flipped := append([]byte(nil), newText...)
	flipped[len(flipped)-1] ^= 1
	for name, text := range map[string][]byte{"an older value": oldText, "another's": otherText, "altered": flipped, "cut": newText[:len(newText)/2], "nothing": nil} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Fetch(t.Context(), ref); got != "" || err == nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		sealed, _, err := kept.SealedSecret(t.Context(), ref.ResourceUID, ref.Path)
		if name != "an older value" && (sealed != nil || err == nil) { // only the reference knows that it is older
			t.Errorf("%s is handed out: %v", name, err)
		}
	}
	// And the next time that it can be read it is right again.
	w.db.err = nil
	if _, err := b.Fetch(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	w.db.err = errAway
	if got, err := b.Fetch(t.Context(), ref); got != "sk-new" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWhatNobodyRefersToAnyMoreIsForgotten(t *testing.T) {
	w := newKeptWorld(t)
	stays, goes, moved := w.put("u1", "one"), w.put("u2", "two"), w.put("u3", "three")
	kept, b := w.process()
	for _, r := range []secret.Ref{stays, goes, moved} {
		if _, err := b.Fetch(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"tmp-1", "README"} { // of a write that was cut off, and somebody's own
		if err := os.WriteFile(filepath.Join(w.dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	moved.Value = v1.SecretValue{Env: "KEY"} // the value is elsewhere now
	kept.Only([]secret.Ref{stays, moved})
	if files := w.files(); len(files) != 2 || !strings.HasSuffix(files[0], "README") && !strings.HasSuffix(files[1], "README") {
		t.Errorf("files %v", files)
	}
	w.db.err = errAway
	if got, err := b.Fetch(t.Context(), stays); got != "one" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
