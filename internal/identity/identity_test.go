package identity

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

func TestCatalogueFitsItsBits(t *testing.T) {
	list := Catalogue()
	if len(list) > 128 {
		t.Fatalf("%d permissions do not fit into 128 bits", len(list))
	}
	seen := map[Permission]bool{}
	for _, p := range list {
		if seen[p] {
			t.Errorf("%s stands twice", p)
		}
		seen[p] = true
		if kind, verb, ok := strings.Cut(string(p), ":"); !ok || kind == "" || verb == "" {
			t.Errorf("%q is not kind:verb", p)
		}
		if !p.Known() {
			t.Errorf("%s is not known", p)
		}
	}
	for _, k := range v1.Kinds() {
		for _, verb := range []string{"read", "create", "update", "delete"} {
			if !KindPermission(k, verb).Known() {
				t.Errorf("%s:%s is missing", k.Slug(), verb)
			}
		}
	}
	list[0] = "changed"
	if Catalogue()[0] == "changed" {
		t.Error("Catalogue hands out its own list")
	}
}

func TestPermissionSetsFollowTheLawsOfSets(t *testing.T) {
	all := Catalogue()
	draw := func(t *rapid.T, name string) ([]Permission, PermissionSet) {
		list := rapid.SliceOfDistinct(rapid.SampledFrom(all), rapid.ID[Permission]).Draw(t, name)
		return list, NewPermissionSet(list...)
	}
	rapid.Check(t, func(t *rapid.T) {
		la, a := draw(t, "a")
		lb, b := draw(t, "b")
		for _, p := range all {
			inA, inB := slices.Contains(la, p), slices.Contains(lb, p)
			for name, c := range map[string][2]bool{
				"Has": {a.Has(p), inA}, "Union": {a.Union(b).Has(p), inA || inB},
				"Intersect": {a.Intersect(b).Has(p), inA && inB}, "Without": {a.Without(b).Has(p), inA && !inB},
			} {
				if c[0] != c[1] {
					t.Fatalf("%s(%s) = %v", name, p, c[0])
				}
			}
		}
		if a.Covers(b) != b.Without(a).IsEmpty() || !a.Union(b).Covers(a) || !a.Covers(a.Intersect(b)) {
			t.Fatal("Covers")
		}
		slices.Sort(la)
		if got := a.List(); !slices.Equal(got, la) {
			t.Fatalf("List = %v, want %v", got, la)
		}
	})
	if !(PermissionSet{}).IsEmpty() || !NewPermissionSet().IsEmpty() || AllPermissions().IsEmpty() {
		t.Error("IsEmpty")
	}
}

func TestSecurityUnknownPermissionsGrantNothing(t *testing.T) {
	s := NewPermissionSet("model:*", "", "*", "tenant:everything")
	if !s.IsEmpty() || s.Has("model:*") || AllPermissions().Has("model:*") || Permission("*").Known() {
		t.Errorf("set = %v", s.List())
	}
}

func TestBuiltinRoles(t *testing.T) {
	names := BuiltinRoleNames()
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("names = %v", names)
	}
	for _, n := range names {
		set, ok := BuiltinRole(n)
		if !ok || set.IsEmpty() {
			t.Errorf("%s: %v, %v", n, set.List(), ok)
		}
		if !v1.ValidName(n) {
			t.Errorf("%s cannot stand in a manifest", n)
		}
		if n != RoleTenantAdmin && !set.Intersect(AdminOnly()).IsEmpty() {
			t.Errorf("%s holds what only tenant-admin may: %v", n, set.Intersect(AdminOnly()).List())
		}
		if strings.HasSuffix(n, "-viewer") {
			for _, p := range set.List() {
				if !strings.HasSuffix(string(p), ":read") {
					t.Errorf("%s may %s", n, p)
				}
			}
		}
	}
	for _, n := range []string{"", "-viewer", "pod-viewer", "teams-viewer", "Team-viewer", "Tenant-Admin", "admin"} {
		if _, ok := BuiltinRole(n); ok {
			t.Errorf("%q is a built-in role", n)
		}
	}
	user, _ := BuiltinRole(RoleModelUser)
	if d := cmp.Diff([]Permission{PermModelUse}, user.List()); d != "" {
		t.Error(d)
	}
	if admin, _ := BuiltinRole(RoleTenantAdmin); !admin.Covers(AllPermissions()) {
		t.Error("tenant-admin may not do everything")
	}
}

func TestSecurityWhereTokensComeFromIsForAdminsOnly(t *testing.T) {
	only := AdminOnly()
	for _, p := range []Permission{
		"identity-provider:create", "identity-provider:update", "identity-provider:delete", "external-identity:update",
		"secret-store:update", "tenant-settings:update", PermTenantAdmin, PermTakeOver,
	} {
		if !only.Has(p) {
			t.Errorf("a custom role could hold %s", p)
		}
	}
	if only.Has("identity-provider:read") || only.Has(PermModelUse) {
		t.Error("reading and using are not for admins only")
	}
}

