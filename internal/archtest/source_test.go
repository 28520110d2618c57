package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxFileLines = 500
	maxFuncLines = 60
)

// root is the top of the module, seen from this package.
const root = "../.."

func goFiles(t *testing.T, yield func(path string, src []byte)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if name == "node_modules" || name == "testdata" || name == "bench" || (strings.HasPrefix(name, ".") && p != root) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		n++
		yield(p, src)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 50 {
		t.Fatalf("only %d Go files found", n)
	}
}

func TestFilesAndFunctionsStayShort(t *testing.T) {
	goFiles(t, func(path string, src []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		if n := bytes.Count(src, []byte("\n")); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", path, n, maxFileLines)
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFuncLines {
				t.Errorf("%s: %s has %d lines, more than %d", path, fn.Name.Name, n, maxFuncLines)
			}
		}
	})
}

func TestNoInitFunctions(t *testing.T) {
	goFiles(t, func(path string, src []byte) {
		f, err := parser.ParseFile(token.NewFileSet(), path, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function; app wires by hand", path)
			}
		}
	})
}

func TestEveryPackageHasADocFile(t *testing.T) {
	dirs := map[string]bool{}
	goFiles(t, func(path string, _ []byte) {
		if !strings.HasSuffix(path, "_test.go") {
			dirs[filepath.Dir(path)] = true
		}
	})
	for dir := range dirs {
		if strings.Contains(dir, "/cmd/") || strings.HasSuffix(dir, "/refgen") {
			continue // a command documents itself in main.go
		}
		if _, err := os.Stat(filepath.Join(dir, "doc.go")); err != nil {
			t.Errorf("%s has no doc.go: what it owns, what it does not own, who calls it", dir)
		}
	}
}

func TestInterfacesStaySmall(t *testing.T) {
	goFiles(t, func(path string, src []byte) {
		if strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/storetest/") || strings.HasSuffix(path, "api/v1/meta.go") {
			return // Resource is the contract of every kind; the suite's union is for tests
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if it, ok := spec.Type.(*ast.InterfaceType); ok && it.Methods.NumFields() > 5 {
				t.Errorf("%s: the interface %s has %d methods, more than 5", path, spec.Name.Name, it.Methods.NumFields())
			}
			return true
		})
	})
}

// sleepers are tests that sleep without testing/synctest, and why they may.
func sleepers() map[string]string {
	return map[string]string{
		"internal/store/postgres/tls_test.go": "another process, PostgreSQL, reads its settings anew in its own time; each attempt to connect is paced",
	}
}

// A sleep makes a test slow where it is long enough, and unreliable where it is
// not. In a bubble of synctest it costs nothing and is exact.
func TestNoTestSleepsOutsideABubble(t *testing.T) {
	excused := sleepers()
	goFiles(t, func(path string, src []byte) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		sleeps := sleepsOf(f)
		if len(sleeps) == 0 {
			return
		}
		name := strings.TrimPrefix(filepath.ToSlash(path), root+"/")
		if _, ok := excused[name]; ok {
			delete(excused, name)
			return
		}
		for _, at := range sleeps {
			t.Errorf("%s: time.Sleep: use testing/synctest, wait for what is to happen, or pace by a ticker", fset.Position(at))
		}
	})
	for name := range excused {
		t.Errorf("%s sleeps no longer; take it out of the list", name)
	}
}

// sleepsOf finds the calls of time.Sleep in a file that has no bubbles.
func sleepsOf(f *ast.File) []token.Pos {
	for _, imp := range f.Imports {
		if imp.Path.Value == `"testing/synctest"` {
			return nil
		}
	}
	var found []token.Pos
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Sleep" {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
			found = append(found, sel.Pos())
		}
		return true
	})
	return found
}

func TestASleepIsFoundWhereThereIsNoBubble(t *testing.T) {
	for src, want := range map[string]int{
		"package a\nimport \"time\"\nfunc f() { for ; ; time.Sleep(1) { time.Sleep(2) } }":                2,
		"package a\nimport (\"testing/synctest\"; \"time\")\nfunc f() { synctest.Wait(); time.Sleep(1) }": 0,
		"package a\nimport \"time\"\nvar pause = time.Sleep":                                              1,
		"package a\nimport \"time\"\nvar tick = time.Tick":                                                0,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "a_test.go", src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(sleepsOf(f)); got != want {
			t.Errorf("%d sleeps found, want %d, in\n%s", got, want, src)
		}
	}
}
