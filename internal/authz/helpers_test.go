package authz_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fataler is *testing.T, *testing.B and *rapid.T.
type fataler interface {
	Fatalf(format string, args ...any)
}

func res(t fataler, kind v1.Kind, name, spec string) v1.Resource {
	r := v1.New(kind)
	if err := json.Unmarshal([]byte(`{"metadata":{"name":"`+name+`"},"spec":`+spec+`}`), r); err != nil {
		t.Fatalf("%s %s: %v\n%s", kind, name, err, spec)
	}
	*r.Type() = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: kind}
	r.Meta().UID, r.Meta().ResourceVersion = "uid-"+kind.Slug()+"-"+name, "1"
	r.Default()
	return r
}

func build(prev *snapshot.Snapshot, rows ...identity.Rows) *snapshot.Snapshot {
	b := snapshot.NewBuilder(prev)
	for i := range rows {
		b.Add(&rows[i])
	}
	return b.Build(identity.Head{Epoch: "e", Revision: 1})
}

func person(email string, teams ...string) identity.User {
	u := identity.User{UID: "uid-" + email, Email: email, Active: true}
	for _, team := range teams {
		u.Memberships = append(u.Memberships, identity.Membership{Team: team, Source: "manual"})
	}
	return u
}

// may asks whether somebody may use a model, as the gateway asks.
func may(s *snapshot.Snapshot, p *identity.Principal, g *identity.Grant, fqn string, tr *identity.Trace) authz.Decision {
	q := authz.Request{Principal: p, Grant: g, Action: identity.PermModelUse, Name: fqn, Context: authz.Context{Now: noon}, Trace: tr}
	if account, name, ok := v1.SplitFQN(fqn); ok {
		if m, ok := s.Model(account, name); ok {
			q.Resource = m.Target
		}
	}
	return authz.Decide(&q)
}

func user(t testing.TB, s *snapshot.Snapshot, email string) *identity.Principal {
	t.Helper()
	u, ok := s.UserByEmail(email)
	if !ok {
		t.Fatalf("no user %s", email)
	}
	return s.UserPrincipal(u, noon)
}

func virtualAccount(t testing.TB, s *snapshot.Snapshot, name string) *identity.Principal {
	t.Helper()
	v, ok := s.VirtualAccount(name)
	if !ok {
		t.Fatalf("no virtual account %s", name)
	}
	return v.Principal
}

func manyEntries(n int) string {
	list := ""
	for i := range n {
		list += fmt.Sprintf(`{"subject":"user:u%05d@example.com","role":"model-user"},`, i)
	}
	return list + `{"subject":"user:ada@example.com","role":"model-user"}`
}
