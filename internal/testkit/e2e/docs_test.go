package e2e

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

// shell runs a script as a user would paste it, in a folder where bin/gatehouse
// is the binary of this run, and returns what it says. Any command that fails
// fails the test.
func shell(t testing.TB, dir, before, script string) string {
	t.Helper()
	sh, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("skipped: the pages' examples need bash, which is not on this machine")
	}
	if _, err := exec.LookPath("curl"); err != nil && strings.Contains(script, "curl") {
		t.Skip("skipped: the pages' examples need curl, which is not on this machine")
	}
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary(t), filepath.Join(bin, "gatehouse")); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, sh, "-eu", "-o", "pipefail", "-c", before+script)
	c.Dir, c.Env = dir, append(quietEnv(dir), "no_proxy=127.0.0.1")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, script, out)
	}
	return string(out)
}

// pageBlocks says for each shell block of the pages, by a text that it holds,
// how it is tested: run as it is, or why not.
var pageBlocks = []struct {
	page, holds string
	skip        string   // why it is not run here
	want        []string // what it must say
}{
	{page: "README.md", holds: "make run     #", skip: "make is what runs this test; gatehouse dev itself is started below"},
	{page: "README.md", holds: "./bin/gatehouse serve", skip: "run by TestAnEmptyMachineReachesItsFirstCallByTheReadmesWordsAlone"},
	{page: "README.md", holds: "apply -f first.yaml", skip: "run by TestAnEmptyMachineReachesItsFirstCallByTheReadmesWordsAlone"},
	{page: "README.md", holds: "import openai", skip: "needs the openai package from PyPI; run by make test-real"},
	{page: "README.md", holds: "explain --token-file - --model openai-main", skip: "run by TestAnEmptyMachineReachesItsFirstCallByTheReadmesWordsAlone"},
	{page: "docs/quickstart.md", holds: "make run\n", skip: "gatehouse dev is what runs here"},
	{page: "docs/quickstart.md", holds: "ADMIN=$(curl"},
	{page: "docs/quickstart.md", holds: "/v1/models -H", want: []string{"echo/small"}},
	{page: "docs/quickstart.md", holds: "OPENAI_API_KEY=sk-… make run", skip: "needs a provider's key and its server; the environment's accounts are in compat_test.go"},
	{page: "docs/quickstart.md", holds: "explain --token-file - --model echo/large", want: []string{"denied", "member@example.com"}},
	{page: "docs/quickstart.md", holds: "export OPENAI_BASE_URL"},
	{page: "docs/quickstart.md", holds: "token create --name laptop", want: []string{"gtp_"}},
}

func TestTheShellExamplesOfTheReadmeAndTheQuickStartWork(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, quietEnv(dir, "GATEHOUSE_SERVER_ADDRESS=127.0.0.1:0", "GATEHOUSE_OPS_ADDRESS=127.0.0.1:0", "GATEHOUSE_DEV_ADDRESS=127.0.0.1:0"), dir, "dev")
	idp := regexp.MustCompile(`development identity provider\s+(http\S+)`).FindStringSubmatch(s.welcome.String())
	if idp == nil {
		t.Fatalf("gatehouse dev does not say where its identity provider is:\n%s", s.welcome)
	}
	ports := strings.NewReplacer("http://127.0.0.1:8080", s.url, "http://127.0.0.1:8081", idp[1])
	// What the blocks of a page have set so far. The pages leave GATEHOUSE_URL
	// at its default, which is not where this test listens.
	usual := "export GATEHOUSE_URL=" + s.url + "\n"
	before := map[string]string{"README.md": usual, "docs/quickstart.md": usual}
	for _, page := range []string{"README.md", "docs/quickstart.md"} {
		b, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, bl := range fenced(string(b)) {
			if bl.language != "sh" {
				continue
			}
			known := false
			for _, c := range pageBlocks {
				if c.page != page || !strings.Contains(bl.text, c.holds) {
					continue
				}
				known = true
				if c.skip != "" {
					t.Logf("%s:%d not run: %s", page, bl.line, c.skip)
					break
				}
				script := ports.Replace(bl.text)
				out := shell(t, dir, before[page], script)
				mustContain(t, page+": "+bl.text, out, c.want...)
				t.Logf("%s:%d run", page, bl.line)
				if !strings.Contains(script, "./bin/gatehouse") && strings.Contains(script, "=") && !strings.Contains(script, "-H ") {
					before[page] += script
				}
				break
			}
			if !known {
				t.Errorf("%s:%d: say in pageBlocks how this block is tested:\n%s", page, bl.line, bl.text)
			}
		}
	}
}

func TestWhatGatehouseDevPrintsWorksAsPasted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := serve(t, quietEnv(dir, "GATEHOUSE_SERVER_ADDRESS=127.0.0.1:0", "GATEHOUSE_OPS_ADDRESS=127.0.0.1:0", "GATEHOUSE_DEV_ADDRESS=127.0.0.1:0"), dir, "dev")
	var commands []string
	lines := strings.Split(s.welcome.String(), "\n")
	for i := 0; i < len(lines); i++ {
		if !strings.HasPrefix(lines[i], "  curl ") {
			continue
		}
		c := lines[i]
		for strings.HasSuffix(lines[i], `\`) {
			i++
			c += "\n" + lines[i]
		}
		commands = append(commands, c)
	}
	want := []string{"Who is asking?", "model_not_permitted", "echo/large", "echo/small"}
	if len(commands) != len(want) {
		t.Fatalf("%d commands:\n%s", len(commands), s.welcome)
	}
	for i, c := range commands {
		mustContain(t, c, shell(t, dir, "", c), want[i])
	}
}

func TestEveryRelativeLinkOfThePagesLeadsToAFile(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	count := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == "node_modules" || name == "bin" || name == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			u, err := url.Parse(m[1])
			if err != nil || u.IsAbs() || u.Path == "" {
				continue
			}
			count++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), u.Path)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 10 {
		t.Errorf("only %d links were found", count)
	}
}

// The YAML that the pages print can be applied.
func TestTheManifestsOfThePagesAreValid(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"README.md", "docs/access-control.md", "docs/identity-providers.md", "docs/quickstart.md"} {
		b, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, bl := range fenced(string(b)) {
			if bl.language == "yaml" {
				parsesAsManifests(t, page, bl)
			}
		}
	}
}

func parsesAsManifests(t *testing.T, page string, b block) {
	t.Helper()
	if !strings.Contains(b.text, "apiVersion:") && !strings.Contains(b.text, "authz_rules:") {
		return // settings
	}
	docs, err := manifest.Parse("example.yaml", []byte(b.text))
	if err != nil {
		t.Errorf("%s:%d: %v", page, b.line, err)
	}
	if len(docs) == 0 {
		t.Errorf("%s:%d: no manifests", page, b.line)
	}
}
