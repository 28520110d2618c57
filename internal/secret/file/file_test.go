package file_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/secret/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ref(path, within string) secret.Ref {
	return secret.Ref{Value: v1.SecretValue{File: path}, Within: within}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

func TestFetchTrimsLineEndsAndRefusesWhatIsNoSecretFile(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"lf": "sk\n", "crlf": "sk\r\n", "plain": "sk", "inner": "a\nb\n", "space": " sk \n", "max": strings.Repeat("x", file.MaxSize),
		"empty": "", "blank": "\n\n", "big": strings.Repeat("x", file.MaxSize+1),
	} {
		write(t, filepath.Join(dir, name), content)
	}
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	b := file.New(file.Options{})
	for name, want := range map[string]string{
		"lf": "sk", "crlf": "sk", "plain": "sk", "inner": "a\nb", "space": " sk ", "max": strings.Repeat("x", file.MaxSize),
	} {
		if got, err := b.Fetch(t.Context(), ref(filepath.Join(dir, name), "")); err != nil || got != want {
			t.Errorf("%s: %.20q, %v; want %.20q", name, got, err, want)
		}
	}
	for name, want := range map[string]string{"empty": "empty", "blank": "empty", "big": "larger than", "pipe": "not a regular file", ".": "not a regular file", "missing": "no such file"} {
		if got, err := b.Fetch(t.Context(), ref(filepath.Join(dir, name), "")); err == nil || !strings.Contains(err.Error(), want) || got != "" {
			t.Errorf("%s: %.20q, %v; want an error with %q", name, got, err, want)
		}
	}
}

func TestSecurityReadingNeverLeavesTheAllowedDirectory(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "allowed")
	write(t, filepath.Join(dir, "..1", "key"), "inside")
	write(t, filepath.Join(base, "outside"), "outside")
	must(t, os.Symlink("..1", dir+"/..data"))
	must(t, os.Symlink("..data/key", dir+"/key"))
	must(t, os.Symlink("../outside", dir+"/escape"))
	must(t, os.Symlink(base+"/outside", dir+"/absolute"))
	must(t, os.Symlink("..", dir+"/up"))
	b := file.New(file.Options{})
	if got, err := b.Fetch(t.Context(), ref(dir+"/key", dir+"/")); err != nil || got != "inside" {
		t.Errorf("key: %q, %v", got, err)
	}
	for _, bad := range []string{"/escape", "/absolute", "/up/outside", "/../outside"} {
		if got, err := b.Fetch(t.Context(), ref(dir+bad, dir+"/")); err == nil {
			t.Errorf("%s: read %q", bad, got)
		}
	}
	if got, err := b.Fetch(t.Context(), ref(base+"/outside", dir+"/")); err == nil {
		t.Errorf("a path outside: read %q", got)
	}
	if got, err := b.Fetch(t.Context(), ref(dir+"/escape", "")); err != nil || got != "outside" {
		t.Errorf("the operator's own reference: %q, %v; the links of these are followed", got, err)
	}
}

// watched returns a channel that gets the name of each changed file.
func watched(t *testing.T, poll time.Duration, files ...string) <-chan string {
	t.Helper()
	b := file.New(file.Options{Poll: poll})
	seen := make(chan string, 1000)
	b.Watch(files, func(f string) {
		select {
		case seen <- f:
		default:
		}
	})
	t.Cleanup(func() { must(t, b.Close()) })
	return seen
}

func waitFor(t *testing.T, seen <-chan string, want string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case got := <-seen:
			if got == want {
				return
			}
		case <-deadline:
			t.Fatalf("the change of %s was not noticed", want)
		}
	}
}

func TestChangesAreNoticed(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string){
		"written in place": func(t *testing.T, dir string) { write(t, dir+"/key", "new") },
		"renamed over": func(t *testing.T, dir string) {
			write(t, dir+"/tmp", "new")
			must(t, os.Rename(dir+"/tmp", dir+"/key"))
		},
		"kubernetes swap": func(t *testing.T, dir string) {
			write(t, dir+"/..2/mounted", "new")
			must(t, os.Symlink("..2", dir+"/..data_tmp"))
			must(t, os.Rename(dir+"/..data_tmp", dir+"/..data"))
		},
		"removed": func(t *testing.T, dir string) { must(t, os.Remove(dir+"/key")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/key", "old")
			write(t, dir+"/..1/mounted", "old")
			must(t, os.Symlink("..1", dir+"/..data"))
			must(t, os.Symlink("..data/mounted", dir+"/mounted"))
			target := dir + "/key"
			if name == "kubernetes swap" {
				target = dir + "/mounted"
			}
			seen := watched(t, time.Hour, dir+"/key", dir+"/mounted")
			change(t, dir)
			waitFor(t, seen, target)
		})
	}
}

func TestPollFindsADirectoryThatAppearsLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	seen := watched(t, 5*time.Millisecond, dir+"/key")
	waitFor(t, seen, dir+"/key")
	write(t, dir+"/key", "v")
	waitFor(t, seen, dir+"/key")
}

func TestOtherFilesWrittenInTheDirectoryAreNoChange(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/key", "v")
	write(t, dir+"/busy.db", "v")
	seen := watched(t, time.Hour, dir+"/key")
	write(t, dir+"/busy.db", "w")
	write(t, dir+"/key", "w")
	waitFor(t, seen, dir+"/key")
	if len(seen) != 0 {
		t.Errorf("%d more changes were reported", len(seen))
	}
}

func TestCacheReadsAFileAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	write(t, path, "one\n")
	b := file.New(file.Options{})
	c := secret.New(secret.Options{Backends: map[secret.Kind]secret.Backend{secret.KindFile: b}})
	defer func() {
		c.Close()
		must(t, b.Close())
		must(t, b.Close())
		b.Watch([]string{path}, func(string) {})
	}()
	r := secret.Ref{ResourceUID: "u", Path: "p", Manager: "dir", Value: v1.SecretValue{File: path}}
	c.Reconcile([]secret.Ref{r})
	must(t, c.WaitReady(t.Context()))
	h := c.Handle(r)
	if v, err := h.Value(); err != nil || v != "one" {
		t.Fatalf("Value = %q, %v", v, err)
	}
	write(t, path, "two\n")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case <-tick.C:
			if v, err := h.Value(); err == nil && v == "two" {
				return
			}
		case <-deadline:
			t.Fatal("the new content was not read")
		}
	}
}
