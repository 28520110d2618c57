package manifest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

func TestEveryExampleSurvivesYAMLAndJSON(t *testing.T) {
	files, _ := filepath.Glob("refgen/examples/*.yaml")
	var all []v1.Resource
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := Parse(file, data)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			all = append(all, d.Resource)
			j, err := json.Marshal(d.Resource)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Decode(j)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if diff := cmp.Diff(d.Resource, r); diff != "" {
				t.Errorf("%s by JSON:\n%s", file, diff)
			}
		}
	}
	y, err := MarshalAll(all)
	if err != nil {
		t.Fatal(err)
	}
	docs, err := Parse("all.yaml", y)
	if err != nil {
		t.Fatalf("%v\n%s", err, y)
	}
	var again []v1.Resource
	for _, d := range docs {
		again = append(again, d.Resource)
	}
	if diff := cmp.Diff(all, again); diff != "" {
		t.Errorf("by YAML:\n%s", diff)
	}
}

// text draws strings that YAML writers are known to get wrong.
func text() *rapid.Generator[string] {
	nasty := rapid.SampledFrom([]string{
		"", "yes", "no", "null", "~", "1", "2.50", "0x1f", "-", "- a", "a: b", "a #b", "#a", "'", "\"", "\\", "|", ">", "{", "[a", "*a", "&a", "!a",
		"%a", "@a", "`a", "a\nb", "a\nb\n", "\na", "a\n\nb", "a\n", " a", "a ", "a\tb", "\ta", "a\n\tb", "---", "...", "<<", "=", "é", "東京", "😀", "\u2028", "\u0085x", "\x7f",
		"\x01", "\ufeff", "a:", ":a", "a,b", "30s", "2026-01-01", "line one\nline two: x\n- three", "a\r\nb", "NaN", "1_000", "?", "? a", "a\n b\nc", "-----BEGIN X-----\nMII=\n-----END X-----\n",
	})
	return rapid.OneOf(nasty, rapid.StringN(0, 40, -1), rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(nasty, 1, 4).Draw(t, "parts"), rapid.SampledFrom([]string{"", " ", "\n"}).Draw(t, "glue"))
	}))
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &v1.Team{
			TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindTeam},
			ObjectMeta: v1.ObjectMeta{
				Name: "x", ResourceVersion: text().Draw(t, "version"),
				Labels: rapid.MapOfN(text().Filter(func(s string) bool { return s != "" && len(s) < 253 }), text(), 1, 4).Draw(t, "labels"),
			},
			Spec: v1.TeamSpec{
				Description: text().Draw(t, "description"), Members: []string{"a@example.com"},
				IdentityProviderGroups: []v1.GroupRef{{IdentityProvider: "okta", Group: text().Filter(func(s string) bool { return s != "" }).Draw(t, "group")}},
			},
		}
		j, _ := json.Marshal(r)
		if strings.Contains(string(j), `\u0000`) || strings.Contains(string(j), `\ufffd`) {
			t.Skip("NUL and broken UTF-8 are refused")
		}
		y, err := Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		docs, err := Parse("f.yaml", y)
		if err != nil {
			t.Fatalf("%v\n%s", err, y)
		}
		if diff := cmp.Diff(v1.Resource(r), docs[0].Resource); diff != "" {
			t.Fatalf("(-written +read):\n%s\n%s", diff, y)
		}
	})
}

