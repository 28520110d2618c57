package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/devidp"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

// fromFolder starts a Gatehouse without a database whose configuration is a
// folder: the company, an admin, an echo account.
func fromFolder(t *testing.T, dir string) (g *testkit.Gatehouse, admin string) {
	t.Helper()
	idp := newCompany(t, "ada@acme.com")
	write(t, filepath.Join(dir, "base.yaml"), docs(idp.manifest("company"), adminBinding("ada@acme.com"), echoAccount("echo", "")))
	g = testkit.Start(t, testkit.Options{Environ: []string{"GATEHOUSE_MANIFESTS_DIR=" + dir, "GATEHOUSE_DATABASE_URL=sqlite::memory:"}})
	if g.Admin != "" {
		t.Error("there is a bootstrap token beside a directory of manifests")
	}
	return g, idp.token("ada@acme.com", devidp.MintOptions{})
}

func teamStatus(t *testing.T, g *testkit.Gatehouse, token, name string) int {
	return g.Do(t, testkit.Request{Path: "/api/v1/teams/" + name, Token: token}).Status
}

// live waits until a team is there or not and fails after a second.
func live(t *testing.T, g *testkit.Gatehouse, token, name string, want int) time.Duration {
	t.Helper()
	return eventually(t, time.Second, fmt.Sprintf("team %s is answered with %d", name, want), func() bool { return teamStatus(t, g, token, name) == want })
}

func TestAFolderOfManifestsIsLiveWithinASecondAndNeedsNoDatabase(t *testing.T) {
	dir := t.TempDir()
	g, admin := fromFolder(t, dir)
	if res := g.Chat(t, admin, "echo/small"); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	var worst time.Duration
	for i := range 10 {
		name := fmt.Sprintf("t%d", i)
		write(t, filepath.Join(dir, name+".yaml"), team(name))
		worst = max(worst, live(t, g, admin, name, 200))
	}
	write(t, filepath.Join(dir, "sub/deep/new.yaml"), team("deep")) // a folder that was not there
	worst = max(worst, live(t, g, admin, "deep", 200))
	write(t, filepath.Join(dir, "sub/deep/newer.yaml"), team("deeper"))
	worst = max(worst, live(t, g, admin, "deeper", 200))
	if err := os.Remove(filepath.Join(dir, "t3.yaml")); err != nil {
		t.Fatal(err)
	}
	worst = max(worst, live(t, g, admin, "t3", 404))
	if err := os.RemoveAll(filepath.Join(dir, "sub")); err != nil {
		t.Fatal(err)
	}
	worst = max(worst, live(t, g, admin, "deep", 404))
	t.Logf("a change of the folder is live after %s at most", worst.Round(time.Millisecond))
}

func TestABadManifestIsReportedAndTheLastGoodConfigurationGoesOn(t *testing.T) {
	dir := t.TempDir()
	g, admin := fromFolder(t, dir)
	write(t, filepath.Join(dir, "team.yaml"), team("good", "a@example.com"))
	live(t, g, admin, "good", 200)
	mustContain(t, "the metrics", ops(t, g, "/metrics"), "gatehouse_manifests_refused 0")

	// Half of a change is no change: the good file beside it is not applied either.
	write(t, filepath.Join(dir, "other.yaml"), "apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: bad}\nspec: {membres: []}\n")
	write(t, filepath.Join(dir, "third.yaml"), team("third"))
	eventually(t, time.Second, "the refusal stands in the metrics", func() bool {
		return strings.Contains(ops(t, g, "/metrics"), "gatehouse_manifests_refused 1")
	})
	ready := ops(t, g, "/readyz")
	mustContain(t, "/readyz", ready, `"part": "manifests"`, "other.yaml:4:", "spec.membres", `"status": "ready"`)
	if public := send(t, http.MethodGet, g.URL()+"/readyz", "", ""); public.status != 200 || strings.Contains(public.body, "membres") {
		t.Errorf("the public /readyz: %d %s", public.status, public.body)
	}
	if res := g.Chat(t, admin, "echo/small"); res.Status != http.StatusOK {
		t.Errorf("the last good configuration: %d %s", res.Status, res.Body)
	}
	for name, want := range map[string]int{"good": 200, "bad": 404, "third": 404} {
		if got := teamStatus(t, g, admin, name); got != want {
			t.Errorf("team %s: %d, want %d", name, got, want)
		}
	}
	mustContain(t, "the log", g.Log(), "other.yaml:4:")

	write(t, filepath.Join(dir, "other.yaml"), team("bad"))
	live(t, g, admin, "third", 200)
	eventually(t, time.Second, "the refusal is over", func() bool {
		return strings.Contains(ops(t, g, "/metrics"), "gatehouse_manifests_refused 0") && !strings.Contains(ops(t, g, "/readyz"), "manifests")
	})
}

