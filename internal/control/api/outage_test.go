package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authn"
	"github.com/gatehouse-ai/gatehouse/internal/control/api"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// nothing is a configuration and a database that are not there (yet).
type nothing struct{ committed *record.Batch }

func (nothing) Load() *snapshot.Snapshot                     { return nil }
func (nothing) WaitFor(context.Context, identity.Head) error { return nil }
func (nothing) AllResources(context.Context) ([]v1.Resource, error) {
	return nil, nil
}

func (nothing) Resource(context.Context, identity.ResourceKey) (v1.Resource, error) {
	return nil, identity.Errorf(identity.CodeNotFound, "nothing")
}

func (n *nothing) Commit(_ context.Context, b *record.Batch) (identity.Head, error) {
	n.committed = b
	return identity.Head{}, nil
}
func (nothing) Seal(_, _ []byte) ([]byte, error) { return []byte("sealed"), nil }
func (nothing) Open(_, _ []byte) ([]byte, error) { return nil, errors.New("no") }
func (nothing) Digest(string, []byte) string     { return "hmac:x" }
func (nothing) Authenticate(context.Context, *snapshot.Snapshot, authn.Credential) (authn.Caller, error) {
	return authn.Caller{}, errors.New("a broken authenticator")
}

func TestSecurityWithoutASnapshotNobodyIsLetIn(t *testing.T) {
	n := &nothing{}
	a, err := api.New(api.Options{Snapshots: n, Authenticator: n, Sealer: n, Addr: func(*http.Request) netip.Addr { return netip.Addr{} }})
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]int{"": 401, "gtp_x": 503} {
		r := httptest.NewRequest("GET", "/api/v1/me", nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		rec := httptest.NewRecorder()
		a.Handler().ServeHTTP(rec, r)
		if rec.Code != want {
			t.Errorf("token %q: %d, want %d", token, rec.Code, want)
		}
	}
}

func TestTheOperatorsManifestsAreAppliedToAnEmptyInstallation(t *testing.T) {
	n := &nothing{}
	a := apply.New(apply.Options{Snapshots: n, Resources: n, Writer: n, Sealer: n, Allow: secret.Allow{}})
	docs, err := manifest.Parse("a.yaml", []byte(head("ProviderAccount", "main")+`{provider: openai, credentials: {apiKey: {file: /etc/gatehouse/key}}, collaborators: [{subject: "team:everyone", role: own-role}]}`+
		"\n---\n"+head("Role", "own-role")+`{permissions: ["model:use"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Apply(t.Context(), apply.SystemActor(apply.ManagerDir), apply.Request{Documents: docs}); err != nil {
		t.Fatal(err)
	}
	if b := n.committed; len(b.PutResources) != 2 || len(b.Audit) != 2 || b.Audit[0].Actor != "system:dir" || b.PutResources[0].Meta().Manager != "dir" {
		t.Errorf("%+v", n.committed)
	}
	// A reference that leads nowhere is wrong for the operator as well.
	bad, err := manifest.Parse("b.yaml", []byte(head("ExternalIdentity", "x")+`{identityProvider: none}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Apply(t.Context(), apply.SystemActor(apply.ManagerDir), apply.Request{Documents: bad})
	if list, ok := errors.AsType[manifest.Errors](err); !ok || !strings.HasPrefix(list[0].Error(), "b.yaml:4:") {
		t.Errorf("%v", err)
	}
}
