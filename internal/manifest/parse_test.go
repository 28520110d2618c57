package manifest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

var update = flag.Bool("update", false, "write the golden files")

// Each file of testdata/errors is a manifest and the lines that Parse answers.
func TestErrorsNameFileLineColumnAndField(t *testing.T) {
	files, _ := filepath.Glob("testdata/errors/*.txtar")
	if len(files) < 20 {
		t.Fatalf("found %d cases only", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, perr := Parse(a.Files[0].Name, a.Files[0].Data)
			if perr == nil {
				t.Fatal("no error")
			}
			got := perr.Error() + "\n"
			if *update {
				a.Files = append(a.Files[:1], txtar.File{Name: "errors", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(a.Files[1].Data), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

const head = "apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: x}\n"

func parseOne(t *testing.T, file, text string) Document {
	t.Helper()
	docs, err := Parse(file, []byte(text))
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	return docs[0]
}

func TestBareAuthzRulesFileIsReadAsDocumented(t *testing.T) {
	const bare = `authz_rules:
  - models:
      - truefoundry-self-hosted/llama-2-7b-chat-hf-10707
      - openai-main/text-embedding-ada-002
    users:
      - username1
      - username2
`
	for file, name := range map[string]string{
		"rules/Team A_rules.yaml": "team-a-rules", "stdin": "authz-rules", "-": "authz-rules", "__.yml": "authz-rules",
		strings.Repeat("a", 62) + "-b.yaml": strings.Repeat("a", 62),
	} {
		d := parseOne(t, file, bare)
		want := &v1.AuthzRules{
			TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindAuthzRules}, ObjectMeta: v1.ObjectMeta{Name: name},
			Spec: v1.AuthzRulesSpec{Rules: []v1.AuthzRule{{
				Models: []string{"truefoundry-self-hosted/llama-2-7b-chat-hf-10707", "openai-main/text-embedding-ada-002"},
				Users:  []string{"username1", "username2"},
			}}},
		}
		if diff := cmp.Diff(v1.Resource(want), d.Resource); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

func TestServerSetMetadataAndStatusAreAcceptedAndDropped(t *testing.T) {
	d := parseOne(t, "f.yaml", `apiVersion: gatehouse.dev/v1
kind: Team
metadata: {name: x, uid: u, resourceVersion: "7", generation: 3, creationTimestamp: 2026-01-01T00:00:00Z, manager: api, labels:}
spec: {}
status: {anything: [goes, 1, null]}
`)
	if diff := cmp.Diff(&v1.ObjectMeta{Name: "x", ResourceVersion: "7"}, d.Resource.Meta()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDefaultsAndShortFormsAreApplied(t *testing.T) {
	d := parseOne(t, "f.yaml", "apiVersion: gatehouse.dev/v1\nkind: IdentityProvider\nmetadata: {name: okta}\nspec:\n  issuer: https://a.example.com\n  audiences: gatehouse\n  caCert: |\n    -----BEGIN CERTIFICATE-----\n    \tx\n")
	s := d.Resource.(*v1.IdentityProvider).Spec
	if len(s.Audiences) != 1 || s.ClockSkew != "30s" || !strings.HasSuffix(s.CACert.PEM, "\n\tx\n") {
		t.Errorf("spec = %+v", s)
	}
}

func TestShortShapeWithoutAudienceSaysWhatItMeans(t *testing.T) {
	const text = "apiVersion: gatehouse.dev/v1\nkind: IdentityProvider\nmetadata: {name: p}\nspec:\n  config: {jwks_uri: https://a.example.com/jwks, issuer: https://a.example.com%s}\n"
	d := parseOne(t, "f.yaml", strings.Replace(text, "%s", "", 1))
	if len(d.Notes) != 1 || !strings.HasPrefix(d.Notes[0], "f.yaml:5:3: spec.config: ") || !strings.Contains(d.Notes[0], "insecureSkipAudience: true") {
		t.Errorf("notes = %q", d.Notes)
	}
	if d = parseOne(t, "f.yaml", strings.Replace(text, "%s", ", audience: x", 1)); len(d.Notes) != 0 {
		t.Errorf("notes = %q", d.Notes)
	}
}

func TestYAML12WordsStayStrings(t *testing.T) {
	for _, word := range []string{"yes", "no", "on", "off", "y", "N", "1_000", "2001-01-01", "12:30", "0b1", "1e", "sha256:0"} {
		d := parseOne(t, "f.yaml", head+"spec: {description: "+word+"}\n")
		if got := d.Resource.(*v1.Team).Spec.Description; got != word {
			t.Errorf("%s became %q", word, got)
		}
	}
	for _, scalar := range []string{"1", "2.50", "true", "False", "null", "~", "0x1F", "0o7", ".5", "1e3", "-.inf", ".nan", "+1"} {
		if _, err := Parse("f.yaml", []byte(head+"spec: {description: "+scalar+"}\n")); err == nil {
			t.Errorf("%s was taken for a string", scalar)
		}
		if got := parseOne(t, "f.yaml", head+"spec: {description: '"+scalar+"'}\n").Resource.(*v1.Team).Spec.Description; got != scalar {
			t.Errorf("'%s' became %q", scalar, got)
		}
	}
}

func TestOneDocumentsMistakeDoesNotHideTheOthers(t *testing.T) {
	docs, err := Parse("f.yaml", []byte("%bad: [\n---\n"+head+"spec: {members: [1]}\n---\n"+strings.Replace(head, "x", "y", 1)+"spec: {}\n...\n---\n# nothing\n--- # again\n"+head+"spec: {memberz: []}\n"))
	errs, _ := err.(Errors)
	if len(docs) != 1 || docs[0].Resource.Meta().Name != "y" || docs[0].Line != 8 {
		t.Errorf("docs = %+v", docs)
	}
	var lines []int
	for _, e := range errs {
		lines = append(lines, e.Line)
	}
	if diff := cmp.Diff([]int{1, 6, 19}, lines); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestByteOrderMarkAndCarriageReturns(t *testing.T) {
	d := parseOne(t, "f.yaml", "\ufeff"+strings.ReplaceAll(head+"spec: {}\n", "\n", "\r\n"))
	if d.Resource.Meta().Name != "x" || d.Line != 1 {
		t.Errorf("doc = %+v", d)
	}
	parseOne(t, "f.json", "\ufeff"+`{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"x"},"spec":{}}`)
	parseOne(t, "f.yaml", "{\n\t\"apiVersion\":\"gatehouse.dev/v1\",\n\t\"kind\":\"Team\",\"metadata\":{\"name\":\"x\"},\"spec\":{}}")
}

func TestSecurityFilesAreBounded(t *testing.T) {
	for name, text := range map[string]string{
		"size": strings.Repeat("#", maxFile+1), "lists": strings.Repeat("[", 100000), "maps": strings.Repeat("{a: ", 40000), "items": strings.Repeat("- ", 80000),
		"keys": strings.Repeat("? ", 80000), "anchors": strings.Repeat("&a ", 60000), "json": strings.Repeat("[", 100000), "gap": "a: |\n" + strings.Repeat("\n", 200000),
		"same key": strings.Repeat("a: 1\n", 100000), "colons": strings.Repeat("a: ", 60000),
		"laughs": "a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "depth": func() string {
			var b strings.Builder
			for i := range 1300 {
				b.WriteString(strings.Repeat(" ", i) + "a:\n")
			}
			return b.String()
		}(),
	} {
		file, start := "f.yaml", time.Now()
		if name == "json" {
			file = "f.json"
		}
		if _, err := Parse(file, []byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
		// Wide: the library's own parser takes most of a minute for "same key".
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s took %v", name, d)
		}
	}
	if _, err := Decode([]byte(strings.Repeat(" ", maxFile+1))); err == nil {
		t.Error("a large body is accepted")
	}
}

func TestSecurityErrorsDoNotRepeatSecrets(t *testing.T) {
	const secret = "4815162342"
	const account = "apiVersion: gatehouse.dev/v1\nkind: ProviderAccount\nmetadata: {name: a}\nspec:\n  provider: openai\n  credentials: {apiKey: "
	for _, text := range []string{
		account + "{value: " + secret + "}}\n", account + "{value: " + secret + ", env: \"-\"}}\n", account + "{valu: " + secret + "}}\n", account + secret + "}\n",
		account + "{value: \"" + secret + "}}\n", account + "{value: '" + secret + "\n", account + "{value: @" + secret + "}}\n", account + "{value: [" + secret + "]}}\n",
		account + "{value: a: " + secret + "}}\n", account + "{value: x, value: '" + secret + "'}}\n", account + "{value: &" + secret + " x}}\n",
	} {
		_, err := Parse("f.yaml", []byte(text))
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSecurityPlaceholderIsNotTakenForASecret(t *testing.T) {
	a := &v1.ProviderAccount{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindProviderAccount}, ObjectMeta: v1.ObjectMeta{Name: "a"},
		Spec: v1.ProviderAccountSpec{Provider: v1.ProviderOpenAI, Credentials: v1.ProviderCredentials{APIKey: &v1.SecretValue{Value: "sk-real"}}},
	}
	y, err := Marshal(a)
	if err != nil || bytes.Contains(y, []byte("sk-real")) {
		t.Fatalf("%s, %v", y, err)
	}
	if _, err := Parse("f.yaml", y); err == nil || !strings.Contains(err.Error(), "spec.credentials.apiKey.value") {
		t.Errorf("err = %v", err)
	}
}

// An explicit nothing must not be read as absent where absent means "all".
func TestSecurityNothingIsNotAbsent(t *testing.T) {
	_, err := Parse("f.yaml", []byte("apiVersion: gatehouse.dev/v1\nkind: ProviderAccount\nmetadata: {name: a}\nspec: {provider: openai, models: [{name: m, collaborators: }]}\n"))
	if err == nil || !strings.Contains(err.Error(), "spec.models[0].collaborators: expected a list and found nothing") {
		t.Errorf("err = %v", err)
	}
}

func TestLocateFindsFieldsAndAncestors(t *testing.T) {
	d := parseOne(t, "f.yaml", head+"spec:\n  members:\n    - a@example.com\n")
	got := d.Locate(v1.FieldErrors{{Path: "spec.members[0]", Message: "m"}, {Path: "spec.members[3]", Message: "m"}, {Path: "spec.managers[0].x", Message: "m"}, {Path: "status.x", Message: "m"}, {Path: "", Message: "m"}})
	want := "f.yaml:1:1: status.x: m\nf.yaml:1:1: m\nf.yaml:4:1: spec.managers[0].x: m\nf.yaml:5:3: spec.members[3]: m\nf.yaml:6:7: spec.members[0]: m"
	if diff := cmp.Diff(want, got.Error()); diff != "" {
		t.Error(diff)
	}
}

// A shape that the checker does not know would be refused or, worse, passed.
func TestEverySchemaTypeIsKnown(t *testing.T) {
	special := []reflect.Type{stringsType, caCertType, rawType, timeType, sensitiveType}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if seen[typ] {
			return
		}
		seen[typ] = true
		for _, s := range special {
			if typ == s {
				return
			}
		}
		for _, name := range []string{"UnmarshalJSON", "UnmarshalText"} {
			if _, ok := reflect.PointerTo(typ).MethodByName(name); ok {
				t.Errorf("%s reads itself by %s; the checker must know its shape", typ, name)
			}
		}
		switch typ.Kind() {
		case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		case reflect.Slice, reflect.Map:
			walk(typ.Elem())
		case reflect.Struct:
			for _, f := range fieldsOf(typ) {
				walk(f)
			}
		default:
			t.Errorf("%s has a kind that the checker does not know", typ)
		}
	}
	for _, k := range v1.Kinds() {
		walk(reflect.TypeOf(v1.New(k)))
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"refgen/examples/*.yaml", "testdata/errors/*.txtar"} {
		files, _ := filepath.Glob(pattern)
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("authz_rules:\n- {models: [a/b], users: [c]}\n"))
	f.Add([]byte("{\"apiVersion\":\"gatehouse.dev/v1\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := Parse("f.yaml", data)
		lines := bytes.Count(bytes.ReplaceAll(data, []byte("\r"), []byte("\n")), []byte("\n")) + 1
		if err != nil {
			for _, e := range err.(Errors) {
				if e.File != "f.yaml" || e.Line < 1 || e.Line > lines+1 || e.Column < 1 || e.Message == "" {
					t.Fatalf("%+v in %d lines", e, lines)
				}
			}
		}
		for _, d := range docs {
			if errs := d.Resource.Validate(); len(errs) > 0 {
				t.Fatalf("an invalid resource came back: %v", errs)
			}
			y, err := Marshal(d.Resource)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Parse("again.yaml", y)
			if err != nil {
				if strings.Contains(string(y), placeholder) {
					continue
				}
				t.Fatalf("%v\n%s", err, y)
			}
			// Compared as written: an empty list that means no more than an
			// absent one is not written.
			if z, err := Marshal(again[0].Resource); err != nil || !bytes.Equal(y, z) {
				t.Fatalf("%v: %s", err, cmp.Diff(string(y), string(z)))
			}
		}
	})
}
