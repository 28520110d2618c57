package app_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/app"
)

// fetch reads a page, which must be there.
func fetch(t *testing.T, req *http.Request) string {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s %v", req.URL, res.StatusCode, text, err)
	}
	return string(text)
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return fetch(t, req)
}

// allSeries lists the series of a server that has seen one of everything, with
// their kinds.
func allSeries(t *testing.T) (list []string) {
	t.Helper()
	manifests := t.TempDir()
	const account = "apiVersion: gatehouse.dev/v1\nkind: ProviderAccount\nmetadata: {name: keyed}\nspec: {provider: openai, credentials: {apiKey: {env: GATEHOUSE_TEST_PROVIDER_KEY}}, models: [{name: m}]}\n"
	if err := os.WriteFile(filepath.Join(manifests, "account.yaml"), []byte(account), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, environ := config(t, true, t.TempDir(), "GATEHOUSE_MANIFESTS_DIR="+manifests, "GATEHOUSE_TEST_PROVIDER_KEY=sk")
	a, err := app.Start(t.Context(), cfg, app.Options{Dev: true, Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, a)
	token := get(t, a.IDPURL()+"/dev/token?user="+url.QueryEscape("admin@example.com"))
	call, err := http.NewRequest(http.MethodPost, a.URL()+"/v1/chat/completions", strings.NewReader(`{"model":"echo/large","messages":[{"role":"user","content":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	call.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	call.Header.Set("Content-Type", "application/json")
	fetch(t, call)
	for line := range strings.Lines(get(t, a.OpsURL()+"/metrics")) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == "TYPE" && strings.HasPrefix(f[2], "gatehouse_") {
			list = append(list, f[2]+" "+f[3])
		}
	}
	slices.Sort(list)
	return list
}

// What only grows is a counter, and is called so; nothing else is. And each
// series is in the page where people look it up.
func TestTheSeriesAreWhatThePageSays(t *testing.T) {
	list := allSeries(t)
	for _, s := range list {
		name, kind, _ := strings.Cut(s, " ")
		if (kind == "counter") != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s", name, kind)
		}
	}
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(gatehouse_[a-z_]+)` \\| ([a-z]+) \\|").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1]+" "+m[2])
	}
	slices.Sort(documented)
	if diff := cmp.Diff(list, documented); diff != "" {
		t.Errorf("-/metrics +docs/operations.md\n%s", diff)
	}
}
