package manifest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"

	"github.com/google/go-cmp/cmp"
)

func team(name string) string {
	return "apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: " + name + "}\nspec: {}\n"
}

// write makes files below a folder; a content that begins with -> is a link.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "->"); ok {
			err = os.Symlink(target, full)
		} else {
			err = os.WriteFile(full, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func names(docs []Document) []string {
	var list []string
	for _, d := range docs {
		list = append(list, d.Resource.Meta().Name)
	}
	return list
}

func TestFolderIsReadInOrderWithoutHiddenFiles(t *testing.T) {
	dir := write(t, map[string]string{
		"b.yaml": team("b"), "a/z.yml": team("a-z"), "c.json": `{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"c"},"spec":{}}`,
		"README.md": "no manifest", ".hidden.yaml": "{", ".git/x.yaml": "{", "d.yaml~": "{", "empty.yaml": "", "dead.txt": "->nowhere",
	})
	docs, err := ReadPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a-z", "b", "c"}, names(docs)); d != "" {
		t.Error(d)
	}
	if docs, err := ReadPath(t.TempDir()); err != nil || len(docs) != 0 {
		t.Errorf("an empty folder: %v, %v", docs, err)
	}
}

func TestMountedConfigMapIsReadOnceThroughItsLinks(t *testing.T) {
	dir := write(t, map[string]string{
		"..2026_11_22/team.yaml": team("x"), "..data": "->..2026_11_22", "team.yaml": "->..data/team.yaml",
	})
	docs, err := ReadPath(dir)
	if err != nil || len(docs) != 1 {
		t.Errorf("%v, %v", names(docs), err)
	}
}

func TestSameResourceTwiceNamesBothPlaces(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": team("x"), "b.yaml": "---\n" + team("y") + "---\n" + team("x") + "---\n" + team("y")})
	_, err := ReadPath(dir)
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
	want := "b.yaml:14:18: metadata.name: Team y stands at b.yaml:4:18 already\nb.yaml:9:18: metadata.name: Team x stands at a.yaml:3:18 already"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSecurityUnreadableFolderYieldsNoDocuments(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": team("x"), "b.yaml": "->nowhere"})
	if docs, err := ReadPath(dir); !errors.Is(err, fs.ErrNotExist) || docs != nil {
		t.Errorf("a dead link: %v, %v", names(docs), err)
	}
	dir = write(t, map[string]string{"a.yaml": team("x"), "loop/again": "->../"})
	if err := os.Remove(filepath.Join(dir, "loop/again")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "loop", "again")); err != nil {
		t.Fatal(err)
	}
	if docs, err := ReadPath(dir); err == nil || docs != nil {
		t.Errorf("a circle: %v, %v", names(docs), err)
	}
	if _, err := ReadPath(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := ReadPath("/dev/null"); err == nil {
		t.Error("a device was read")
	}
}

func TestErrorsOfAllFilesAreReported(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": "a: [", "b.yaml": "kind: Team\n", "c.yaml": team("x")})
	docs, err := ReadPath(dir)
	list, ok := errors.AsType[Errors](err)
	if !ok || len(list) != 2 || len(docs) != 1 {
		t.Errorf("%v, %v", docs, err)
	}
	if one, ok := errors.AsType[Error](err); !ok || one.Line != 1 {
		t.Errorf("the single errors cannot be found: %v", one)
	}
}

// Every example of the documentation is read as a user's would be.
func TestDocumentationExamplesAreValid(t *testing.T) {
	files, _ := filepath.Glob("../../docs/*.md")
	deeper, _ := filepath.Glob("../../docs/*/*.md")
	files = append(files, deeper...)
	files = append(files, "../../README.md")
	found := map[string]int{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(data), "```")
		line := 1
		for i, p := range parts {
			block, ok := strings.CutPrefix(p, "yaml\n")
			if i%2 == 1 && ok && (strings.Contains(block, "apiVersion: gatehouse.dev/v1") || strings.HasPrefix(block, "authz_rules:")) {
				docs, err := Parse(filepath.Base(file), []byte(strings.Repeat("#\n", line)+block))
				if err != nil {
					t.Error(err)
				}
				for _, d := range docs {
					found[string(d.Resource.Type().Kind)]++
				}
			}
			line += strings.Count(p, "\n")
		}
	}
	if len(found) != len(v1.Kinds()) {
		t.Errorf("examples were found of %v only", found)
	}
}
