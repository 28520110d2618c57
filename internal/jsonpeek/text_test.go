package jsonpeek

import (
	"encoding/json"
	"errors"
	"testing"
)

// peek scans a body and gives the value of its member "v".
func peek(t *testing.T, body string) Value {
	t.Helper()
	var out [1]Value
	if err := Scan([]byte(body), []string{"v"}, out[:]); err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func TestStrGivesWhatEncodingJSONGives(t *testing.T) {
	for _, raw := range []string{`""`, `"m"`, `"\"\\\/\b\f\n\r\t"`, `"\u0041\u00e9\u20AC"`, `"\ud83d\ude00!"`, `"é\u0000😀"`, `"\\u0041"`} {
		body := `{"v":` + raw + `}`
		got, err := Str([]byte(body), peek(t, body))
		var want string
		if e := json.Unmarshal([]byte(raw), &want); e != nil || err != nil || got != want {
			t.Errorf("%s: got %q, want %q (%v, %v)", raw, got, want, err, e)
		}
	}
}

func TestAccessorsRefuseAnotherKind(t *testing.T) {
	values := map[Kind]string{Absent: `{}`, Null: `{"v":null}`, Bool: `{"v":true}`, Number: `{"v":12}`, String: `{"v":"true"}`, Array: `{"v":[1]}`, Object: `{"v":{}}`}
	for kind, body := range values {
		b, v := []byte(body), peek(t, body)
		if v.Kind != kind {
			t.Fatalf("%s is %v", body, v.Kind)
		}
		_, strErr := Str(b, v)
		_, boolErr := Boolean(b, v)
		_, intErr := Int(b, v)
		for of, err := range map[Kind]error{String: strErr, Bool: boolErr, Number: intErr} {
			if of == kind && err != nil || of != kind && !errors.Is(err, ErrKind) {
				t.Errorf("%s read as %v: %v", body, of, err)
			}
		}
	}
}

func TestIntTakesWholeNumbersOnly(t *testing.T) {
	tests := []struct {
		raw  string
		want int64
		ok   bool
	}{
		{"0", 0, true},
		{"-1", -1, true},
		{"9223372036854775807", 1<<63 - 1, true},
		{"9223372036854775808", 0, false},
		{"1.0", 0, false},
		{"1e3", 0, false},
	}
	for _, tt := range tests {
		body := `{"v":` + tt.raw + `}`
		n, err := Int([]byte(body), peek(t, body))
		if n != tt.want || (err == nil) != tt.ok {
			t.Errorf("%s: %d, %v", tt.raw, n, err)
		}
	}
}

func TestStrRefusesElementsThatAreNotUnicode(t *testing.T) {
	body := []byte("{\"v\":[\"\\udead\",\"\xff\"]}")
	n := 0
	err := Elements(body, peek(t, string(body)), func(elem Value) bool {
		n++
		if _, err := Str(body, elem); !errors.Is(err, ErrEncoding) {
			t.Errorf("element %d: %v", n, err)
		}
		return true
	})
	if err != nil || n != 2 {
		t.Error(n, err)
	}
}

func TestSpliceChangesOneValueAndNoOtherByte(t *testing.T) {
	tests := []struct{ name, body, replacement, want string }{
		{"same length", `{"v":"abc" , "x":1}`, "xyz", `{"v":"xyz" , "x":1}`},
		{"longer", " {\"a\":[ 1 ],\t\"v\":\"m\"}\n", "provider/model", " {\"a\":[ 1 ],\t\"v\":\"provider/model\"}\n"},
		{"a name that needs quoting", `{"v":"m"}`, "a\"\\\n<&>é\u2028", `{"v":"a\"\\\u000a<&>é` + "\u2028" + `"}`},
		{"escaped name stays", `{"\u0076":"m"}`, "n", `{"\u0076":"n"}`},
		{"not a string before", `{"v":null}`, "n", `{"v":"n"}`},
		{"bad UTF-8", `{"v":"m"}`, "\xff", `{"v":"` + "\ufffd" + `"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := []byte(tt.body)
			got := Splice(body, peek(t, tt.body), tt.replacement)
			if string(got) != tt.want || !json.Valid(got) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if string(body) != tt.body {
				t.Error("the body itself was changed")
			}
			if got := AppendSplice([]byte("head"), body, peek(t, tt.body), tt.replacement); string(got) != "head"+tt.want {
				t.Errorf("AppendSplice gave %q", got)
			}
		})
	}
}

func TestSecuritySpliceMakesNoBodyForAnAbsentValue(t *testing.T) {
	body := []byte(`{"a":1}`)
	for _, v := range []Value{{}, {Kind: String, Start: 3, End: 80}, {Kind: String, Start: -1, End: 3}, {Kind: String, Start: 4, End: 4}} {
		if got := Splice(body, v, "m"); got != nil {
			t.Errorf("%+v: %q", v, got)
		}
	}
}

func TestErrorNamesTheMemberButNotTheBody(t *testing.T) {
	err := Scan([]byte(`{"model":"secret","MODEL":"secret"}`), []string{"model"}, make([]Value, 1))
	if got, want := err.Error(), `JSON member is ambiguous: "model" (byte 18)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