func TestYAMLIsInTheOrderOfTheReference(t *testing.T) {
	d := parseOne(t, "f.yaml", "spec: {identityProvider: okta, claims: [{anyOf: [a, 'yes'], path: /x}], description: \"a\\nb\"}\nkind: ExternalIdentity\nmetadata: {labels: {b: '1', a: x}, name: p}\napiVersion: gatehouse.dev/v1\n")
	y, err := Marshal(d.Resource)
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: gatehouse.dev/v1
kind: ExternalIdentity
metadata:
  name: p
  labels:
    a: x
    b: "1"
spec:
  description: |-
    a
    b
  identityProvider: okta
  claims:
    - path: /x
      anyOf:
        - a
        - "yes"
`
	if diff := cmp.Diff(want, string(y)); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeJSONIsStrict(t *testing.T) {
	const ok = `{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"x","uid":"u","resourceVersion":"3"},"spec":{"members":["A@example.com"]},"status":{}}`
	r, err := DecodeJSON(v1.KindTeam, []byte(ok))
	if err != nil || r.Meta().UID != "" || r.Meta().ResourceVersion != "3" || r.(*v1.Team).Spec.Members[0] != "a@example.com" {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := DecodeJSON(v1.KindTeam, []byte(`{"metadata":{"name":"x"},"spec":{}}`)); err != nil || r.Type().Kind != v1.KindTeam || r.Type().APIVersion != v1.APIVersion {
		t.Errorf("%+v, %v", r, err)
	}
	whole := `{"metadata":{"name":"x"},"spec":{"provider":"echo","echo":{"status":%s}}}`
	for _, n := range []string{"503", "503.0", "5.03e2"} {
		r, err := DecodeJSON(v1.KindProviderAccount, []byte(strings.Replace(whole, "%s", n, 1)))
		if err != nil || r.(*v1.ProviderAccount).Spec.Echo.Status != 503 {
			t.Errorf("%s: %+v, %v", n, r, err)
		}
	}
	for body, path := range map[string]string{
		``: "", `null`: "", `[]`: "", `{"metadata":{"name":"x"}} x`: "", "{\"a\xff\":1}": "", `{"a":"\ud800"}`: "", `apiVersion: gatehouse.dev/v1`: "", `{'a':1}`: "",
		`{"metadata":{"name":"x"},"metadata":{"name":"y"},"spec":{}}`:           "",
		`{"metadata":{"name":"x"},"m\u0065tadata":{"name":"y"},"spec":{}}`:      "",
		strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40):             "",
		`{"kind":"Role","metadata":{"name":"x"},"spec":{}}`:                     "kind",
		`{"apiVersion":"v1","metadata":{"name":"x"},"spec":{}}`:                 "apiVersion",
		`{"Metadata":{"name":"x"},"metadata":{"name":"x"},"spec":{}}`:           "Metadata",
		`{"metadata":{"name":"x"},"spec":{"identityProviderGroups":"a"}}`:       "spec.identityProviderGroups",
		`{"metadata":{"name":"x"},"spec":{"members":[1]}}`:                      "spec.members[0]",
		`{"metadata":{"name":"x"},"spec":null}`:                                 "spec",
		`{"metadata":{"name":"X"},"spec":{}}`:                                   "metadata.name",
		`{"metadata":{"name":"x","labels":{"a.b/c":1}},"spec":{}}`:              `metadata.labels["a.b/c"]`,
		`{"metadata":{"name":"x","generation":99999999999999999999},"spec":{}}`: "metadata.generation",
		`{"metadata":{"name":"x","generation":9007199254740993},"spec":{}}`:     "metadata.generation",
		`{"metadata":{"name":"x","generation":1.5},"spec":{}}`:                  "metadata.generation",
		`{"metadata":{"name":"x"},"spec":{"description":"a\u0000b"}}`:           "spec.description",
	} {
		_, err := DecodeJSON(v1.KindTeam, []byte(body))
		errs, isErrors := errors.AsType[Errors](err)
		if !isErrors || errs[0].Line < 1 || errs.Fields()[0].Path != path {
			t.Errorf("%s: %v; want an error at %q", body, err, path)
		}
	}
	if _, err := Decode([]byte(`{"metadata":{"name":"x"},"spec":{}}`)); err == nil {
		t.Error("a body without a kind was decoded")
	}
}

func TestDiff(t *testing.T) {
	a := parseOne(t, "f.yaml", head+"spec: {members: [a@example.com, b@example.com, c@example.com], description: d}\n").Resource
	b := parseOne(t, "f.yaml", head+"spec: {members: [a@example.com, c@example.com, e@example.com], description: d}\n").Resource
	a.Meta().ResourceVersion, a.Meta().UID = "7", "u"
	want := `--- Team/x
+++ Team/x
@@ -6,5 +6,5 @@
   description: d
   members:
     - a@example.com
-    - b@example.com
     - c@example.com
+    - e@example.com
`
	if d := cmp.Diff(want, Diff(a, b)); d != "" {
		t.Error(d)
	}
	if got := Diff(a, a); got != "" {
		t.Errorf("nothing changed: %s", got)
	}
	created := Diff(nil, b)
	if !strings.HasPrefix(created, "--- (absent)\n+++ Team/x\n@@ -0,0 +1,") || strings.Contains(created, "\n-") {
		t.Errorf("created: %s", created)
	}
	if deleted := Diff(b, nil); !strings.HasPrefix(deleted, "--- Team/x\n+++ (absent)\n") || !strings.Contains(deleted, "+0,0 @@") {
		t.Errorf("deleted: %s", deleted)
	}
}

func TestSecurityDiffShowsThatASecretChangedAndNotWhatItIs(t *testing.T) {
	account := func(secret v1.SecretValue) v1.Resource {
		return &v1.ProviderAccount{
			TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindProviderAccount}, ObjectMeta: v1.ObjectMeta{Name: "a"},
			Spec: v1.ProviderAccountSpec{Provider: v1.ProviderOpenAI, Credentials: v1.ProviderCredentials{APIKey: &secret}},
		}
	}
	for _, c := range []struct {
		old, new v1.SecretValue
		want     string
	}{
		{v1.SecretValue{Value: "sk-old"}, v1.SecretValue{Value: "sk-new"}, "[redacted, changed]"},
		{v1.SecretValue{Value: "sk-old"}, v1.SecretValue{Value: "sk-old"}, ""},
		{v1.SecretValue{Stored: true, Digest: "d1"}, v1.SecretValue{Value: "sk-new"}, "-      stored: true"},
		{v1.SecretValue{Env: "A"}, v1.SecretValue{Env: "B"}, "+      env: B"},
	} {
		got := Diff(account(c.old), account(c.new))
		if strings.Contains(got, "sk-") || (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("want %q in:\n%s", c.want, got)
		}
	}
}
