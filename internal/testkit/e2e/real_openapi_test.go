//go:build real

package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/testkit"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// openAPIConfig leaves every check on, for every operation.
const openAPIConfig = `
[generation]
allow-x00 = false   # no manifest holds U+0000; JSON Schema has no readable way to say so

[checks]
# A request may be right and yet not fit what is there: 404, 409, 412 and 428
# are about the state, and 401 and 403 about who asks. 5xx is never right.
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "412", "428"]
negative_data_rejection.expected-statuses = ["400", "401", "403", "404", "405", "409", "412", "413", "415", "428"]
`

// elsewhere is what the server logs of a look-up, or of a connection to another
// address than loopback.
var elsewhere = regexp.MustCompile(`lookup [^ "]+|dial tcp (?:[0-9]+\.[0-9.]+|\[[^\]]+\]):[0-9]+: (?:i/o timeout|connect: (?:no route|network))`)

// openAPITargets are there so that requests find something.
const openAPITargets = `
apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: tested}
spec: {managers: [admin@example.com], members: [member@example.com]}
---
apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: bot}
spec: {team: tested}
---
apiVersion: gatehouse.dev/v1
kind: ScimDirectory
metadata: {name: okta}
spec: {}
`

func TestRealTheAPIIsAsItIsDescribed(t *testing.T) {
	for seed, who := range []string{"admin", "member"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			g := testkit.Start(t, testkit.Options{Dev: true})
			admin, token := g.DevToken(t, "admin@example.com"), g.DevToken(t, who+"@example.com")
			wantStatus(t, "apply", g.Do(t, testkit.Request{
				Method: http.MethodPost, Path: "/api/v1/apply?manager=targets", Token: admin, Body: openAPITargets, Header: http.Header{"Content-Type": {"application/yaml"}},
			}), http.StatusOK)
			run := real.Schemathesis(t, real.SchemathesisTarget{
				Description: g.URL() + "/api/v1/openapi.json", Token: token, Config: openAPIConfig, Examples: 12, Seed: seed + 1,
				Protected: protected(t, g, admin),
			})
			t.Logf("%d operations, %d requests, %d findings", run.Operations, run.Cases, run.Findings)
			if run.Findings > 0 {
				t.Errorf("the API is not as it is described:\n%s", run.Output)
			}
			// A schema that cannot be generated from ends in few requests, and no finding.
			if run.Operations < 80 || run.Cases < 15_000 {
				t.Errorf("only %d operations and %d requests", run.Operations, run.Cases)
			}
			// What is made up must not be asked for beyond this machine.
			if out := elsewhere.FindString(g.Log()); out != "" {
				t.Errorf("the server has asked beyond loopback: %s", out)
			}
			// Whoever has been removed on the way has tested nothing since.
			wantStatus(t, "who asked is still there", g.Do(t, testkit.Request{Path: "/api/v1/me", Token: token}), http.StatusOK)
		})
	}
}

// protected are those by whom and through whom the run itself signs in.
func protected(t *testing.T, g *testkit.Gatehouse, admin string) []string {
	t.Helper()
	var list []string
	for _, path := range []string{"identity-providers", "role-bindings"} {
		var page struct {
			Items []struct{ Metadata struct{ Name string } }
		}
		g.Do(t, testkit.Request{Path: "/api/v1/" + path, Token: admin}).JSON(t, &page)
		for _, r := range page.Items {
			list = append(list, r.Metadata.Name)
		}
	}
	for _, who := range []string{"admin", "member"} {
		var me struct{ UID, Email string }
		g.Do(t, testkit.Request{Path: "/api/v1/me", Token: g.DevToken(t, who+"@example.com")}).JSON(t, &me)
		list = append(list, me.UID, me.Email)
	}
	if len(list) < 4 {
		t.Fatal(fmt.Sprint("nothing to protect: ", list))
	}
	return list
}
