package real

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// scimTester runs scim2-tester and prints its results as JSON.
const scimTester = `
import json, os
from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import check_server

http = Client(base_url=os.environ["BASE_URL"], headers={"Authorization": "Bearer " + os.environ["TOKEN"]}, timeout=30)
results = check_server(SyncSCIMClient(http))
print()
print(json.dumps([
    {"title": r.title or "", "resource": r.resource_type or "", "status": r.status.name, "reason": (r.reason or "")[:2000]}
    for r in results
]))
`

// ScimCheck is one check of scim2-tester.
type ScimCheck struct {
	Title    string
	Resource string // User, Group or nothing
	Status   string // SUCCESS, COMPLIANT, ACCEPTABLE, DEVIATION, ERROR, CRITICAL or SKIPPED
	Reason   string
}

// ScimTester runs PyPI's scim2-tester against the SCIM server at baseURL
// (…/scim/v2) with a bearer token, and returns what it checked. It needs a
// directory without people. It fails the test only where the tester itself does
// not run.
func ScimTester(t testing.TB, baseURL, token string) []ScimCheck {
	t.Helper()
	c := need(t, "scim2-tester")
	out, err := runBounded(t, t.TempDir(), 5*time.Minute, []string{"BASE_URL=" + baseURL, "TOKEN=" + token}, []string{c.values["python"], "-c", scimTester})
	var checks []ScimCheck
	if jsonErr := json.Unmarshal([]byte(out[strings.LastIndex(out, "\n[")+1:]), &checks); err != nil || jsonErr != nil || len(checks) == 0 {
		t.Fatalf("scim2-tester: %v, %v\n%s", err, jsonErr, out)
	}
	return checks
}

// NewmanRun is what newman made of a collection.
type NewmanRun struct {
	Requests, Assertions int
	// Failures say which assertion of which request failed, and why.
	Failures []string
}

// Newman runs a Postman collection with its variables set.
func Newman(t testing.TB, collection string, variables map[string]string) NewmanRun {
	t.Helper()
	c := need(t, "newman")
	report := filepath.Join(t.TempDir(), "report.json")
	argv := []string{
		NodeBin(t), c.values["file"], "run", collection, "--reporters", "json", "--reporter-json-export", report,
		"--timeout-request", "20000", "--color", "off",
	}
	for k, v := range variables {
		argv = append(argv, "--env-var", k+"="+v)
	}
	out, err := runBounded(t, t.TempDir(), 5*time.Minute, nil, argv)
	data, readErr := os.ReadFile(report)
	if readErr != nil {
		t.Fatalf("newman: %v\n%s", err, out)
	}
	var parsed struct {
		Run struct {
			Stats struct {
				Requests, Assertions struct{ Total int }
			}
			Failures []struct {
				Source struct{ Name string }
				Error  struct{ Test, Message string }
			}
		}
	}
	if err := json.Unmarshal(data, &parsed); err != nil {
		t.Fatalf("newman's report: %v", err)
	}
	run := NewmanRun{Requests: parsed.Run.Stats.Requests.Total, Assertions: parsed.Run.Stats.Assertions.Total}
	for _, f := range parsed.Run.Failures {
		run.Failures = append(run.Failures, f.Source.Name+": "+f.Error.Test+": "+f.Error.Message)
	}
	return run
}
