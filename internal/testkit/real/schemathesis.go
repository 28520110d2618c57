package real

import (
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// schemathesisHooks says how formats are generated that JSON Schema cannot
// describe, and what a run must not remove.
//
//go:embed testdata/schemathesis_hooks.py
var schemathesisHooks []byte

// SchemathesisTarget is what schemathesis is pointed at.
type SchemathesisTarget struct {
	// Description is the URL of the OpenAPI description.
	Description string
	// Token is sent as a bearer token.
	Token string
	// Config is the schemathesis.toml: which check does not hold for which
	// operation, and why.
	Config string
	// Protected are names and addresses without which the run itself would end:
	// no request that changes something is about them.
	Protected []string
	// Examples is how many requests are made up for each operation beside those
	// that cover its schema. Seed makes a run repeatable.
	Examples, Seed int
}

// SchemathesisRun is what schemathesis has found.
type SchemathesisRun struct {
	Operations int // how many were tested
	Cases      int // how many requests were made
	// Findings is the number of different failures and errors; Output shows them.
	Findings int
	Output   string
}

// Schemathesis runs PyPI's schemathesis with all its checks, in all its
// phases. It fails the test only where schemathesis itself does not run.
func Schemathesis(t testing.TB, target SchemathesisTarget) SchemathesisRun {
	t.Helper()
	c := need(t, "schemathesis")
	dir := t.TempDir()
	report := filepath.Join(dir, "report.json")
	for name, text := range map[string][]byte{"schemathesis.toml": []byte("hooks = \"schemathesis_hooks\"\n" + target.Config), "schemathesis_hooks.py": schemathesisHooks} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	argv := []string{
		c.values["python"], "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", target.Description,
		"-H", "Authorization: Bearer " + target.Token, "--max-examples", strconv.Itoa(target.Examples), "--seed", strconv.Itoa(target.Seed),
		"--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure", "--no-color", "--report", "json", "--report-json-path", report,
	}
	env := []string{"PYTHONPATH=" + dir, "PROTECTED=" + strings.Join(target.Protected, ","), "NO_PROXY=*", "PYTHONDONTWRITEBYTECODE=1"}
	out, err := runBounded(t, dir, 10*time.Minute, env, argv)
	text, readErr := os.ReadFile(report)
	var result struct {
		Complete   bool
		Operations struct{ Tested int }
		TestCases  struct {
			Generated      int
			UniqueFailures int `json:"unique_failures"`
			Errored        int
		} `json:"test_cases"`
		Errors []json.RawMessage
	}
	if readErr != nil || json.Unmarshal(text, &result) != nil || !result.Complete {
		t.Fatalf("schemathesis did not run: %v, %v\n%s", err, readErr, out)
	}
	return SchemathesisRun{
		Operations: result.Operations.Tested, Cases: result.TestCases.Generated,
		Findings: result.TestCases.UniqueFailures + result.TestCases.Errored + len(result.Errors), Output: out,
	}
}
