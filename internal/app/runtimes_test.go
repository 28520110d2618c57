package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/app/settings"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/secret/env"
	"github.com/gatehouse-ai/gatehouse/internal/secret/stored"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// withAccount is a snapshot with one account whose key and address are given.
func withAccount(t *testing.T, prev *snapshot.Snapshot, revision uint64, baseURL, variable string) (*snapshot.Snapshot, *snapshot.Account) {
	t.Helper()
	r := &v1.ProviderAccount{
		TypeMeta:   v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindProviderAccount},
		ObjectMeta: v1.ObjectMeta{Name: "a", UID: "uid-a", Manager: v1.ManagerDir},
		Spec: v1.ProviderAccountSpec{
			Provider: v1.ProviderOpenAICompatible, BaseURL: baseURL,
			Credentials: v1.ProviderCredentials{APIKey: &v1.SecretValue{Env: variable}},
		},
	}
	b := snapshot.NewBuilder(prev)
	b.Add(&identity.Rows{Resources: []v1.Resource{r}})
	s := b.Build(identity.Head{Epoch: "e", Revision: revision})
	a, ok := s.Account("a")
	if !ok {
		t.Fatal("the account is not in the snapshot")
	}
	return s, a
}

// A request that began before key and destination were changed together must
// not send the new key to the old destination.
func TestSecurityANewKeyIsNotSentToTheOldDestination(t *testing.T) {
	values := map[string]string{"OLD_KEY": "old", "NEW_KEY": "new"}
	cache := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{
		secret.KindEnv: env.New(func(k string) (string, bool) { v, ok := values[k]; return v, ok }),
	}})
	defer cache.Close()
	r := &secretRuntime{cache: cache}
	first, before := withAccount(t, nil, 1, "https://old.example/v1", "OLD_KEY")
	r.Reconcile(nil, first)
	second, after := withAccount(t, first, 2, "https://new.example/v1", "NEW_KEY")
	r.Reconcile(first, second)
	for _, c := range []struct {
		account *snapshot.Account
		want    string
	}{{before, "old"}, {after, "new"}} {
		if got, err := r.Key(c.account); err != nil || got != c.want {
			t.Errorf("the key for %s is %q (%v), want %q", c.account.Resource.Spec.BaseURL, got, err, c.want)
		}
	}
	_, stranger := withAccount(t, nil, 3, "https://third.example/v1", "NEW_KEY")
	if _, err := r.Key(stranger); identity.CodeOf(err) != identity.CodeSecretUnavailable {
		t.Errorf("an account of no published snapshot: %v", err)
	}
}

// away is a database that does not answer.
type away struct{}

func (away) SealedSecret(context.Context, string, string) (sealed []byte, digest string, err error) {
	return nil, "", identity.Errorf(identity.CodeDatabaseUnavailable, "away")
}

// A value that the configuration no longer refers to does not stay on disk.
func TestSecurityAValueNobodyRefersToDoesNotStayOnDisk(t *testing.T) {
	dir := t.TempDir()
	kept, err := stored.NewKept(stored.KeptOptions{Dir: dir, Reader: away{}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "of-before.secret")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cache := secret.New(secret.Options{})
	defer cache.Close()
	s, _ := withAccount(t, nil, 1, "https://a.example/v1", "KEY")
	(&secretRuntime{cache: cache, kept: kept}).Reconcile(nil, s)
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// The start is tried again while the database is away; what follows already is
// not started a second time.
func TestManifestsAreFollowedOnce(t *testing.T) {
	m := &manifestWatcher{dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	m.stamp = stampOf(m.dir, m.file, func(string) {}) // nothing to apply
	defer func() { m.close() }()
	if err := m.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	follows := m.done
	if err := m.start(t.Context()); err != nil || m.done != follows {
		t.Errorf("started twice, %v", err)
	}
}

// No list of the operator's reaches what is Gatehouse's own.
func TestSecurityResourcesCannotReadGatehousesOwnSecrets(t *testing.T) {
	dir := t.TempDir()
	environ := []string{
		"GATEHOUSE_DATABASE_URL=sqlite://" + filepath.Join(dir, "gatehouse.db"), "GATEHOUSE_SECRETS_ALLOW_FILES=" + dir + "/",
		"GATEHOUSE_SECRETS_ALLOW_ENV=AUTH_OIDC_*,PROVIDER_*", "AUTH_OIDC_CLIENT_SECRET=hidden", "PROVIDER_KEY=fine",
	}
	cfg, _, err := settings.Load(nil, environ, "")
	if err != nil {
		t.Fatal(err)
	}
	allow := (&App{cfg: cfg, opt: Options{Environ: environ}}).allow()
	for _, own := range []string{"master.key", "bootstrap.token", "gatehouse.db", "gatehouse.db-wal", "records.db"} {
		if err := allow.Check(v1.SecretValue{File: filepath.Join(dir, own)}, v1.ManagerAPI); err == nil {
			t.Errorf("%s can be read by a resource made through the API", own)
		}
	}
	if err := allow.Check(v1.SecretValue{Env: "AUTH_OIDC_CLIENT_SECRET"}, v1.ManagerAPI); err == nil {
		t.Error("AUTH_OIDC_CLIENT_SECRET can be read by a resource made through the API")
	}
	if err := allow.Check(v1.SecretValue{Env: "PROVIDER_KEY"}, v1.ManagerAPI); err != nil {
		t.Errorf("what the operator listed: %v", err)
	}
}
