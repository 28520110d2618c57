package apply

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// office is what grants are about: an account with named models and a wildcard,
// one without, teams, applications and roles.
const office = `[
	{"kind":"Role","metadata":{"name":"custom"},"spec":{"permissions":["model:use","team:read"]}},
	{"kind":"Team","metadata":{"name":"research"},"spec":{}},
	{"kind":"ProviderAccount","metadata":{"name":"open"},"spec":{"provider":"echo","models":[{"name":"a"},{"name":"*"}]}},
	{"kind":"ProviderAccount","metadata":{"name":"shut"},"spec":{"provider":"echo","models":[{"name":"a"}]}},
	{"kind":"VirtualAccount","metadata":{"name":"bot"},"spec":{}}]`

func read(t interface{ Fatal(...any) }, list string) []v1.Resource {
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(list), &raw); err != nil {
		t.Fatal(err)
	}
	var out []v1.Resource
	for _, text := range raw {
		var head v1.TypeMeta
		if err := json.Unmarshal(text, &head); err != nil {
			t.Fatal(err)
		}
		r := v1.New(head.Kind)
		if err := json.Unmarshal(text, r); err != nil {
			t.Fatal(err)
		}
		r.Meta().UID = "uid-" + r.Meta().Name
		r.Default()
		out = append(out, r)
	}
	return out
}

// The rule that nobody grants more than they hold looks at grantsOf; who may do
// what is decided by what the snapshot makes of the same manifest. What the one
// overlooked the other would give away.
func TestSecurityWhatIsLookedAtIsWhatIsGranted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
		subject := func() string {
			return pick("subject", "user:ada@example.com", "team:research", "team:everyone", "virtual-account:bot", "external-identity:partner", "role:custom")
		}
		role := func() string {
			return pick("role", "custom", "model-user", "tenant-admin", "team-manager", "provider-account-user")
		}
		about := func() string {
			return pick("resource", "tenant", "model:open/a", "model:open/other", "model:shut/a", "model:shut/other", "provider-account:open", "team:research", "virtual-account:bot", "secret-store:none")
		}
		collaborators := func() string {
			return fmt.Sprintf(`[{"subject":%q,"role":%q},{"subject":%q,"role":%q}]`, subject(), role(), subject(), role())
		}
		var text string
		switch pick("kind", "binding", "ending", "account", "store", "application", "team", "rules") {
		case "binding":
			text = fmt.Sprintf(`{"kind":"RoleBinding","metadata":{"name":"x"},"spec":{"subjects":[%q,%q],"role":%q,"resources":[%q,%q]}}`, subject(), subject(), role(), about(), about())
		case "ending":
			end := pick("end", "2099-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-01-01T00:00:00.5Z")
			text = fmt.Sprintf(`{"kind":"RoleBinding","metadata":{"name":"x"},"spec":{"subjects":[%q],"role":%q,"resources":[%q],"expiresAt":%q}}`, subject(), role(), about(), end)
		case "account":
			text = fmt.Sprintf(`{"kind":"ProviderAccount","metadata":{"name":"x"},"spec":{"provider":"echo","collaborators":%s,"models":[{"name":"a","collaborators":%s},{"name":"*","collaborators":%s}]}}`, collaborators(), collaborators(), collaborators())
		case "store":
			text = fmt.Sprintf(`{"kind":"SecretStore","metadata":{"name":"x"},"spec":{"provider":"vault","address":"https://v","collaborators":%s}}`, collaborators())
		case "application":
			text = fmt.Sprintf(`{"kind":"VirtualAccount","metadata":{"name":"x"},"spec":{"team":%q,"access":[{"resource":%q,"role":%q},{"resource":%q,"role":%q}]}}`, pick("team", "", "research"), about(), role(), about(), role())
		case "team":
			text = `{"kind":"Team","metadata":{"name":"x"},"spec":{"managers":["ada@example.com","Eve@Example.com"],"members":["bob@example.com","ada@example.com"]}}`
		case "rules":
			text = fmt.Sprintf(`{"kind":"AuthzRules","metadata":{"name":"x"},"spec":{"rules":[{"models":["open/a","open/other","shut/a"],"users":["ada","Eve@Example.com",%q]}]}}`, subject())
		}
		x := read(t, "["+text+"]")[0]
		b := snapshot.NewBuilder(nil)
		b.Add(&identity.Rows{Resources: append(read(t, office), x)})
		s := b.Build(identity.Head{Epoch: "e", Revision: 1})

		var looked, granted []string
		line := func(ref identity.ResourceRef, who identity.Subject, role string, expires int64) string {
			return fmt.Sprint(ref, " ", who, " ", role, " ", expires)
		}
		for _, g := range grantsOf(x) {
			looked = append(looked, line(grantTarget(s, g.ref).Ref, g.who, g.role, g.expires))
		}
		s.Targets(func(target *snapshot.Target) bool {
			for _, e := range target.Entries {
				if name := e.Source; name == string(identity.KindRef(x.Type().Kind, "x")) || len(name) > 8 && name[:8] == "model:x/" {
					granted = append(granted, line(target.Ref, e.Who, e.Role, e.Expires))
				}
			}
			return true
		})
		slices.Sort(looked)
		slices.Sort(granted)
		if diff := cmp.Diff(slices.Compact(looked), slices.Compact(granted)); diff != "" {
			t.Fatalf("%s\n-looked at +granted\n%s", text, diff)
		}
	})
}

// Every kind that can grant anything is among those of the test above: a kind
// that comes later must be thought of here.
func TestKindsThatGrantAreKnown(t *testing.T) {
	quiet := []v1.Kind{v1.KindTenantSettings, v1.KindRole, v1.KindIdentityProvider, v1.KindSsoConnection, v1.KindScimDirectory, v1.KindExternalIdentity}
	loud := []v1.Kind{v1.KindTeam, v1.KindSecretStore, v1.KindProviderAccount, v1.KindVirtualAccount, v1.KindRoleBinding, v1.KindAuthzRules}
	got, want := append(quiet, loud...), v1.Kinds()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
