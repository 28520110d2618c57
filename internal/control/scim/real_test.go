//go:build real

package scim_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/control/scim"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// serve puts a world on a port of this machine; locations name it.
func serve(t *testing.T, w *world) string {
	t.Helper()
	ts := httptest.NewUnstartedServer(nil)
	base := "http://" + ts.Listener.Addr().String()
	s, err := scim.New(scim.Options{People: w.back, Past: w.back, Teams: w.back, Writer: w.back, Authenticator: w.door, Trust: w.trust, BaseURL: base})
	if err != nil {
		t.Fatal(err)
	}
	ts.Config.Handler = s
	ts.Start()
	t.Cleanup(ts.Close)
	return base + scim.Root
}

func TestRealScimTesterFindsNoError(t *testing.T) {
	w := worldOn(t, openDatabase(t))
	checks := real.ScimTester(t, serve(t, w), w.tokens["okta"])
	passed := 0
	for _, c := range checks {
		switch c.Status {
		case "SUCCESS", "COMPLIANT", "ACCEPTABLE":
			passed++
		case "SKIPPED":
			t.Logf("skipped: %s %s: %s", c.Resource, c.Title, c.Reason)
		default:
			t.Errorf("%s: %s %s: %s", c.Status, c.Resource, c.Title, c.Reason)
		}
	}
	t.Logf("%d checks, %d passed", len(checks), passed)
	if passed < 80 {
		t.Errorf("only %d checks passed: something was not checked", passed)
	}
}

func TestRealNewmanCollectionsOfEntraAndOktaPass(t *testing.T) {
	files, err := filepath.Glob("testdata/*.postman_collection.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d collections, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			w := worldOn(t, openDatabase(t))
			dir, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			run := real.Newman(t, filepath.Join(dir, f), map[string]string{"baseUrl": serve(t, w), "token": w.tokens["entra"]})
			for _, failure := range run.Failures {
				t.Error(failure)
			}
			t.Logf("%d requests, %d assertions", run.Requests, run.Assertions)
			if run.Assertions < 20 {
				t.Errorf("only %d assertions: something was not asked", run.Assertions)
			}
		})
	}
}
