package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/gatehouse-ai/gatehouse/internal/seal"
)

var rawKeyA = bytes.Repeat([]byte{0x41, 0xfe}, 16)

func env(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := values[name]; return v, ok }
}

func open(t *testing.T, ref string, o seal.Options) *seal.Keyset {
	t.Helper()
	k, err := seal.Open(ref, o)
	if err != nil {
		t.Fatalf("Open(%q): %v", ref, err)
	}
	return k
}

func newFileKeyset(t *testing.T) (k *seal.Keyset, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "master.key")
	return open(t, "file:"+path, seal.Options{CreateFile: true}), path
}

func mustSeal(t *testing.T, k *seal.Keyset, plain, ad string) []byte {
	t.Helper()
	b, err := k.Seal([]byte(plain), []byte(ad))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSealedBytesOpenWithTheSameKeyAndPlace(t *testing.T) {
	k, path := newFileKeyset(t)
	again := open(t, "file:"+path, seal.Options{})
	rapid.Check(t, func(t *rapid.T) {
		plain, ad := rapid.SliceOf(rapid.Byte()).Draw(t, "plain"), rapid.SliceOf(rapid.Byte()).Draw(t, "ad")
		sealed, err := k.Seal(plain, ad)
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) >= 8 && bytes.Contains(sealed, plain) {
			t.Fatal("the plaintext stands in the sealed bytes")
		}
		got, err := again.Open(sealed, ad)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("Open = %x, %v; want %x", got, err, plain)
		}
	})
}

func TestSecurityTamperedBytesDoNotOpen(t *testing.T) {
	k, _ := newFileKeyset(t)
	sealed := mustSeal(t, k, "sk-secret", "place")
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if got, err := k.Open(bad, []byte("place")); err == nil {
			t.Fatalf("byte %d flipped: opened as %q", i, got)
		}
	}
	for n := range sealed {
		if _, err := k.Open(sealed[:n], []byte("place")); err == nil {
			t.Fatalf("cut to %d bytes: opened", n)
		}
	}
	bad := bytes.Clone(sealed)
	bad[len(bad)-1] ^= 1
	if _, err := k.Open(bad, []byte("place")); !errors.Is(err, seal.ErrAltered) {
		t.Fatalf("altered bytes: %v, want ErrAltered", err)
	}
}

func TestSecuritySealedBytesOfAnotherPlaceDoNotOpen(t *testing.T) {
	k, _ := newFileKeyset(t)
	sealed, err := k.Seal([]byte("sk"), seal.AssociatedData("uid-1", "spec.apiKey"))
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range [][2]string{{"uid-2", "spec.apiKey"}, {"uid-1", "spec.other"}, {"uid-1spec", ".apiKey"}, {"uid-1s", "pec.apiKey"}, {"", ""}} {
		if _, err := k.Open(sealed, seal.AssociatedData(place[0], place[1])); !errors.Is(err, seal.ErrAltered) {
			t.Errorf("%q: %v, want ErrAltered", place, err)
		}
	}
	if _, err := k.Open(sealed, seal.AssociatedData("uid-1", "spec.apiKey")); err != nil {
		t.Errorf("its own place: %v", err)
	}
}

func TestSecurityWrongKeyIsNamedAsSuch(t *testing.T) {
	a, _ := newFileKeyset(t)
	b, _ := newFileKeyset(t)
	if _, err := b.Open(mustSeal(t, a, "x", "p"), []byte("p")); !errors.Is(err, seal.ErrWrongKey) {
		t.Fatalf("another key: %v, want ErrWrongKey", err)
	}
	check, err := a.CheckValue()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Verify(check); err != nil {
		t.Fatalf("the right key: %v", err)
	}
	err = b.Verify(check)
	if !errors.Is(err, seal.ErrWrongKey) || !strings.Contains(err.Error(), a.Fingerprint()) || !strings.Contains(err.Error(), b.Fingerprint()) ||
		!strings.Contains(err.Error(), "secrets.masterKey") {
		t.Fatalf("the wrong key: %v; want ErrWrongKey with both fingerprints and the setting", err)
	}
	_, sealed, _ := strings.Cut(check, ".")
	_, sealed, _ = strings.Cut(sealed, ".")
	for _, bad := range []string{"", "x", "v1..", "v1." + b.Fingerprint() + ".", "v1." + b.Fingerprint() + "." + sealed, check[:len(check)-4], "v2" + check[2:]} {
		if err := b.Verify(bad); !errors.Is(err, seal.ErrWrongKey) {
			t.Errorf("Verify(%q) = %v, want ErrWrongKey", bad, err)
		}
	}
}

func TestSecurityDigestIsKeyedAndBoundToItsPlace(t *testing.T) {
	a, path := newFileKeyset(t)
	b, _ := newFileKeyset(t)
	ad := seal.AssociatedData("u", "p")
	d := a.Digest("hunter2", ad)
	if d != open(t, "file:"+path, seal.Options{}).Digest("hunter2", ad) {
		t.Error("the digest is not the same after the key was opened again")
	}
	if len(d) != len("hmac:")+22 || strings.Contains(d, "hunter2") {
		t.Errorf("digest %q", d)
	}
	for name, other := range map[string]string{
		"another key":   b.Digest("hunter2", ad),
		"another value": a.Digest("hunter3", ad),
		"another place": a.Digest("hunter2", seal.AssociatedData("u2", "p")),
		"shifted":       a.Digest("phunter2", ad[:len(ad)-1]),
	} {
		if other == d {
			t.Errorf("%s gives the same digest", name)
		}
	}
}

