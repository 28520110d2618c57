package api_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// ownActions begin the actions that are not those of a kind of resource.
const ownActions = `user|team|session|token|sso-connection|break-glass|access|tenant`

// writtenActions are the texts in the source that are an audit action.
func writtenActions(t *testing.T) []string {
	t.Helper()
	action := regexp.MustCompile(`^(` + ownActions + `)\.[a-z]+(-[a-z]+)*$`)
	var found []string
	for _, dir := range []string{"../../control", "../../store", "../../app"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "storetest") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if text, err := strconv.Unquote(lit.Value); err == nil && action.MatchString(text) {
						found = append(found, text)
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// documentedActions are those in the first column of the page's first table.
func documentedActions(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| action | |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var list []string
	for line := range strings.SplitSeq(table, "\n") {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(first, -1) {
			list = append(list, m[1])
		}
	}
	return list
}

func TestEveryAuditActionIsDocumented(t *testing.T) {
	written := writtenActions(t)
	for _, op := range newWorld(t).api.Operations() {
		for _, action := range op.AuditActions {
			if action != "none" {
				written = append(written, action)
			}
		}
	}
	documented := documentedActions(t)
	ofKinds := func(action string) bool {
		slug, verb, _ := strings.Cut(action, ".")
		_, kind := v1.ParseKind(slug)
		return kind && slices.Contains([]string{"create", "update", "delete"}, verb) && slices.Contains(documented, "KIND."+verb)
	}
	if len(written) < 60 || len(documented) < 20 {
		t.Fatalf("%d actions in the source, %d on the page", len(written), len(documented))
	}
	for _, action := range written {
		if !slices.Contains(documented, action) && !ofKinds(action) {
			t.Errorf("docs/audit.md does not list %s", action)
		}
	}
	for _, action := range documented {
		if !slices.Contains(written, action) && !strings.HasPrefix(action, "KIND.") {
			t.Errorf("docs/audit.md lists %s, which nothing writes", action)
		}
	}
}

func TestDeactivatingIsAuditedAsSuch(t *testing.T) {
	w := newWorld(t)
	for body, want := range map[string]string{
		`{"displayName":"M"}`:                   "user.update",
		`{"active":false,"displayName":"Gone"}`: "user.deactivate",
	} {
		w := newWorld(t)
		w.want(w.do("admin", "PUT", "/users/member@example.com", body), 200)
		if got, _ := w.actions("/audit?target=user:member@example.com"); !slices.Equal(got, []string{want + " user:admin@example.com done"}) {
			t.Errorf("%s: %v", body, got)
		}
	}
	w.want(w.do("admin", "PUT", "/users/member@example.com", `{"active":false}`), 200)
	w.want(w.do("admin", "PUT", "/users/member@example.com", `{"active":false}`), 200)
	w.want(w.do("admin", "PUT", "/users/member@example.com", `{"active":true}`), 200)
	got, _ := w.actions("/audit?target=user:member@example.com")
	if want := []string{"user.update", "user.update", "user.deactivate"}; strings.Join(got, " ") != strings.Join(want, " user:admin@example.com done ")+" user:admin@example.com done" {
		t.Error(got)
	}
}

// An operation that may create has two permissions and two actions; whoever
// reads the description must learn of both.
func TestTheDescriptionNamesEveryPermissionAndAction(t *testing.T) {
	w := newWorld(t)
	doc := w.do("admin", "GET", "/openapi.json", "").body
	for _, k := range v1.Kinds() {
		s := k.Slug()
		want := `"description":"Permission: ` + s + `:update (resource). Audit: ` + s + `.update. Where it creates: ` + s + `:create; ` + s + `.create."`
		if !strings.Contains(doc, want) {
			t.Errorf("the description lacks %s", want)
		}
	}
	if want := `"description":"Permission: user:update (resource). Audit: user.update. Where it creates: user:create; user.create. Where it deactivates: user:update; user.deactivate."`; !strings.Contains(doc, want) {
		t.Errorf("the description lacks %s", want)
	}
}
