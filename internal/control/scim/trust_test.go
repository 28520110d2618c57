package scim_test

import (
	"encoding/json"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/scim"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// shelf holds one snapshot, as the publisher does.
type shelf struct{ s *snapshot.Snapshot }

func (s shelf) Load() *snapshot.Snapshot { return s.s }

func resource(t *testing.T, kind v1.Kind, name, spec string) v1.Resource {
	t.Helper()
	r := v1.New(kind)
	if err := json.Unmarshal([]byte(`{"metadata":{"name":"`+name+`"},"spec":`+spec+`}`), r); err != nil {
		t.Fatal(err)
	}
	*r.Type() = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: kind}
	r.Meta().UID = "uid-" + name
	r.Default()
	return r
}

// trusted is what a directory faces: two administrators, one by address and one
// by a team, and grants that wait for teams.
func trusted(t *testing.T) *scim.SnapshotTrust {
	b := snapshot.NewBuilder(nil)
	b.Add(&identity.Rows{
		Resources: []v1.Resource{
			resource(t, v1.KindRoleBinding, "admins", `{"subjects":["user:root@acme.com","team:admins"],"role":"tenant-admin","resources":["tenant"]}`),
			resource(t, v1.KindRoleBinding, "for-a-time", `{"subjects":["user:temp@acme.com"],"role":"tenant-admin","resources":["tenant"],"expiresAt":"2099-01-01T00:00:00Z"}`),
			resource(t, v1.KindRoleBinding, "over", `{"subjects":["user:was@acme.com"],"role":"tenant-admin","resources":["tenant"],"expiresAt":"2020-01-01T00:00:00Z"}`),
			resource(t, v1.KindRoleBinding, "waiting", `{"subjects":["team:platform","team:eng-core"],"role":"team-viewer","resources":["tenant"]}`),
			resource(t, v1.KindTeam, "admins", `{}`),
			resource(t, v1.KindScimDirectory, "plain", `{}`),
			resource(t, v1.KindScimDirectory, "meant", `{"teams":["platform","eng-*"]}`),
		},
		Users: []identity.User{
			{UID: "u-root", Email: "root@acme.com", Active: true},
			{UID: "u-team", Email: "team@acme.com", Active: true, Memberships: []identity.Membership{{Team: "admins", Source: "manual"}}},
			{UID: "u-ada", Email: "ada@acme.com", Active: true},
		},
	})
	b.Add(&identity.Rows{Tombstones: []identity.Tombstone{{UID: "t-temp", Email: "temp@acme.com"}, {UID: "t-eve", Email: "eve@acme.com"}}})
	return scim.TrustOf(shelf{b.Build(identity.Head{Epoch: "e", Revision: 1})}, time.Now)
}

func TestSecurityADirectoryTakesOverNoAdministrator(t *testing.T) {
	d := trusted(t)
	for _, c := range []struct {
		user identity.User
		want bool
	}{
		{identity.User{UID: "u-root", Email: "root@acme.com"}, false},
		{identity.User{UID: "u-team", Email: "team@acme.com"}, false},
		{identity.User{UID: "u-ada", Email: "ada@acme.com"}, true},
		{identity.User{Email: "root@acme.com"}, false}, // an address that is to be given to somebody
		{identity.User{Email: "temp@acme.com"}, false},
		{identity.User{Email: "was@acme.com"}, true},
		{identity.User{Email: "new@acme.com"}, true},
	} {
		if got := d.MayAdopt(t.Context(), "plain", c.user); got != c.want {
			t.Errorf("%q %s: %v", c.user.UID, c.user.Email, got)
		}
	}
	if scim.TrustOf(shelf{}, time.Now).MayAdopt(t.Context(), "plain", identity.User{Email: "new@acme.com"}) {
		t.Error("without a configuration")
	}
}

func TestSecurityADirectoryUnburiesNoAdministrator(t *testing.T) {
	d := trusted(t)
	for _, c := range []struct {
		uids []string
		want bool
	}{
		{nil, true},
		{[]string{"t-eve"}, true},
		{[]string{"t-temp"}, false},
		{[]string{"t-eve", "t-temp"}, false},
		{[]string{"t-unknown"}, false},
	} {
		if got := d.MayUnbury(t.Context(), c.uids); got != c.want {
			t.Errorf("%v: %v", c.uids, got)
		}
	}
	if scim.TrustOf(shelf{}, time.Now).MayUnbury(t.Context(), []string{"t-eve"}) {
		t.Error("without a configuration")
	}
}

func TestSecurityADirectoryTakesNoGrantsByAGroupsName(t *testing.T) {
	d := trusted(t)
	for _, c := range []struct {
		directory, team string
		want            bool
	}{
		{"plain", "platform", false},
		{"plain", "eng-core", false},
		{"plain", "admins", false},
		{"plain", "free", true},
		{"meant", "platform", true},
		{"meant", "eng-core", true},
		{"meant", "admins", false},
		{"absent", "free", false},
	} {
		if got := d.MayName(t.Context(), c.directory, c.team); got != c.want {
			t.Errorf("%s, %s: %v", c.directory, c.team, got)
		}
	}
	if scim.TrustOf(shelf{}, time.Now).MayName(t.Context(), "plain", "free") {
		t.Error("without a configuration")
	}
}
