package scim_test

import (
	"net/url"
	"testing"
)

// A parameter that means "do nothing" is never overlooked: whoever misspells it
// would lose the person.
func TestSecurityAMisspeltDryRunWritesNothing(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		id := w.add("ada")
		group := w.addGroup("Ops", id)
		requests := []struct{ method, path, body string }{
			{"DELETE", "/Users/" + id, ""},
			{"DELETE", "/Groups/" + group, ""},
			{"POST", "/Users", `{` + userSchema + `,"userName":"new@example.com"}`},
			{"PUT", "/Users/" + id, `{` + userSchema + `,"userName":"ada@example.com","title":"T"}`},
			{"PATCH", "/Groups/" + group, patch(`{"op":"remove","path":"members"}`)},
		}
		entry := w.lastAudit().ID
		for _, c := range requests {
			for _, query := range []string{"dryrun=true", "DRYRUN=true", "DryRun=True", "dryRun=TRUE", "dryrun=true&other=1"} {
				w.do(c.method, c.path+"?"+query, c.body).want(200).is("dryRun", true)
			}
			for _, query := range []string{
				"dryRun", "dryRun=", "dryrun=yes", "dryRun=1", "dryRun=0", "dryRun=t", "dryRun=true%20", "dryRun=treu",
				"dryRun=true&dryRun=true", "dryRun=false&dryRun=false", "dryRun=false&dryrun=true", "dryRun=&dryRun=true",
				"dry-run=true", "dry_run=true", "Dry-Run=true", "dry.run=true", "dry=true", "dryRun%20=true", "%20dryRun=true", "dryRun%00=true",
				"isDryRun=true", "dryRun[]=true", "dry-run=false", "dry_run", "dryRun=false&dry-run=true",
			} {
				w.do(c.method, c.path+"?"+query, c.body).refused(400, "invalidValue")
			}
		}
		if w.lastAudit().ID != entry {
			t.Fatal("something was written")
		}
		w.person(id)
		if len(w.members(group)) != 1 {
			t.Error("a member is gone")
		}
		// What reads is no danger, and a search is a read.
		w.do("GET", "/Users?dry-run=true", "").want(200).is("totalResults", 1)
		w.do("POST", "/Users/.search?dry_run=true", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:SearchRequest"]}`).want(200).is("totalResults", 1)
		w.do("GET", "/Users?dryRun=yes", "").refused(400, "invalidValue")
		w.do("DELETE", "/Users/"+id+"?dryRun=FALSE", "").want(204)
	})
}

func TestOtherParametersAreLetThrough(t *testing.T) {
	eachBackend(t, func(t *testing.T, w *world) {
		for _, name := range []string{"aadOptscim062020", "laundry", "hydrate", "tryRun", "run", "dr", "日本"} {
			id := w.do("POST", "/Users?"+url.QueryEscape(name)+"=true", `{`+userSchema+`,"userName":"ada@example.com"}`).want(201).id()
			w.do("DELETE", "/Users/"+id+"?"+url.QueryEscape(name), "").want(204)
		}
	})
}