func TestTheSwapOfAMountedConfigMapIsNoticed(t *testing.T) {
	dir := t.TempDir()
	// As kubelet does it: ..data leads to a folder with a time in its name, the
	// visible files are links through it.
	mount := func(version, content string) {
		write(t, filepath.Join(dir, version, "team.yaml"), content)
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount("..2026_01", team("one"))
	if err := os.Symlink("..data/team.yaml", filepath.Join(dir, "team.yaml")); err != nil {
		t.Fatal(err)
	}
	g, admin := fromFolder(t, dir)
	if got := teamStatus(t, g, admin, "one"); got != 200 {
		t.Fatalf("at the start: %d", got)
	}
	mount("..2026_02", team("two"))
	took := live(t, g, admin, "two", 200)
	live(t, g, admin, "one", 404)
	if err := os.RemoveAll(filepath.Join(dir, "..2026_01")); err != nil {
		t.Fatal(err)
	}
	t.Logf("live after %s", took.Round(time.Millisecond))
}

func TestTheSwapOfALinkToTheFolderIsNoticed(t *testing.T) {
	top := t.TempDir()
	link := filepath.Join(top, "current")
	if err := os.Mkdir(filepath.Join(top, "v1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("v1", link); err != nil {
		t.Fatal(err)
	}
	g, admin := fromFolder(t, link)
	write(t, filepath.Join(top, "v1", "team.yaml"), team("one"))
	live(t, g, admin, "one", 200)
	base, err := os.ReadFile(filepath.Join(top, "v1", "base.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(top, "v2", "base.yaml"), string(base))
	write(t, filepath.Join(top, "v2", "team.yaml"), team("two"))
	if err := os.Symlink("v2", link+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+".new", link); err != nil {
		t.Fatal(err)
	}
	live(t, g, admin, "two", 200)
	live(t, g, admin, "one", 404)
}

func TestSecurityWhatTheFolderManagesTheAPIDoesNotChange(t *testing.T) {
	dir := t.TempDir()
	g, admin := fromFolder(t, dir)
	write(t, filepath.Join(dir, "team.yaml"), team("ours"))
	live(t, g, admin, "ours", 200)
	for _, q := range []testkit.Request{
		{Method: http.MethodPut, Path: "/api/v1/teams/ours", Body: `{"metadata":{"name":"ours"},"spec":{"members":["eve@example.com"]}}`, Header: http.Header{"If-Match": {"*"}}},
		{Method: http.MethodDelete, Path: "/api/v1/teams/ours"},
		{Method: http.MethodPost, Path: "/api/v1/apply", Body: team("ours", "eve@example.com"), Header: http.Header{"Content-Type": {"application/yaml"}}},
	} {
		q.Token = admin
		if res := g.Do(t, q); res.Status != http.StatusConflict || !strings.Contains(res.Body, "managed_by") || !strings.Contains(res.Body, "dir") {
			t.Errorf("%s %s: %d %s", q.Method, q.Path, res.Status, res.Body)
		}
	}
	// What the API made the folder cannot have; once it is let go of, it can.
	if res := g.Do(t, testkit.Request{Method: http.MethodPut, Path: "/api/v1/teams/theirs", Token: admin, Body: `{"metadata":{"name":"theirs"},"spec":{}}`}); res.Status != http.StatusCreated {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	write(t, filepath.Join(dir, "theirs.yaml"), team("theirs", "x@example.com"))
	eventually(t, time.Second, "the refusal is reported", func() bool { return strings.Contains(ops(t, g, "/readyz"), "managed by api") })
	if res := g.Do(t, testkit.Request{Method: http.MethodDelete, Path: "/api/v1/teams/theirs", Token: admin}); res.Status != http.StatusNoContent {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	eventually(t, 8*time.Second, "the folder's team is there without anybody touching its file", func() bool { return teamStatus(t, g, admin, "theirs") == 200 })
}
