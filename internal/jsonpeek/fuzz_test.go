package jsonpeek

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// reading is what encoding/json sees in a valid body.
type reading struct {
	object    bool
	depth     int
	ambiguous bool // a wanted name twice or in another case
	replaced  bool // a name or a wanted string with U+FFFD in it
}

func read(t *testing.T, body []byte) (r reading) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	seen := map[string]bool{}
	depth, isName, lastWanted := 0, false, false
	for {
		tok, err := dec.Token()
		if err != nil {
			return r
		}
		d, isDelim := tok.(json.Delim)
		if isDelim && (d == '{' || d == '[') {
			r.object = r.object || depth == 0 && d == '{'
			depth++
			r.depth = max(r.depth, depth)
			if depth == 1 {
				isName = true
			}
			continue
		}
		if isDelim {
			depth--
		}
		if depth != 1 || !r.object {
			continue
		}
		if isDelim { // the end of a member's container
			isName = true
			continue
		}
		s, isString := tok.(string)
		if isName {
			lastWanted = false
			r.replaced = r.replaced || strings.ContainsRune(s, '\ufffd')
			for _, w := range wanted {
				if strings.EqualFold(s, w) {
					lastWanted = true
					r.ambiguous = r.ambiguous || s != w || seen[w]
					seen[w] = true
				}
			}
		} else if isString && lastWanted {
			r.replaced = r.replaced || strings.ContainsRune(s, '\ufffd')
		}
		isName = !isName
	}
}

func FuzzScanReadsWhatEncodingJSONReads(f *testing.F) {
	for _, s := range []string{
		`{"model":"a","stream":true,"tools":[{"type":"function"}],"stream_options":{"include_usage":true}}`,
		`{"model":"cheap","mod\u0065l":"expensive"}`, `{"mod\u0065l":"m"}`, `{"Model":1}`, "{\"\u017ftream\":1}", "{\"to\u212aen\":1}",
		`{"x":{"model":1,"model":2}}`, `{"a":[[[[{}]]]],"tools":[1,2,{"a":null}]}`, `{"stream":-0.5e-10,"model":1E400}`, "\ufeff{}",
		`[]`, `"x"`, `{}`, ` {} `, `{"model":"\ud800"}`, `{"model":"\ud83d\ude00"}`, "{\"model\":\"\xff\"}", `{"\ud800":1}`, `{"a":01}`,
		`{"model":"` + strings.Repeat(`padding \n é `, 50) + `","stream":false}`, `{"x":` + strings.Repeat("[", 513) + strings.Repeat("]", 513) + `}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		out := make([]Value, len(wanted))
		err := Scan(body, wanted, out)
		if !json.Valid(body) {
			if err == nil {
				t.Fatal("accepted what is not JSON")
			}
			return
		}
		r := read(t, body)
		ok := false
		switch {
		case err == nil:
			ok = r.object && r.depth <= MaxDepth && !r.ambiguous && !r.replaced
		case errors.Is(err, ErrNotObject):
			ok = !r.object
		case errors.Is(err, ErrDepth):
			ok = r.depth > MaxDepth
		case errors.Is(err, ErrAmbiguous):
			ok = r.ambiguous
		case errors.Is(err, ErrEncoding):
			// A literal U+FFFD is no fault; only a replaced one is.
			ok = r.replaced
		}
		if !ok && !(err == nil && r.replaced && literalReplacement(body)) {
			t.Fatalf("%v for %+v", err, r)
		}
		if err == nil {
			compareValues(t, body, out)
		}
	})
}

// literalReplacement says whether the body spells U+FFFD itself, so that
// reading cannot tell a replaced character from a written one.
func literalReplacement(body []byte) bool {
	return bytes.ContainsRune(body, '\ufffd') || bytes.Contains(bytes.ToLower(body), []byte(`\ufffd`))
}

func compareValues(t *testing.T, body []byte, out []Value) {
	var want struct {
		Model         json.RawMessage `json:"model"`
		Stream        json.RawMessage `json:"stream"`
		Tools         json.RawMessage `json:"tools"`
		StreamOptions json.RawMessage `json:"stream_options"`
	}
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatal(err)
	}
	for i, w := range []json.RawMessage{want.Model, want.Stream, want.Tools, want.StreamOptions} {
		v := out[i]
		if !bytes.Equal(w, Raw(body, v)) {
			t.Fatalf("%s: %q, want %q", wanted[i], Raw(body, v), w)
		}
		var s string
		if got, err := Str(body, v); v.Kind == String && (err != nil || json.Unmarshal(w, &s) != nil || got != s) {
			t.Fatalf("%s: %q, %v, want %q", wanted[i], got, err, s)
		}
		if v.Kind == Array {
			var elems []json.RawMessage
			if err := json.Unmarshal(w, &elems); err != nil {
				t.Fatal(err)
			}
			n := 0
			if err := Elements(body, v, func(e Value) bool {
				if n >= len(elems) || !bytes.Equal(elems[n], Raw(body, e)) {
					t.Fatalf("element %d: %q", n, Raw(body, e))
				}
				n++
				return true
			}); err != nil || n != len(elems) {
				t.Fatal(n, err)
			}
		}
		if v.Kind != Absent {
			spliced := Splice(body, v, "a\"b")
			again := make([]Value, len(wanted))
			if err := Scan(spliced, wanted, again); err != nil {
				t.Fatalf("after splicing: %v in %q", err, spliced)
			}
			if got, _ := Str(spliced, again[i]); got != `a"b` {
				t.Fatalf("spliced %q", got)
			}
		}
	}
}
