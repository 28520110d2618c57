package jose

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzDecodeObject holds our reader and encoding/json to the same answer, in both directions.
func FuzzDecodeObject(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : [ 1 , -2.5e+3 , true , false , null , "x" , { } , [ ] ] } `, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`,
		`{"a":"\ud800"}`, `{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`, `{"\ufffd":1}`, `[]`, `{"a":{"b":{"b":1,"b":2}}}`, `{"a":1}x`,
		`{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":1e}`, `{"a":.5}`, `{"a":tru}`, `{"a":nulls}`, `{"a":1,}`, `{,}`, `{"a" 1}`, `{"a":[1,]}`, `{"a":[,]}`,
		"{\"a\":\"\n\"}", "{\"a\":\"\\\n\"}", `{"a":"\x"}`, `{"a":"\u00g0"}`, `{"a":"\`, `{"a":"x\"}`, "{\"a\":1\x00}", "{\"a\":\"\x00\"}", `{"a":1`, `{"a"`, `{"`, `{`, "\ufeff{}",
		`{"` + strings.Repeat(`a":{"`, 40) + `":1` + strings.Repeat("}", 41),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeObject(string(data))
		if err != nil {
			ours := strings.Contains(err.Error(), "twice") || strings.Contains(err.Error(), "nested deeper") || strings.Contains(err.Error(), "Unicode")
			object := len(bytes.TrimLeft(data, " \t\r\n")) > 0 && bytes.TrimLeft(data, " \t\r\n")[0] == '{'
			if !ours && object && json.Valid(data) && utf8.Valid(data) {
				t.Fatalf("we refuse what encoding/json reads: %v", err)
			}
			return
		}
		if !json.Valid(data) {
			t.Fatal("we read what is no JSON")
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		var want map[string]any
		if err := d.Decode(&want); err != nil {
			t.Fatalf("we read what encoding/json refuses: %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-encoding/json +ours\n%s", diff)
		}
	})
}

func TestSecurityMembersThatStandTwiceAreRefusedAtEveryLevel(t *testing.T) {
	for _, s := range []string{`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"x":{"a":1,"a":2}}`, `{"x":[{"a":1,"a":2}]}`} {
		if _, err := decodeObject(s); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{`{"a":"\ud800"}`, `{"\udc00":1}`, `{"a":1}{}`, `{"a":1`, `[]`, ``, `null`, `{"a":01}`, "{\"a\":\"\n\"}", `{"a":1,}`, `{"a":tru}`} {
		if _, err := decodeObject(s); err == nil {
			t.Errorf("%s is accepted", s)
		}
	}
}
