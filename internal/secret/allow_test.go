package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
)

func wantDenied(t *testing.T, what string, err error, setting string) {
	t.Helper()
	if identity.CodeOf(err) != identity.CodePermissionDenied || err == nil || !strings.Contains(err.Error(), setting) {
		t.Errorf("%s: %v; want %s that names %s", what, err, identity.CodePermissionDenied, setting)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestSecurityEnvironmentOnlyFromTheList(t *testing.T) {
	a := secret.Allow{Env: []string{"OPENAI_KEY", "TEAM_*", "*", "", "A*B"}, NeverEnv: []string{"TEAM_MASTER"}}
	for name, allowed := range map[string]bool{
		"OPENAI_KEY": true, "TEAM_A": true, "TEAM_": true,
		"OPENAI_KEY2": false, "OPENAI": false, "openai_key": false, "XTEAM_A": false, "TEAM": false, "PATH": false, "TEAM_MASTER": false, "AB": false,
	} {
		err := a.Check(v1.SecretValue{Env: name}, "api")
		if allowed && err != nil {
			t.Errorf("%s: %v, want allowed", name, err)
		}
		if !allowed {
			wantDenied(t, name, err, "secrets.allowEnv")
		}
	}
}

func TestSecurityNothingIsAllowedByDefault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s")
	write(t, file, "x")
	for _, manager := range []string{"api", "apply:ci", "apply:dir", "scim:x", "operator:dir", "", "DIR", "dir ", "environment"} {
		wantDenied(t, manager+" env", secret.Allow{}.Check(v1.SecretValue{Env: "HOME"}, manager), "secrets.allowEnv")
		wantDenied(t, manager+" file", secret.Allow{}.Check(v1.SecretValue{File: file}, manager), "secrets.allowFiles")
		wantDenied(t, manager+" both forms", secret.Allow{Env: []string{"HOME"}}.Check(v1.SecretValue{Env: "HOME", File: file}, manager), "secrets.allowFiles")
		wantDenied(t, manager+" CA", secret.Allow{}.CheckFile(file, manager), "secrets.allowFiles")
	}
	for _, manager := range []string{"dir", "env"} {
		for _, v := range []v1.SecretValue{{Env: "HOME"}, {File: file}, {File: "/does/not/../exist"}} {
			if err := (secret.Allow{}).Check(v, manager); err != nil {
				t.Errorf("the operator's own %+v: %v", v, err)
			}
		}
	}
	for _, v := range []v1.SecretValue{{Value: "sk"}, {Stored: true}, {Store: "vault", Path: "x"}, {}} {
		if err := (secret.Allow{}).Check(v, "api"); err != nil {
			t.Errorf("%+v: %v, want nil: no reference to the host", v, err)
		}
	}
}

func TestSecurityPathTraversalIsRefused(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "allowed")
	write(t, filepath.Join(dir, "sub", "ok"), "x")
	write(t, filepath.Join(base, "outside"), "x")
	write(t, filepath.Join(base, "allowed-not", "x"), "x")
	write(t, filepath.Join(base, "exact"), "x")
	a := secret.Allow{Files: []string{dir + "/", filepath.Join(base, "exact"), "relative/", "/", "/../", base + "/x/../"}}
	for _, ok := range []string{"/sub/ok", "/not-there-yet", "/no/dir/yet"} {
		if err := a.Check(v1.SecretValue{File: dir + ok}, "api"); err != nil {
			t.Errorf("%s: %v, want allowed", ok, err)
		}
	}
	if err := a.Check(v1.SecretValue{File: base + "/exact"}, "api"); err != nil {
		t.Errorf("exact: %v, want allowed", err)
	}
	for _, bad := range []string{
		dir, dir + "/", dir + "/../outside", dir + "/sub/../../outside", dir + "/./sub/ok", dir + "//sub/ok", dir + "/sub/", base + "/outside",
		base + "/allowed-not/x", base + "/exact/", base + "/exact/../outside", base + "/exact2", base + "/./exact",
		"relative/x", "sub/ok", "/etc/passwd", dir + "/sub\x00/ok", dir + "/..",
	} {
		wantDenied(t, bad, a.Check(v1.SecretValue{File: bad}, "api"), "secrets.allowFiles")
	}
}

func TestSecuritySymlinksCannotEscape(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "allowed")
	write(t, filepath.Join(dir, "..2024", "key"), "x")
	write(t, filepath.Join(base, "outside", "secret"), "x")
	link(t, "..2024", dir+"/..data") // Kubernetes' layout
	link(t, "..data/key", dir+"/key")
	link(t, "../outside/secret", dir+"/file-link")
	link(t, filepath.Join(base, "outside", "secret"), dir+"/absolute-link")
	link(t, "../outside", dir+"/dir-link")
	link(t, "dir-link/secret", dir+"/two-steps")
	link(t, filepath.Join(base, "outside", "secret"), base+"/exact")
	a := secret.Allow{Files: []string{dir + "/", base + "/exact"}}
	for _, ok := range []string{dir + "/key", dir + "/..data/key", base + "/exact"} {
		if err := a.Check(v1.SecretValue{File: ok}, "api"); err != nil {
			t.Errorf("%s: %v, want allowed", ok, err)
		}
	}
	for _, bad := range []string{"/file-link", "/absolute-link", "/dir-link/secret", "/dir-link/not-there", "/two-steps"} {
		wantDenied(t, bad, a.Check(v1.SecretValue{File: dir + bad}, "api"), "secrets.allowFiles")
	}
}

func TestSecurityGatehousesOwnKeyIsNeverAllowed(t *testing.T) {
	base := t.TempDir()
	write(t, base+"/master.key", "x")
	write(t, base+"/other", "x")
	if err := os.Link(base+"/master.key", base+"/hard"); err != nil {
		t.Fatal(err)
	}
	link(t, "master.key", base+"/soft")
	a := secret.Allow{Files: []string{base + "/", base + "/master.key"}, NeverFiles: []string{base + "/master.key"}}
	for _, name := range []string{"master.key", "hard", "soft"} {
		wantDenied(t, name, a.Check(v1.SecretValue{File: base + "/" + name}, "api"), "secrets.allowFiles")
	}
	if err := a.Check(v1.SecretValue{File: base + "/other"}, "api"); err != nil {
		t.Errorf("another file: %v", err)
	}
}

func TestAllowEntriesThatCouldMeanSomethingElseAreReported(t *testing.T) {
	bad := secret.Allow{Env: []string{"*", "", "A B", "A**"}, Files: []string{"/", "", "x", "/a/../b", "/a//b", "/a/./"}}
	err := bad.Validate()
	if err == nil || strings.Count(err.Error(), "secrets.allowEnv") != 4 || strings.Count(err.Error(), "secrets.allowFiles") != 6 {
		t.Errorf("Validate = %v; want 4 and 6 entries reported", err)
	}
	good := secret.Allow{Env: []string{"A", "A_*"}, Files: []string{"/a", "/a/b/"}}
	if err := good.Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
	if target := (&identity.Error{}); errors.As(err, &target) {
		t.Error("a setting's error is not a caller's error")
	}
}