func TestSecurityKeyFileReadableByOthersIsRefused(t *testing.T) {
	_, path := newFileKeyset(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("created with mode %v, %v; want 0600", info.Mode().Perm(), err)
	}
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o660, 0o620, 0o602, 0o610} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := seal.Open("file:"+path, seal.Options{CreateFile: true})
		if err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v; want a refusal that says chmod 600", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		open(t, "file:"+path, seal.Options{})
	}
}

func TestKeyFileIsCreatedOnlyWhenAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	if _, err := seal.Open("file:"+path, seal.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing file: %v, want ErrNotExist", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("the file was created unasked")
	}
	if _, err := seal.Open("file:"+filepath.Join(path, "no", "dir"), seal.Options{CreateFile: true}); err == nil {
		t.Fatal("a missing directory was no error")
	}
}

func TestConcurrentFirstStartsAgreeOnOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	prints := make([]string, 8)
	var wg sync.WaitGroup
	for i := range prints {
		wg.Go(func() {
			k, err := seal.Open("file:"+path, seal.Options{CreateFile: true})
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = k.Fingerprint()
		})
	}
	wg.Wait()
	for _, p := range prints {
		if p != prints[0] {
			t.Fatalf("fingerprints differ: %q", prints)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Fatalf("%d files are left, %v; want the key alone", len(left), err)
	}
}

func TestSecurityReferencesThatAreRefused(t *testing.T) {
	literal := base64.StdEncoding.EncodeToString(rawKeyA)
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte(`{"primaryKeyId": 7, "key": "sk-private-part"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	lookup := env(map[string]string{
		"EMPTY": " ", "SHORT": "c2stcHJpdmF0ZS1wYXJ0", "ZERO": base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"JSON": `{"sk-private-part"`, "NOKEYS": `{"primaryKeyId":1,"key":[]}`,
	})
	for ref, want := range map[string]string{
		literal:                      "never a literal",
		hex.EncodeToString(rawKeyA):  "never a literal",
		"":                           "never a literal",
		"file:":                      "never a literal",
		"env:":                       "never a literal",
		"base64:" + literal:          "never a literal",
		"https://x/y":                "never a literal",
		"aws-kms://arn:aws:kms:x":    "not available in this version",
		"gcp-kms://projects/x":       "not available in this version",
		"AzureKeyVault://x/keys/y":   "not available in this version",
		"hcvault://x/transit/keys/y": "not available in this version",
		"env:MISSING":                "is not set",
		"env:EMPTY":                  "is not set",
		"env:SHORT":                  "openssl rand",
		"env:ZERO":                   "one byte repeated",
		"env:JSON":                   "openssl rand",
		"env:NOKEYS":                 "env",
		"file:" + dir:                "not a regular file",
		"file:" + broken:             "openssl rand",
	} {
		_, err := seal.Open(ref, seal.Options{CreateFile: true, LookupEnv: lookup})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): %v; want %q", ref, err, want)
			continue
		}
		for _, private := range []string{literal, hex.EncodeToString(rawKeyA), "sk-private", "c2stcHJp"} {
			if strings.Contains(err.Error(), private) {
				t.Errorf("Open(%q) repeats the key: %v", ref, err)
			}
		}
	}
}

func TestThirtyTwoRandomBytesAreAKey(t *testing.T) {
	lookup := env(map[string]string{
		"STD": base64.StdEncoding.EncodeToString(rawKeyA) + "\n", "RAW": base64.RawURLEncoding.EncodeToString(rawKeyA), "HEX": hex.EncodeToString(rawKeyA),
	})
	first := open(t, "env:STD", seal.Options{LookupEnv: lookup})
	sealed := mustSeal(t, first, "v", "p")
	for _, name := range []string{"RAW", "HEX"} {
		k := open(t, "env:"+name, seal.Options{LookupEnv: lookup})
		if got, err := k.Open(sealed, []byte("p")); err != nil || string(got) != "v" || k.Fingerprint() != first.Fingerprint() {
			t.Errorf("%s: %q, %v, fingerprint %s", name, got, err, k.Fingerprint())
		}
	}
	if err := first.Rotate(); err == nil {
		t.Error("a key from the environment was rotated")
	}
}

func TestRotateKeepsWhatWasSealed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(rawKeyA)), 0o600); err != nil {
		t.Fatal(err)
	}
	k := open(t, "file:"+path, seal.Options{})
	before, old := k.Fingerprint(), mustSeal(t, k, "old", "p")
	check, err := k.CheckValue()
	if err != nil {
		t.Fatal(err)
	}
	outdated := open(t, "file:"+path, seal.Options{})
	if err := k.Rotate(); err != nil {
		t.Fatal(err)
	}
	if k.Fingerprint() == before {
		t.Error("the fingerprint did not change")
	}
	fresh := mustSeal(t, k, "new", "p")
	again := open(t, "file:"+path, seal.Options{})
	for want, sealed := range map[string][]byte{"old": old, "new": fresh} {
		if got, err := again.Open(sealed, []byte("p")); err != nil || string(got) != want {
			t.Errorf("Open = %q, %v; want %q", got, err, want)
		}
	}
	if err := again.Verify(check); err != nil {
		t.Errorf("the check value from before: %v", err)
	}
	if _, err := outdated.Open(fresh, []byte("p")); !errors.Is(err, seal.ErrWrongKey) {
		t.Errorf("the keyset from before the rotation: %v, want ErrWrongKey", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode after the rotation: %v, %v", info, err)
	}
}
