package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
)

// maxKeyFile is far more than a keyset of a hundred keys needs.
const maxKeyFile = 64 << 10

// Options say how a master key may be opened.
type Options struct {
	// CreateFile makes the file of a file: reference, with a new key and mode
	// 0600, where it does not exist. Its directory must exist.
	CreateFile bool
	// LookupEnv reads an environment variable; nil means os.LookupEnv.
	LookupEnv func(string) (string, bool)
}

// Open opens the master key that ref refers to:
//
//	file:PATH   a file that only its owner may read
//	env:NAME    an environment variable
//
// What it holds is a Tink keyset as JSON (what CreateFile writes), or 32 random
// bytes in base64 or hex (openssl rand -base64 32). A literal key and KMS URIs
// are refused. No error repeats the reference's value or the key.
func Open(ref string, opts Options) (*Keyset, error) {
	kind, rest, found := strings.Cut(ref, ":")
	switch {
	case found && kind == "file" && rest != "":
		return openFile(filepath.Clean(rest), opts.CreateFile)
	case found && kind == "env" && rest != "":
		return openEnv(rest, opts.LookupEnv)
	case isKMS(ref):
		return nil, errors.New("a key management service is not available in this version; use file:PATH or env:NAME")
	default:
		return nil, errors.New("must be a reference, file:PATH or env:NAME, never a literal key")
	}
}

// isKMS recognises the URIs of key management services, Tink's and others'.
func isKMS(ref string) bool {
	scheme, _, ok := strings.Cut(ref, "://")
	if !ok {
		return false
	}
	switch strings.ToLower(scheme) {
	case "aws-kms", "awskms", "gcp-kms", "gcpkms", "azure-kms", "azurekms", "azurekeyvault", "hcvault", "vault", "openbao", "kms", "pkcs11":
		return true
	}
	return false
}

func openEnv(name string, lookup func(string) (string, bool)) (*Keyset, error) {
	if lookup == nil {
		lookup = os.LookupEnv
	}
	text, ok := lookup(name)
	if !ok || strings.TrimSpace(text) == "" {
		return nil, fmt.Errorf("the environment variable %s is not set", name)
	}
	cur, err := parse([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("the environment variable %s: %w", name, err)
	}
	k := &Keyset{}
	k.cur.Store(cur)
	return k, nil
}

func openFile(path string, create bool) (*Keyset, error) {
	text, err := readKeyFile(path)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err = createKeyFile(path); err != nil {
			return nil, err
		}
		text, err = readKeyFile(path)
	}
	if err != nil {
		return nil, err
	}
	cur, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("the key file %s: %w", path, err)
	}
	k := &Keyset{path: path}
	k.cur.Store(cur)
	return k, nil
}

// readKeyFile reads the file after it has looked at the open file's mode, so
// that what was checked is what is read.
func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the key file cannot be opened: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("the key file cannot be opened: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("the key file %s is not a regular file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("the key file %s has mode %04o: others than its owner can read or write it; run chmod 600 on it, "+
			"or use env:NAME where the mode cannot be set", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the key file cannot be read: %w", err)
	case len(text) > maxKeyFile:
		return nil, fmt.Errorf("the key file %s is larger than %d bytes", path, maxKeyFile)
	}
	return text, nil
}

// parse reads either form of a key. Its errors never quote the input.
func parse(text []byte) (*keys, error) {
	text = bytes.TrimSpace(text)
	if raw, ok := rawKey(string(text)); ok {
		h, err := handleFromRaw(raw)
		if err != nil {
			return nil, err
		}
		return newKeys(h)
	}
	h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil { // The cause is withheld: JSON errors quote what they read.
		return nil, errors.New("holds neither a Tink keyset as JSON nor 32 random bytes in base64 or hex (openssl rand -base64 32)")
	}
	return newKeys(h)
}

// rawKey decodes 32 bytes in hex or in any of the four kinds of base64.
func rawKey(s string) ([]byte, bool) {
	if b, err := hex.DecodeString(s); err == nil && len(b) == keyBytes {
		return b, true
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(s); err == nil && len(b) == keyBytes {
			return b, true
		}
	}
	return nil, false
}

// handleFromRaw makes a keyset of one key. Its id is derived from the key, so
// that the same bytes always give the same keyset.
func handleFromRaw(raw []byte) (*keyset.Handle, error) {
	if len(bytes.TrimLeft(raw, string(raw[:1]))) == 0 {
		return nil, errors.New("the key is one byte repeated; make a random one with openssl rand -base64 32")
	}
	idBytes, err := derive(raw, purposeKeyID, 16)
	if err != nil {
		return nil, err
	}
	params, err := aesgcm.NewParameters(aesgcm.ParametersOpts{
		KeySizeInBytes: keyBytes, IVSizeInBytes: 12, TagSizeInBytes: 16, Variant: aesgcm.VariantTink,
	})
	if err != nil {
		return nil, fmt.Errorf("key parameters: %w", err)
	}
	id := binary.BigEndian.Uint32(idBytes) | 1 // never zero
	key, err := aesgcm.NewKey(secretdata.NewBytesFromData(raw, insecuresecretdataaccess.Token{}), id, params)
	if err != nil {
		return nil, fmt.Errorf("make the key: %w", err)
	}
	m := keyset.NewManager()
	if _, err = m.AddKey(key); err != nil {
		return nil, fmt.Errorf("make the keyset: %w", err)
	}
	if err = m.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("make the keyset: %w", err)
	}
	return m.Handle()
}

// createKeyFile makes a new key. Where another process was faster its file
// stays: a link, unlike a rename, never replaces a file.
func createKeyFile(path string) error {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("make a master key: %w", err)
	}
	return writeKeyFile(h, path, func(temp string) error {
		if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}

// Rotate adds a new primary key to the key file. What the older keys sealed
// still opens. Errors where the master key is not in a file. Afterwards write
// CheckValue again and take a new backup of the file; digests change as values
// are written again.
func (k *Keyset) Rotate() error {
	if k.path == "" {
		return errors.New("only a master key in a file can be rotated here")
	}
	k.rotating.Lock()
	defer k.rotating.Unlock()
	m := keyset.NewManagerFromHandle(k.cur.Load().handle)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("make a master key: %w", err)
	}
	if err = m.SetPrimary(id); err != nil {
		return fmt.Errorf("make a master key: %w", err)
	}
	h, err := m.Handle()
	if err != nil {
		return fmt.Errorf("make a master key: %w", err)
	}
	next, err := newKeys(h)
	if err != nil {
		return err
	}
	// On disk first: nothing is ever sealed with a key that could be lost.
	if err = writeKeyFile(h, k.path, func(temp string) error { return os.Rename(temp, k.path) }); err != nil {
		return err
	}
	k.cur.Store(next)
	return nil
}

// writeKeyFile writes a complete, synced file beside path and has put move it
// to its place.
func writeKeyFile(h *keyset.Handle, path string, put func(temp string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".masterkey-*") // mode 0600
	if err != nil {
		return fmt.Errorf("the key file cannot be written: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after a rename
	err = insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(f))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("the key file cannot be written: %w", err)
	}
	if err = put(f.Name()); err != nil {
		return fmt.Errorf("the key file cannot be put in its place: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("the key file's directory cannot be opened: %w", err)
	}
	defer d.Close() //nolint:errcheck // read only
	if err = d.Sync(); err != nil && runtime.GOOS != "windows" {
		return fmt.Errorf("the key file's directory cannot be synced: %w", err)
	}
	return nil
}