func TestSubjectForms(t *testing.T) {
	for want, got := range map[Subject]Subject{
		"user:a@b.co": UserSubject("a@b.co"), "team:x": TeamSubject("x"), "virtual-account:v": VirtualAccountSubject("v"),
		"external-identity:e": ExternalIdentitySubject("e"), "role:tenant-admin": TenantAdmin, "team:everyone": Everyone,
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if parsed, ok := ParseSubject(string(got)); !ok || parsed != want {
			t.Errorf("ParseSubject(%q) = %q, %v", got, parsed, ok)
		}
	}
	if s, ok := ParseSubject("user: Ada@Example.com"); !ok || s != "user:ada@example.com" {
		t.Errorf("normalised to %q, %v", s, ok)
	}
	if _, ok := ParseSubject("ada"); ok {
		t.Error("a bare word is no subject")
	}
	for want, got := range map[ResourceRef]ResourceRef{
		"model:a/m": ModelRef("a/m"), "provider-account:a": AccountRef("a"), "role-binding:x": KindRef(v1.KindRoleBinding, "x"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// declaredCodes reads the constants of errors.go, so that a new code cannot be
// forgotten in Status.
func declaredCodes(t *testing.T) []Code {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []Code
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
			s, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			codes = append(codes, Code(s))
		}
		return true
	})
	return codes
}

func TestEveryCodeHasAStatus(t *testing.T) {
	codes := declaredCodes(t)
	if len(codes) < 30 {
		t.Fatalf("found %d codes only", len(codes))
	}
	seen := map[Code]bool{}
	for _, c := range codes {
		if seen[c] {
			t.Errorf("%s stands twice", c)
		}
		seen[c] = true
		if c.Status() == http.StatusInternalServerError && c != CodeInternal {
			t.Errorf("%s has no status", c)
		}
	}
	for c, want := range map[Code]int{
		CodeNoCredential: 401, CodeInvalidToken: 401, CodeModelNotPermitted: 403, CodeIdentityNotMapped: 403,
		CodeKeysUnavailable: 503, CodeProviderCredentials: 502, CodePreconditionRequired: 428, CodePreconditionFailed: 412, CodeManagedBy: 409,
		CodeCredentialsDisagree: 400, CodeUpstreamTimeout: 504, CodeBodyTooLarge: 413, "unheard_of": 500,
	} {
		if got := c.Status(); got != want {
			t.Errorf("%s is %d, want %d", c, got, want)
		}
	}
}

func TestErrorsCompareByCodeAndKeepTheirCause(t *testing.T) {
	err := fmt.Errorf("while reading: %w", Wrap(CodeSecretUnavailable, io.ErrUnexpectedEOF, "the key cannot be read"))
	if !errors.Is(err, &Error{Code: CodeSecretUnavailable}) || errors.Is(err, &Error{Code: CodeInternal}) {
		t.Error("errors.Is must compare codes")
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if CodeOf(err) != CodeSecretUnavailable || CodeOf(io.EOF) != CodeInternal || CodeOf(nil) != CodeInternal {
		t.Error("CodeOf")
	}
	e := Errorf(CodeNotFound, "no team %q", "x")
	e.Detail = "looked everywhere"
	if got := e.Error(); got != `not_found: no team "x" (looked everywhere)` {
		t.Errorf("Error() = %s", got)
	}
}

func TestSecurityEmptyAddressListPermitsNoAddress(t *testing.T) {
	ip := netip.MustParseAddr("10.1.2.3")
	for _, c := range []struct {
		name string
		n    *Narrowing
		want bool
	}{
		{"not narrowed", nil, true},
		{"no list", &Narrowing{}, true},
		{"an empty list", &Narrowing{CIDR: []netip.Prefix{}}, false},
		{"another network", &Narrowing{CIDR: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}}, false},
		{"its network", &Narrowing{CIDR: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("10.1.0.0/16")}}, true},
	} {
		if got := (&Grant{Narrowing: c.n}).AllowsAddress(ip); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSecurityNoArrivalIsTheLocalAdministrator(t *testing.T) {
	for _, exists := range []bool{true, false} {
		a := Arrival{Email: LocalAdministrator, Create: true, LinkByEmail: true}
		if create, err := a.Decide(exists, false); create || CodeOf(err) != CodeIdentityConflict {
			t.Errorf("exists %v: create %v, %v", exists, create, err)
		}
	}
}

// docs/errors.md is where people look a code up.
func TestEveryCodeIsDocumentedWithItsStatus(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[Code]string{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) == 5 && strings.HasPrefix(cells[1], " `") {
			documented[Code(strings.Trim(cells[1], " `"))] = strings.TrimSpace(cells[2])
		}
	}
	want := map[Code]string{}
	for _, c := range declaredCodes(t) {
		want[c] = strconv.Itoa(c.Status())
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Errorf("-errors.go +docs/errors.md\n%s", diff)
	}
}
