package real

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Python is the path of the interpreter whose environment has the official
// Python SDKs, openai and anthropic.
func Python(t testing.TB) string {
	t.Helper()
	return need(t, "openai-python").values["python"]
}

// Node is the folder whose node_modules has the package of the component:
// oidc-provider, openai-node, anthropic-node, stdy, node22.
func Node(t testing.TB, component string) string {
	t.Helper()
	return need(t, component).values["dir"]
}

// NodeBin is the path of a Node.js that every fetched package runs on: 22 from
// the npm package, because the newest SDKs want it.
func NodeBin(t testing.TB) string {
	t.Helper()
	return need(t, "node22").values["file"]
}

// SDKTarget is what an SDK script is pointed at.
type SDKTarget struct {
	BaseURL string // as the SDK wants it: OpenAI's ends in /v1, Anthropic's does not
	APIKey  string
	Model   string
	Env     []string // more, such as SKIP_CHECKS=images,moderations; testdata/README.md lists them
	// Attempts is how often a check that fails is tried before that counts, for
	// a server that is known to fail now and then. Default 1.
	Attempts int
}

// RunSDK runs one of the scripts of testdata, openai_python.py, openai_node.mjs,
// anthropic_python.py or anthropic_node.mjs, and reports each of its checks as
// a subtest. It skips when the SDK is not there.
func RunSDK(t *testing.T, script string, target SDKTarget) {
	t.Helper()
	for _, check := range patiently(t, script, target) {
		t.Run(check.Name, func(t *testing.T) {
			switch check.Outcome {
			case SDKSkipped:
				t.Skipf("SKIP %s: %s", check.Name, check.Why)
			case SDKFailed:
				t.Error(check.Why)
			}
		})
	}
}

// What a check of an SDK script came to.
const (
	SDKPassed  = "ok"
	SDKSkipped = "skip"
	SDKFailed  = "FAIL"
)

// SDKCheck is one check of an SDK script.
type SDKCheck struct {
	Name    string
	Outcome string // SDKPassed, SDKSkipped or SDKFailed
	Why     string // for the latter two
}

// patiently runs a script until each of its checks has passed once, or the
// target's attempts are over. What failed before is logged.
func patiently(t *testing.T, script string, target SDKTarget) []SDKCheck {
	t.Helper()
	checks := SDKChecks(t, script, target)
	for range target.Attempts - 1 {
		if !slices.ContainsFunc(checks, func(c SDKCheck) bool { return c.Outcome == SDKFailed }) {
			break
		}
		again := SDKChecks(t, script, target)
		for i, c := range checks {
			if c.Outcome != SDKFailed {
				continue
			}
			t.Logf("%s, once more: %s", c.Name, c.Why)
			if j := slices.IndexFunc(again, func(n SDKCheck) bool { return n.Name == c.Name }); j >= 0 {
				checks[i] = again[j]
			}
		}
	}
	return checks
}

// SDKChecks is RunSDK for those who judge the checks themselves: it fails the
// test only where the script itself does not run.
func SDKChecks(t testing.TB, script string, target SDKTarget) []SDKCheck {
	t.Helper()
	path := filepath.Join(RepoRoot(t), "internal", "testkit", "real", "testdata", script)
	name := strings.NewReplacer("_", "-", ".py", "", ".mjs", "").Replace(script)
	c := need(t, name)
	argv := []string{c.values["python"], path}
	dir := t.TempDir()
	if strings.HasSuffix(script, ".mjs") {
		// Node resolves packages from where the script lies.
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, script), source, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(c.values["dir"], "node_modules"), filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
		argv = []string{NodeBin(t), filepath.Join(dir, script)}
	}
	env := append([]string{"BASE_URL=" + target.BaseURL, "API_KEY=" + target.APIKey, "MODEL=" + target.Model}, target.Env...)
	out, err := runBounded(t, dir, 5*time.Minute, env, argv)
	checks, failed := readChecks(out)
	if len(checks) == 0 || err != nil && !failed {
		t.Fatalf("%s made %d checks: %v\n%s", script, len(checks), err, out)
	}
	return checks
}

// readChecks reads the lines that a script prints.
func readChecks(out string) (checks []SDKCheck, failed bool) {
	for line := range strings.Lines(out) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case SDKPassed, SDKSkipped, SDKFailed:
			name, why, _ := strings.Cut(rest, ": ")
			checks = append(checks, SDKCheck{Name: name, Outcome: word, Why: why})
			failed = failed || word == SDKFailed
		}
	}
	return checks, failed
}

// runBounded runs a command in a process group of its own, ends the group after
// the limit, and returns what it printed.
func runBounded(t testing.TB, dir string, limit time.Duration, env, argv []string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(cleanEnv(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// OpenAIGoSuite runs openai-go's own test suite, as its authors compiled it
// from the published module, against baseURL, which must be the Validator or a
// gateway before it. run is a go test -run pattern. It returns the -v output.
func OpenAIGoSuite(t testing.TB, baseURL, apiKey, run string) (string, error) {
	t.Helper()
	c := need(t, "openai-go")
	return runBounded(t, t.TempDir(), 5*time.Minute,
		[]string{"TEST_API_BASE_URL=" + baseURL, "OPENAI_API_KEY=" + apiKey},
		[]string{c.values["test"], "-test.v", "-test.parallel=2", "-test.run=" + run})
}
