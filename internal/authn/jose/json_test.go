package jose

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzDecodeObject holds our reader and encoding/json to the same answer.
func FuzzDecodeObject(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : [ 1 , -2.5e+3 , true , false , null , "x" , { } , [ ] ] } `, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`,
		`{"a":"\ud800"}`, `{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`, `{"\ufffd":1}`, `[]`, `{"a":{"b":{"b":1,"b":2}}}`, `{"a":1}x`,
		`{"` + strings.Repeat(`a":{"`, 40) + `":1` + strings.Repeat("}", 41),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := decodeObject(data)
		if err != nil {
			return
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
		if _, err := decodeObject([]byte(s)); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: %v", s, err)
		}
	}
	for _, s := range []string{`{"a":"\ud800"}`, `{"\udc00":1}`, `{"a":1}{}`, `{"a":1`, `[]`, ``, `null`} {
		if _, err := decodeObject([]byte(s)); err == nil {
			t.Errorf("%s is accepted", s)
		}
	}
}
