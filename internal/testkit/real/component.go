package real

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// component is what scripts/real/fetch wrote down about one component.
type component struct {
	name    string
	version string
	values  map[string]string // where its parts lie, by the keys that fetch uses
	reason  string            // why it cannot be had; empty when it can
}

// CacheDir is where the components lie: GATEHOUSE_TEST_CACHE, or
// gatehouse-test in the home's cache folder.
func CacheDir() string {
	if dir := os.Getenv("GATEHOUSE_TEST_CACHE"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "gatehouse-test")
	}
	return filepath.Join(home, ".cache", "gatehouse-test")
}

// readComponent reads NAME's status file. Whatever is wrong with it is a
// reason not to run, never a guess.
func readComponent(dir, name string) component {
	c := component{name: name, values: map[string]string{}}
	f, err := os.Open(filepath.Join(dir, "status", name))
	if err != nil {
		c.reason = "not fetched: run scripts/real/fetch " + name
		return c
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan()
	first := lines.Text()
	version, had := strings.CutPrefix(first, "HAVE "+name+" ")
	if !had {
		c.reason = strings.TrimPrefix(first, "SKIP "+name+": ")
		if c.reason == "" {
			c.reason = "its status file is empty"
		}
		return c
	}
	c.version = version
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		c.values[key] = value
		if _, err := os.Stat(value); err != nil {
			c.reason = fmt.Sprintf("%s is gone since it was fetched: run scripts/real/fetch %s", key, name)
		}
	}
	return c
}

// need returns the component, or skips the test, or fails it when
// GATEHOUSE_REAL_REQUIRE names the component.
func need(t testing.TB, name string) component {
	t.Helper()
	c := readComponent(CacheDir(), name)
	if c.reason == "" {
		report(t, fmt.Sprintf("ran %s %s %s", name, c.version, t.Name()))
		return c
	}
	absent(t, name, c.reason)
	return c
}

// absent ends the test: skipped, or failed when the component is required.
func absent(t testing.TB, name, reason string) {
	t.Helper()
	report(t, fmt.Sprintf("skipped %s %s: %s", name, t.Name(), reason))
	if slices.Contains(strings.Split(os.Getenv("GATEHOUSE_REAL_REQUIRE"), ","), name) {
		t.Fatalf("%s is required here and cannot be had: %s", name, reason)
	}
	t.Skipf("SKIP %s: %s", name, reason)
}

// report appends one line to the file that GATEHOUSE_REAL_REPORT names.
func report(t testing.TB, line string) {
	t.Helper()
	path := os.Getenv("GATEHOUSE_REAL_REPORT")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatalf("GATEHOUSE_REAL_REPORT: %v", err)
	}
	// One write, so that packages tested at the same time do not mix lines.
	_, err = f.WriteString(strings.ReplaceAll(line, "\n", " ") + "\n")
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		t.Fatalf("GATEHOUSE_REAL_REPORT: %v", err)
	}
}

// RepoRoot is the folder of the module that the test runs in.
func RepoRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
}
