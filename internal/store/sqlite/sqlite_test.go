package sqlite_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
	"github.com/gatehouse-ai/gatehouse/internal/store/storetest"
)

// childEnv makes the test binary the writer that is killed.
const childEnv = "GATEHOUSE_TEST_STORE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		os.Exit(child(path))
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, path string, now func() time.Time) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestFiles(t *testing.T) {
	storetest.Run(t, storetest.Backend{Open: func(t *testing.T, dir string, now func() time.Time) storetest.Store {
		return open(t, filepath.Join(dir, "gatehouse.db"), now)
	}})
}

func TestMemory(t *testing.T) {
	storetest.Run(t, storetest.Backend{Volatile: true, Open: func(t *testing.T, _ string, now func() time.Time) storetest.Store {
		return open(t, sqlite.Memory, now)
	}})
}

func TestMemoryDatabasesAreSeparate(t *testing.T) {
	a, b := open(t, sqlite.Memory, nil), open(t, sqlite.Memory, nil)
	defer func() { _, _ = a.Close(), b.Close() }()
	if _, err := a.Commit(t.Context(), &record.Batch{PutUsers: []identity.User{{Email: "ada@example.com"}}}); err != nil {
		t.Fatal(err)
	}
	if head, err := b.Head(t.Context()); err != nil || head.Revision != 0 {
		t.Fatalf("head %+v, %v", head, err)
	}
}

func TestSecurityFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data with # and ? and %20")
	db := open(t, filepath.Join(dir, "gatehouse.db"), nil)
	defer func() { _ = db.Close() }()
	if _, err := db.Commit(t.Context(), &record.Batch{PutUsers: []identity.User{{Email: "ada@example.com"}}}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err := filepath.WalkDir(filepath.Dir(dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		seen[d.Name()] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gatehouse.db", "gatehouse.db-wal", "records.db"} {
		if !seen[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	for _, file := range []string{"gatehouse.db", "records.db"} {
		t.Run(file, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "gatehouse.db")
			if err := open(t, path, nil).Close(); err != nil {
				t.Fatal(err)
			}
			execute(t, filepath.Join(filepath.Dir(path), file), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9000, 1)`)
			db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
			if err == nil {
				_ = db.Close()
				t.Fatal("a schema of the future was opened")
			}
			if !strings.Contains(err.Error(), "version 9000") || !strings.Contains(err.Error(), "newer gatehouse") {
				t.Fatalf("error %q does not say what to do", err)
			}
		})
	}
}

// execute runs a statement on a file behind the store's back.
func execute(t *testing.T, path, statement string) {
	t.Helper()
	raw, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	if _, err := raw.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestUnusablePathFailsAtOnce(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "text.db"), []byte("this is not a database, however long it may be"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", filepath.Join(dir, "text.db"), filepath.Join(dir, "records.db"), filepath.Join(dir, "text.db", "below.db")} {
		db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
		if err == nil {
			_ = db.Close()
			t.Errorf("%q was opened", path)
		}
	}
}

func TestSecurityNarrowingThatCannotBeReadPermitsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatehouse.db")
	db := open(t, path, nil)
	defer func() { _ = db.Close() }()
	b := &record.Batch{PutTokens: []identity.Token{{
		Kind: identity.TokenPersonal, Digest: identity.DigestOf("x"), ExpiresAt: time.Now().Add(time.Hour), Narrowing: &identity.Narrowing{},
	}}}
	if _, err := db.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{`{"onlyOnSundays":true}`, `{`} {
		execute(t, path, `UPDATE tokens SET narrowing = '`+bad+`'`)
		tok, err := db.Token(t.Context(), b.PutTokens[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		if n := tok.Narrowing; n == nil || n.Models == nil || len(n.Models) != 0 || n.MCPServers == nil || n.Agents == nil || n.CIDR == nil {
			t.Fatalf("narrowing %+v, want one that permits nothing", n)
		}
	}
}

// TestSecurityOnlyDigestsReachStorage looks for what must not be there in the
// bytes of every file.
func TestSecurityOnlyDigestsReachStorage(t *testing.T) {
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "gatehouse.db"), nil)
	plain := identity.NewToken(identity.TokenPersonal)
	b := &record.Batch{PutTokens: []identity.Token{{Kind: identity.TokenPersonal, Name: "findable-name", Digest: identity.DigestOf(plain), ExpiresAt: time.Now().Add(time.Hour)}}}
	if _, err := db.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	secret := &v1.ProviderAccount{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindProviderAccount}, ObjectMeta: v1.ObjectMeta{Name: "openai"},
		Spec: v1.ProviderAccountSpec{Credentials: v1.ProviderCredentials{APIKey: &v1.SecretValue{Value: "sk-plain-secret"}}},
	}
	if _, err := db.Commit(t.Context(), &record.Batch{PutResources: []v1.Resource{secret}}); err == nil {
		t.Fatal("a plain secret was accepted")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	found := 0
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, never := range []string{plain, plain[4:30], "sk-plain-secret"} {
			if bytes.Contains(data, []byte(never)) {
				t.Errorf("%s holds a plain credential", filepath.Base(file))
			}
		}
		if bytes.Contains(data, []byte("findable-name")) {
			found++
		}
	}
	if found == 0 {
		t.Fatal("the search finds nothing at all")
	}
}

// child commits and says so until it is killed: it makes a token, revokes it,
// and prints the token's id once the revocation is acknowledged.
func child(path string) int {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("t-%06d", i)
		made := &record.Batch{PutTokens: []identity.Token{{
			ID: id, Kind: identity.TokenPersonal, Digest: identity.DigestOf(id), ExpiresAt: time.Now().Add(time.Hour),
		}}}
		if _, err := db.Commit(ctx, made); err != nil {
			fmt.Println("error:", err)
			return 1
		}
		head, err := db.Commit(ctx, &record.Batch{RevokeTokens: []string{id}})
		if err != nil {
			fmt.Println("error:", err)
			return 1
		}
		if err := db.AppendRequests(ctx, []record.Request{{ID: id, At: time.Now(), UID: "u-1"}}); err != nil {
			fmt.Println("error:", err)
			return 1
		}
		fmt.Println("acknowledged", id, head.Revision)
	}
}

func TestSecurityAcknowledgedRevocationSurvivesKill(t *testing.T) {
	for _, stopAt := range []int{1, 7, 40} {
		t.Run(fmt.Sprint("after ", stopAt), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "gatehouse.db")
			last, revision := killAfter(t, path, stopAt)
			db := open(t, path, nil)
			defer func() { _ = db.Close() }()
			if err := db.Integrity(t.Context()); err != nil {
				t.Fatal(err)
			}
			head, err := db.Head(t.Context())
			if err != nil || head.Revision < revision {
				t.Fatalf("revision %d after the kill, acknowledged %d, %v", head.Revision, revision, err)
			}
			var n int
			_, _ = fmt.Sscanf(last, "t-%d", &n)
			for i := range n + 1 {
				tok, err := db.Token(t.Context(), fmt.Sprintf("t-%06d", i))
				if err != nil || tok.RevokedAt == nil {
					t.Fatalf("token %d: %v, revoked %v", i, err, tok.RevokedAt)
				}
			}
			if count, err := db.CountRequests(t.Context()); err != nil || count < int64(n)+1 {
				t.Fatalf("%d records of %d, %v", count, n+1, err)
			}
			rows, _, full, err := db.Since(t.Context(), identity.Head{Epoch: head.Epoch})
			if err != nil || full || len(rows.RemovedTokens) < n+1 {
				t.Fatalf("the changes name %d removed tokens of %d, full %v, %v", len(rows.RemovedTokens), n+1, full, err)
			}
		})
	}
}

// killAfter lets a child write until it has acknowledged so much, kills it, and
// returns the last acknowledgement that it could still give.
func killAfter(t *testing.T, path string, acknowledged int) (id string, revision uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var i string
		var r uint64
		if got, _ := fmt.Sscanf(lines.Text(), "acknowledged %s %d", &i, &r); got != 2 {
			t.Errorf("the child says %q", lines.Text())
			break
		}
		id, revision = i, r
		if n++; n == acknowledged {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if n < acknowledged {
		t.Fatalf("the child acknowledged %d of %d", n, acknowledged)
	}
	return id, revision
}
