package claims

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const token = `{
	"sub": "u1", "empty": "", "null": null, "none": [], "object": {"k": "v"}, "a.b": "dot", "a": {"b": "nested"},
	"https://acme.example/roles": ["gateway", "dev"], "scope": "read write", "n": 12345678901234567890, "f": 1.50, "yes": true,
	"realm_access": {"roles": ["admin", "user"]}, "list": [{"id": "x"}, ["y"], 7, false, null, "z", ""],
	"~": "tilde", "/": "slash", "~1": "both", "": "nameless", "map": {"0": "zero"}
}`

func decode(t *testing.T, text string, useNumber bool) map[string]any {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	if useNumber {
		dec.UseNumber()
	}
	var claims map[string]any
	if err := dec.Decode(&claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func parse(t *testing.T, path string) Path {
	t.Helper()
	p, err := Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	if p.String() != path {
		t.Errorf("%q prints as %q", path, p)
	}
	return p
}

func TestStringsReadsAClaimAsTexts(t *testing.T) {
	claims := decode(t, token, true)
	tests := []struct {
		path  string
		want  []string
		found bool
	}{
		{"sub", []string{"u1"}, true},
		{"/sub", []string{"u1"}, true},
		{"a.b", []string{"dot"}, true},
		{"/a/b", []string{"nested"}, true},
		{"a/b", nil, false},
		{"https://acme.example/roles", []string{"gateway", "dev"}, true},
		{"/https:~1~1acme.example~1roles", []string{"gateway", "dev"}, true},
		{"/https:~1~1acme.example~1roles/1", []string{"dev"}, true},
		{"/realm_access/roles", []string{"admin", "user"}, true},
		{"/realm_access/roles/0", []string{"admin"}, true},
		{"/realm_access/roles/2", nil, false},
		{"/realm_access/roles/00", nil, false},
		{"/realm_access/roles/-", nil, false},
		{"/realm_access/roles/-1", nil, false},
		{"/realm_access/roles/+1", nil, false},
		{"/realm_access/roles/1e0", nil, false},
		{"/realm_access/roles/", nil, false},
		{"/realm_access/roles/18446744073709551616", nil, false},
		{"/sub/0", nil, false},
		{"/sub/", nil, false},
		{"/map/0", []string{"zero"}, true},
		{"scope", []string{"read write"}, true},
		{"n", []string{"12345678901234567890"}, true},
		{"f", []string{"1.50"}, true},
		{"yes", []string{"true"}, true},
		{"list", []string{"7", "false", "z", ""}, true},
		{"/list/0/id", []string{"x"}, true},
		{"/list/1/0", []string{"y"}, true},
		{"/list/4", nil, false}, // null
		{"empty", []string{""}, true},
		{"none", nil, true},
		{"object", nil, true},
		{"null", nil, false},
		{"SUB", nil, false},
		{"missing", nil, false},
		{"~", []string{"tilde"}, true},
		{"/~0", []string{"tilde"}, true},
		{"/~1", []string{"slash"}, true},
		{"/~01", []string{"both"}, true},
		{"/", []string{"nameless"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			got, truncated, found := parse(t, tt.path).Strings(claims, 256)
			if d := cmp.Diff(tt.want, got); d != "" || found != tt.found || truncated {
				t.Errorf("found %v, truncated %v: %s", found, truncated, d)
			}
		})
	}
}

func TestNumbersDecodedAsFloatsAreWrittenAsJSON(t *testing.T) {
	claims := decode(t, `{"v":[5, 1.50, 1e21, 1e-7, 123456789]}`, false)
	got, _, _ := parse(t, "v").Strings(claims, 9)
	if d := cmp.Diff([]string{"5", "1.5", "1e+21", "1e-7", "123456789"}, got); d != "" {
		t.Error(d)
	}
	if got, _, found := parse(t, "v").Strings(map[string]any{"v": math.NaN()}, 9); got != nil || !found {
		t.Error("NaN is no JSON number", got, found)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, path := range []string{"", "/~", "/~2", "/a/b~", "/~~0", "/a~/b"} {
		if p, err := Parse(path); !errors.Is(err, ErrPath) || p.String() != "" {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestLookupToldApartNullAndAbsent(t *testing.T) {
	claims := decode(t, token, true)
	if v, ok := parse(t, "null").Lookup(claims); v != nil || !ok {
		t.Error(v, ok)
	}
	if v, ok := parse(t, "missing").Lookup(claims); v != nil || ok {
		t.Error(v, ok)
	}
	if v, ok := (Path{}).Lookup(claims); v != nil || ok {
		t.Error("the zero path found", v)
	}
	if _, ok := parse(t, "sub").Lookup(nil); ok {
		t.Error("found in no claims")
	}
}

func TestStringsSaysWhenThereWereMore(t *testing.T) {
	claims := decode(t, `{"v":["a",null,"b","c",{}],"one":"x","hidden":["a",null,{}]}`, true)
	tests := []struct {
		path      string
		limit     int
		want      []string
		truncated bool
	}{
		{"v", 4, []string{"a", "b", "c"}, false},
		{"v", 3, []string{"a", "b", "c"}, false},
		{"v", 2, []string{"a", "b"}, true},
		{"v", 0, nil, true},
		{"v", -1, nil, true},
		{"one", 1, []string{"x"}, false},
		{"one", 0, nil, true},
		{"hidden", 1, []string{"a"}, false},
	}
	for _, tt := range tests {
		got, truncated, found := parse(t, tt.path).Strings(claims, tt.limit)
		if d := cmp.Diff(tt.want, got); d != "" || truncated != tt.truncated || !found {
			t.Errorf("%s, limit %d: truncated %v, found %v: %s", tt.path, tt.limit, truncated, found, d)
		}
	}
}

func TestFirstTakesTheFirstThatIsPresent(t *testing.T) {
	claims := decode(t, token, true)
	tests := []struct {
		name  string
		paths []string
		which int
		want  []string
		found bool
	}{
		{"first", []string{"sub", "a.b"}, 0, []string{"u1"}, true},
		{"second", []string{"missing", "/realm_access/roles"}, 1, []string{"admin", "user"}, true},
		{"null is passed over", []string{"null", "sub"}, 1, []string{"u1"}, true},
		{"an empty list wins", []string{"none", "sub"}, 0, nil, true},
		{"an empty text wins", []string{"empty", "sub"}, 0, []string{""}, true},
		{"an object wins", []string{"object", "sub"}, 0, nil, true},
		{"none", []string{"missing", "null"}, -1, nil, false},
		{"no paths", nil, -1, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var paths []Path
			for _, p := range tt.paths {
				paths = append(paths, parse(t, p))
			}
			if v, which := First(paths, claims); which != tt.which || (v != nil) != tt.found {
				t.Errorf("path %d, value %v", which, v)
			}
			got, _, found := FirstStrings(paths, claims, 256)
			if d := cmp.Diff(tt.want, got); d != "" || found != tt.found {
				t.Errorf("found %v: %s", found, d)
			}
		})
	}
}

func TestMatcher(t *testing.T) {
	claims := decode(t, token, true)
	tests := []struct {
		name, path string
		anyOf      []string
		want       bool
	}{
		{"equal", "sub", []string{"u1"}, true},
		{"another", "sub", []string{"u2"}, false},
		{"one of several", "sub", []string{"u2", "u1"}, true},
		{"one of several values", "/realm_access/roles", []string{"user"}, true},
		{"case counts", "sub", []string{"U1"}, false},
		{"no substring", "sub", []string{"u", "1"}, false},
		{"prefix", "/realm_access/roles", []string{"adm*"}, true},
		{"prefix is the whole value", "sub", []string{"u1*"}, true},
		{"prefix longer than the value", "sub", []string{"u12*"}, false},
		{"a star elsewhere is a character", "sub", []string{"*1", "u*1"}, false},
		{"two stars: the prefix has one", "sub", []string{"**"}, false},
		{"any value", "sub", []string{"*"}, true},
		{"any value, absent", "missing", []string{"*"}, false},
		{"any value, null", "null", []string{"*"}, false},
		{"any value, empty text", "empty", []string{"*"}, false},
		{"any value, empty list", "none", []string{"*"}, false},
		{"any value, object", "object", []string{"*"}, false},
		{"the empty text, asked for", "empty", []string{""}, true},
		{"the empty text does not stand for absent", "missing", []string{""}, false},
		{"number", "n", []string{"12345678901234567890"}, true},
		{"boolean", "yes", []string{"true"}, true},
		{"words of a text are not values", "scope", []string{"read", "write"}, false},
		{"null in a list", "list", []string{"null", "<nil>"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (Matcher{Path: parse(t, tt.path), AnyOf: tt.anyOf}).Match(claims); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// security.md: an empty list meant "all".
func TestSecurityAnEmptyAnyOfMatchesNothing(t *testing.T) {
	claims := decode(t, token, true)
	for _, path := range []string{"sub", "empty", "none", "missing", "null", "list", "object"} {
		for _, anyOf := range [][]string{nil, {}} {
			m := Matcher{Path: parse(t, path), AnyOf: anyOf}
			if m.Match(claims) {
				t.Errorf("%s matched %#v", path, anyOf)
			}
			if ok, failed := MatchAll([]Matcher{m}, claims); ok || failed != 0 {
				t.Errorf("%s: %v, %d", path, ok, failed)
			}
		}
	}
	if (Matcher{AnyOf: []string{"*", ""}}).Match(claims) {
		t.Error("the zero path matched")
	}
}

// Values beyond what Strings gives still count, so that a matcher and its
// negation in a forbid see the same token.
func TestMatchLooksAtEveryValue(t *testing.T) {
	values := make([]any, 1000)
	for i := range values {
		values[i] = "other"
	}
	values[999] = "last"
	if !(Matcher{Path: parse(t, "v"), AnyOf: []string{"last"}}).Match(map[string]any{"v": values}) {
		t.Error("the last of 1000 values was not seen")
	}
}

func TestMatchAllNamesTheFirstThatFails(t *testing.T) {
	claims := decode(t, token, true)
	yes := Matcher{Path: parse(t, "sub"), AnyOf: []string{"u1"}}
	no := Matcher{Path: parse(t, "sub"), AnyOf: []string{"u2"}}
	tests := []struct {
		name     string
		matchers []Matcher
		ok       bool
		failed   int
	}{
		{"nothing asked", nil, true, -1},
		{"all", []Matcher{yes, yes}, true, -1},
		{"first", []Matcher{no, yes}, false, 0},
		{"second of three", []Matcher{yes, no, no}, false, 1},
	}
	for _, tt := range tests {
		if ok, failed := MatchAll(tt.matchers, claims); ok != tt.ok || failed != tt.failed {
			t.Errorf("%s: %v, %d", tt.name, ok, failed)
		}
	}
}

func TestMatchingTextsAllocatesNothing(t *testing.T) {
	claims := decode(t, token, true)
	ms := []Matcher{{parse(t, "sub"), []string{"x", "u1"}}, {parse(t, "/realm_access/roles"), []string{"us*"}}, {parse(t, "yes"), []string{"true"}}}
	if n := testing.AllocsPerRun(100, func() {
		if ok, _ := MatchAll(ms, claims); !ok {
			t.Error("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// pointerTo builds the pointer of a list of member names.
func pointerTo(names []string) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(n))
	}
	return b.String()
}

func FuzzAPointerLeadsThroughItsNames(f *testing.F) {
	for _, s := range []string{"a\nb", "~\n/\n~1", "\n", "https://x/y", "0\n00\n-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, joined string) {
		names := strings.Split(joined, "\n")
		var inner any = "found"
		for i := len(names) - 1; i >= 0; i-- {
			inner = map[string]any{names[i]: inner}
		}
		claims := inner.(map[string]any)
		p, err := Parse(pointerTo(names))
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := p.Lookup(claims); !ok || v != "found" {
			t.Fatalf("%q: %v, %v", p, v, ok)
		}
	})
}

func FuzzParseAndLookup(f *testing.F) {
	for _, path := range []string{"sub", "/list/0/id", "/~01", "/", "~", "//", "/list/999999999999", "/a~2"} {
		f.Add(path, token)
	}
	f.Add("v", `{"v":[[["*"]]]}`)
	f.Fuzz(func(t *testing.T, path, text string) {
		p, err := Parse(path)
		if err != nil {
			if !errors.Is(err, ErrPath) || path != "" && path[0] != '/' {
				t.Fatalf("%q: %v", path, err)
			}
			return
		}
		if p.String() != path {
			t.Fatalf("%q prints as %q", path, p)
		}
		var claims map[string]any
		if json.Unmarshal([]byte(text), &claims) != nil {
			return
		}
		v, ok := p.Lookup(claims)
		values, truncated, found := p.Strings(claims, 3)
		if found != (ok && v != nil) || len(values) > 3 || truncated && len(values) != 3 {
			t.Fatal(v, ok, values, truncated, found)
		}
		if top, there := claims[path]; path[0] != '/' && (there != ok || !cmp.Equal(top, v)) {
			t.Fatalf("%q is not taken literally", path)
		}
		for _, s := range values {
			if !strings.HasSuffix(s, "*") && !(Matcher{p, []string{s}}).Match(claims) {
				t.Fatalf("%q does not match itself", s)
			}
		}
		if any := (Matcher{p, []string{"*"}}).Match(claims); any && !found {
			t.Fatal("matched what is not there")
		}
	})
}
