package jsonpeek

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var wanted = []string{"model", "stream", "tools", "stream_options"}

// found gives the raw values that were found, by name.
func found(body string, out []Value) map[string]string {
	m := map[string]string{}
	for i, v := range out {
		if v.Kind != Absent {
			m[wanted[i]] = v.Kind.String() + " " + string(Raw([]byte(body), v))
		}
	}
	return m
}

func TestScanFindsTheWantedMembersWhereverTheyStand(t *testing.T) {
	long := strings.Repeat("x\\n\\\"é", 4000)
	tests := []struct {
		name, body string
		want       map[string]string
	}{
		{"empty object", `{}`, map[string]string{}},
		{"space everywhere", " \t\r\n{ \"model\" :\n\"m\" , \"stream\"\t: true } \n", map[string]string{"model": `string "m"`, "stream": "boolean true"}},
		{"null is not absent", `{"model":null}`, map[string]string{"model": "null null"}},
		{
			"each kind", `{"model":-1.5e+3,"stream":false,"tools":[1,[2]],"stream_options":{"a":{}}}`,
			map[string]string{"model": "number -1.5e+3", "stream": "boolean false", "tools": "array [1,[2]]", "stream_options": `object {"a":{}}`},
		},
		{"escaped name", `{"mod\u0065l":"m"}`, map[string]string{"model": `string "m"`}},
		{"escaped underscore", `{"stream\u005Foptions":{}}`, map[string]string{"stream_options": "object {}"}},
		{"after a long prompt", `{"messages":[{"role":"user","content":"` + long + `"}],"model":"m"}`, map[string]string{"model": `string "m"`}},
		{"nested namesakes are not ours", `{"x":{"model":"a","Model":"b"},"y":[{"model":"c"}],"model":"m"}`, map[string]string{"model": `string "m"`}},
		{"other members may repeat", `{"a":1,"a":2,"A":3,"model":"m"}`, map[string]string{"model": `string "m"`}},
		{"longer and shorter names", `{"mode":1,"models":2,"":3,"model":"m"}`, map[string]string{"model": `string "m"`}},
		{"only letters have a case", `{"stream\u007foptions":1,"stream?options":2,"tool\u0013":3,"model":"m"}`, map[string]string{"model": `string "m"`}},
		{"escaped value", `{"model":"a\ud83d\ude00\/b"}`, map[string]string{"model": `string "a\ud83d\ude00\/b"`}},
		{"a written U+FFFD is a character", `{"model":"�\ufffd","\ufffd":1}`, map[string]string{"model": `string "�\ufffd"`}},
		{"bad UTF-8 elsewhere is the upstream's business", "{\"x\":\"\xff\\ud800\",\"model\":\"m\"}", map[string]string{"model": `string "m"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := make([]Value, len(wanted))
			if err := Scan([]byte(tt.body), wanted, out); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, found(tt.body, out)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestScanRefuses(t *testing.T) {
	tests := []struct {
		name, body string
		code       error
		offset     int
	}{
		{"empty", "", ErrSyntax, 0},
		{"space only", "  ", ErrSyntax, 2},
		{"byte order mark", "\ufeff{}", ErrSyntax, 0},
		{"array", `[{"model":"m"}]`, ErrNotObject, 0},
		{"string", `"model"`, ErrNotObject, 0},
		{"null", `null`, ErrNotObject, 0},
		{"broken array", `[1`, ErrSyntax, 2},
		{"cut off", `{"model":"m"`, ErrSyntax, 12},
		{"trailing comma", `{"a":1,}`, ErrSyntax, 7},
		{"trailing comma in array", `{"a":[1,]}`, ErrSyntax, 8},
		{"second value", `{} {}`, ErrSyntax, 3},
		{"trailing garbage", `{}x`, ErrSyntax, 2},
		{"trailing NUL", "{}\x00", ErrSyntax, 2},
		{"comment", `{/**/}`, ErrSyntax, 1},
		{"no quotes", `{model:1}`, ErrSyntax, 1},
		{"single quotes", `{'model':1}`, ErrSyntax, 1},
		{"no colon", `{"a" 1}`, ErrSyntax, 5},
		{"no value", `{"a":}`, ErrSyntax, 5},
		{"no comma", `{"a":1 "b":2}`, ErrSyntax, 7},
		{"leading zero", `{"a":01}`, ErrSyntax, 6},
		{"plus sign", `{"a":+1}`, ErrSyntax, 5},
		{"bare point", `{"a":1.}`, ErrSyntax, 7},
		{"bare exponent", `{"a":1e}`, ErrSyntax, 7},
		{"hexadecimal", `{"a":0x1}`, ErrSyntax, 6},
		{"NaN", `{"a":NaN}`, ErrSyntax, 5},
		{"word", `{"a":tru}`, ErrSyntax, 5},
		{"newline in string", "{\"a\":\"\n\"}", ErrSyntax, 6},
		{"control after escape", "{\"a\":\"\\n\x01\"}", ErrSyntax, 8},
		{"control in a long string", "{\"a\":\"" + strings.Repeat("y", 70) + "\x1f" + strings.Repeat("y", 70) + "\"}", ErrSyntax, 76},
		{"bad escape", `{"a":"\x"}`, ErrSyntax, 6},
		{"bad hex", `{"a":"\u00g0"}`, ErrSyntax, 6},
		{"wrong bracket", `{"a":[1}}`, ErrSyntax, 7},
		{"bad UTF-8 in name", "{\"a\xff\":1}", ErrEncoding, 1},
		{"lone surrogate in name", `{"\ud800":1}`, ErrEncoding, 1},
		{"bad UTF-8 in wanted value", "{\"model\":\"\xc0\xaf\"}", ErrEncoding, 9},
		{"lone high surrogate in wanted value", `{"model":"\ud800"}`, ErrEncoding, 9},
		{"lone low surrogate in wanted value", `{"model":"\udc00\ud800"}`, ErrEncoding, 9},
		{"high surrogate, then something of the same shape", `{"model":"\ud83dxude00"}`, ErrEncoding, 9},
		{"high surrogate, then another escape", `{"model":"\ud83d\u0041"}`, ErrEncoding, 9},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := []Value{{Kind: String}, {}, {}, {}}
			err := Scan([]byte(tt.body), wanted, out)
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, tt.code) || e.Offset != tt.offset {
				t.Fatalf("got %v, want %v at byte %d", err, tt.code, tt.offset)
			}
			if d := cmp.Diff(make([]Value, 4), out); d != "" {
				t.Errorf("a refused body left values behind: %s", d)
			}
			if tt.code == ErrSyntax && json.Valid([]byte(tt.body)) {
				t.Error("encoding/json takes this body")
			}
		})
	}
}

// security.md: two JSON members with one meaning, one authorised, the other
// executed.
func TestSecurityAMemberWithTwoReadingsIsRefused(t *testing.T) {
	tests := []struct{ name, body, member string }{
		{"twice", `{"model":"cheap","model":"expensive"}`, "model"},
		{"twice with the same value", `{"model":"a","model":"a"}`, "model"},
		{"second one escaped", `{"model":"cheap","mod\u0065l":"expensive"}`, "model"},
		{"first one escaped", `{"mod\u0065l":"cheap","model":"expensive"}`, "model"},
		{"second one null", `{"model":"cheap","model":null}`, "model"},
		{"first one null", `{"model":null,"model":"expensive"}`, "model"},
		{"other case beside", `{"model":"cheap","Model":"expensive"}`, "model"},
		{"other case alone", `{"MODEL":"expensive"}`, "model"},
		{"other case escaped", `{"\u004dodel":"expensive"}`, "model"},
		{"long s", `{"ſtream":true}`, "stream"},
		{"long s escaped", `{"\u017ftream":true,"stream":false}`, "stream"},
		{"far apart", `{"tools":[],"x":"` + strings.Repeat("z", 9000) + `","TOOLS":[1]}`, "tools"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := make([]Value, len(wanted))
			err := Scan([]byte(tt.body), wanted, out)
			var e *Error
			if !errors.As(err, &e) || e.Code != ErrAmbiguous || e.Member != tt.member {
				t.Fatalf("got %v, want an ambiguous %q", err, tt.member)
			}
			// The same members one floor down are refused by Members.
			outer := []byte(`{"tools":` + tt.body + `}`)
			if err := Scan(outer, wanted, out); err != nil {
				t.Fatal(err)
			}
			if err := Members(outer, out[2], wanted, make([]Value, len(wanted))); !errors.Is(err, ErrAmbiguous) {
				t.Errorf("Members gave %v", err)
			}
		})
	}
}

func TestSecurityTheKelvinSignIsAK(t *testing.T) {
	for _, body := range []string{"{\"to\u212aen\":1}", `{"to\u212aen":1}`, `{"token":1,"to\u212Aen":2}`} {
		if err := Scan([]byte(body), []string{"token"}, make([]Value, 1)); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestSecurityNestingIsBounded(t *testing.T) {
	nest := func(n int, open, closing string) []byte {
		return []byte(`{"x":` + strings.Repeat(open, n-1) + "1" + strings.Repeat(closing, n-1) + `}`)
	}
	out := make([]Value, len(wanted))
	for _, br := range [][2]string{{"[", "]"}, {`{"a":`, "}"}} {
		if err := Scan(nest(MaxDepth, br[0], br[1]), wanted, out); err != nil {
			t.Errorf("%d deep with %q: %v", MaxDepth, br[0], err)
		}
		if err := Scan(nest(MaxDepth+1, br[0], br[1]), wanted, out); !errors.Is(err, ErrDepth) {
			t.Errorf("%d deep with %q: %v", MaxDepth+1, br[0], err)
		}
	}
	if err := Scan(bytes.Repeat([]byte("["), 1<<20), wanted, out); !errors.Is(err, ErrDepth) {
		t.Errorf("a megabyte of brackets: %v", err)
	}
}

// A stop byte at every distance from every word boundary.
func TestScanStopsAtTheRightByteOfALongString(t *testing.T) {
	for n := range 100 {
		for _, stop := range []string{`\"`, `\\`, `\u0041`, "\x80", "!", "\x7f"} {
			text := strings.Repeat("a", n) + stop + strings.Repeat("b", 100-n)
			body := []byte(`{"x":"` + text + `","model":"m"}`)
			out := make([]Value, len(wanted))
			if err := Scan(body, wanted, out); err != nil || string(Raw(body, out[0])) != `"m"` {
				t.Fatalf("%d %q: %v", n, stop, err)
			}
		}
		for c := range byte(0x20) {
			body := []byte(`{"x":"` + strings.Repeat("a", n) + string(rune(c)) + strings.Repeat("b", 100-n) + `"}`)
			if err := Scan(body, wanted, make([]Value, len(wanted))); !errors.Is(err, ErrSyntax) {
				t.Fatalf("control %d after %d bytes: %v", c, n, err)
			}
		}
	}
}

func TestMembersAndElementsLookInside(t *testing.T) {
	body := []byte(`{"tools": [ {"type":"function","n":1} , {"typ\u0065":"mcp"},7, "s",[] ], "stream_options":{"include_usage":true}}`)
	out := make([]Value, len(wanted))
	if err := Scan(body, wanted, out); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := Elements(body, out[2], func(elem Value) bool {
		var typ [1]Value
		if err := Members(body, elem, []string{"type"}, typ[:]); err != nil {
			got = append(got, elem.Kind.String()+": "+errors.Unwrap(err).Error())
			return true
		}
		s, err := Str(body, typ[0])
		if err != nil {
			t.Error(err)
		}
		got = append(got, s)
		return true
	})
	want := []string{"function", "mcp", "number: JSON value is not an object", "string: JSON value is not an object", "array: JSON value is not an object"}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
	var inner [1]Value
	if err := Members(body, out[3], []string{"include_usage"}, inner[:]); err != nil {
		t.Fatal(err)
	}
	if on, err := Boolean(body, inner[0]); err != nil || !on {
		t.Error(on, err)
	}
}

func TestElementsEndsWhereItShould(t *testing.T) {
	body := []byte(`{"tools":[],"model":[1,2,3],"stream":true}`)
	out := make([]Value, len(wanted))
	if err := Scan(body, wanted, out); err != nil {
		t.Fatal(err)
	}
	n := 0
	count := func(Value) bool { n++; return n < 2 }
	if err := Elements(body, out[2], count); err != nil || n != 0 {
		t.Error("empty array", n, err)
	}
	if err := Elements(body, out[0], count); err != nil || n != 2 {
		t.Error("stopped after two", n, err)
	}
	for name, v := range map[string]Value{"absent": {}, "boolean": out[1], "another body's": {Kind: Array, Start: 30, End: 900}} {
		if err := Elements(body, v, count); !errors.Is(err, ErrKind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Members(body, Value{}, wanted, out); !errors.Is(err, ErrNotObject) {
		t.Error(err)
	}
}
