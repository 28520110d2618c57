package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// fill repeats a text until a file has heavySize bytes.
func fill(before, text, after string) string {
	return before + strings.Repeat(text, (heavySize-len(before)-len(after))/len(text)) + after
}

// numbered repeats a format with a running number until the file is full.
func numbered(before, format, after string) string {
	var b strings.Builder
	b.WriteString(before)
	for i := 0; b.Len() < heavySize-len(after)-len(format)-8; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String() + after
}

// heavy are the files that cost the most for their size, as far as we know.
func heavy() map[string]string {
	const (
		account = "apiVersion: gatehouse.dev/v1\nkind: ProviderAccount\nmetadata: {name: x}\nspec:\n  provider: openai\n"
		team    = "apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: x}\nspec:\n"
		idp     = "apiVersion: gatehouse.dev/v1\nkind: IdentityProvider\nmetadata: {name: x}\nspec:\n  issuer: https://i.example.com\n  audiences: [a]\n"
		jteam   = `{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"x"},"spec":{`
	)
	long := strings.Repeat("k", heavySize/3)
	deep := ""
	for range 24 {
		deep += "{" + strings.Repeat("k", 200) + ": "
	}
	return map[string]string{
		"unknown fields":              numbered(account, "  f%d: 1\n", ""),
		"unknown fields at the top":   numbered("apiVersion: gatehouse.dev/v1\nkind: Team\n", "f%d: 1\n", ""),
		"unknown fields in JSON":      numbered(jteam, `"f%d":1,`, `"z":1}}`),
		"wrong items":                 fill(team+"  members: [", "an-item,", "]\n"),
		"items of a wrong kind":       fill(team+"  members: [", "1234567,", "]\n"),
		"bad items":                   fill(team+"  members: [", "1,", "]\n"),
		"bad items in JSON":           fill(jteam+`"members":[`, "1,", "1]}}"),
		"empty models":                fill(account+"  models: [", "{},", "]\n"),
		"bad addresses":               fill(team+"  members: [", "a,", "]\n"),
		"bad collaborators":           fill(account+"  collaborators: [", "{subject: a},", "]\n"),
		"one bad item among bad ones": fill(team+"  members: [1,", "a,", "]\n"),
		"keys below a long key":       fill(idp+"  jwks: {"+long+": [", "~,", "]}\n"),
		"items below deep keys":       fill(idp+"  jwks: "+deep+"[", "1,", "]"+strings.Repeat("}", 24)+"\n"),
		"nothing below deep keys":     fill(idp+"  jwks: "+deep+"[", "~,", "]"+strings.Repeat("}", 24)+"\n"),
		"deep lists":                  fill(team+"  members: ", "[", "\n"),
		"deep mappings":               fill(team+"  members: ", "{a: ", "\n"),
		"deep lists in JSON":          fill(jteam+`"members":`, "[", ""),
		"deep blocks":                 fill(team+"  members:\n    ", "- ", "x\n"),
		"documents":                   fill("", "---\na: 1\n", ""),
		"empty documents":             fill("", "---\n", ""),
		"whole documents":             fill("", "---\n"+account, ""),
		"comments":                    fill(team, "#\n", ""),
		"comments after values":       fill(team+"  members:\n", "  - a@b.c #\n", ""),
		"one long comment":            fill(team+"  #", "#", "\n"),
		"a key again and again":       fill(team, "  a: 1\n", ""),
		"a key again in flow":         fill(team+"  x: {", "a: 1,", "}\n"),
		"a key again in JSON":         fill(jteam, `"a":1,`, `"a":1}}`),
		"a long scalar":               fill(team+"  description: ", "a", "\n"),
		"a long quoted scalar":        fill(team+"  description: \"", `\u0041`, "\"\n"),
		"a long single-quoted scalar": fill(team+"  description: '", "''", "'\n"),
		"a folded plain scalar":       fill(team+"  description: a\n", "    b\n", ""),
		"a folded quoted scalar":      fill(team+"  description: \"a\n", "    b\n", "    \"\n"),
		"a literal scalar":            fill(team+"  description: |\n", "    b\n", ""),
		"a folded block scalar":       fill(team+"  description: >\n", "    b\n", ""),
		"many block scalars":          fill(team+"  members:\n", "    - |\n      b\n", ""),
		"a literal scalar with gaps":  fill(team+"  description: |\n", "    b\n\n\n\n\n", ""),
		"colons in flow":              fill(team+"  x: {y: [a", ":a", "]}\n"),
		"colons in a plain scalar":    fill(team+"  description: a", ":a", "\n"),
		"colons alone":                fill(team+"  description: ", ":", "\n"),
		"hyphens alone":               fill(team+"  description: ", "-", "\n"),
		"quotes":                      fill(team+"  description: ", "''", "\n"),
		"spaces":                      fill(team+"  description: a", " ", "\n"),
		"spaces before a line end":    fill(team, "  a:                                       \n", ""),
		"exclamation marks":           fill(team+"  description: ", "!", "\n"),
		"ampersands":                  fill(team+"  members: [", "&a a,", "]\n"),
		"a number":                    fill(team+"  description: ", "1", "\n"),
		"a number in JSON":            fill(`{"apiVersion":"gatehouse.dev/v1","kind":"ProviderAccount","metadata":{"name":"x"},"spec":{"provider":"echo","echo":{"status":`, "1", "}}}"),
		"a raw number in JSON":        fill(`{"apiVersion":"gatehouse.dev/v1","kind":"IdentityProvider","metadata":{"name":"x"},"spec":{"jwks":`, "1", "}}"),
		"a long address":              fill(team+"  members: ['", "(", "@a.b']\n"),
		"a long domain literal":       fill(team+"  members: ['a@[", "a", "]']\n"),
		"a long duration":             fill(account+"  timeouts: {firstByte: ", "1s", "}\n"),
		"a long misspelt kind":        fill("apiVersion: gatehouse.dev/v1\nkind: ", "Team", "\n"),
		"many labels":                 numbered("apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata:\n  name: x\n  labels:\n", "    l%d: x\n", ""),
		"bad labels":                  numbered("apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata:\n  name: x\n  labels:\n", "    l%d: 1\n", ""),
		"bad rules":                   fill("authz_rules: [", "{},", "]\n"),
	}
}

// TestSecurityOneManifestIsNotUnboundedWork: whoever may call the API may send
// a manifest, and what is refused in the end must not have cost minutes.
func TestSecurityOneManifestIsNotUnboundedWork(t *testing.T) {
	// Less than a second is usual; the bound is for a busy machine and the race
	// detector. What it is there to find takes minutes.
	const bound = 15 * time.Second
	for name, text := range heavy() {
		t.Run(name, func(t *testing.T) {
			if len(text) > maxFile || len(text) < heavySize/2 {
				t.Fatalf("the file has %d bytes", len(text))
			}
			begin := time.Now()
			_, err := Parse("", []byte(text))
			took := time.Since(begin)
			if took > bound {
				t.Errorf("took %s", took)
			}
			list, _ := errors.AsType[Errors](err)
			if len(list) > maxErrors+1 {
				t.Errorf("%d errors", len(list))
			}
			if n := len(list.Error()); n > 1<<20 {
				t.Errorf("the errors have %d bytes together", n)
			}
			t.Logf("%s, %d errors", took.Round(time.Millisecond), len(list))
		})
	}
}

func TestMoreErrorsThanAreOfUseAreLeftOutAndSaidToBe(t *testing.T) {
	for name, text := range map[string]string{
		"unknown fields":    numbered("apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: x}\nspec:\n", "  f%d: 1\n", ""),
		"wrong values":      fill("apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: x}\nspec:\n  members: [", "not-an-address,", "]\n"),
		"keys given twice":  fill("apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: x}\nspec:\n", "  a:         1\n", ""),
		"resources twice":   fill("", "---\napiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: x}\nspec: {}\n", ""),
		"documents":         fill("", "---\na: 1\n", ""),
		"keys twice (JSON)": fill(`{"apiVersion":"gatehouse.dev/v1","kind":"Team",`, `"a":        1,`, `"a":1}`),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("", []byte(text))
			list, _ := errors.AsType[Errors](err)
			if len(list) != maxErrors+1 || !strings.Contains(list[len(list)-1].Message, "left out") {
				t.Fatalf("%d errors, the last: %v", len(list), list[max(0, len(list)-1):])
			}
		})
	}
	exact := "apiVersion: gatehouse.dev/v1\nkind: Team\nmetadata: {name: x}\nspec: {members: [" + strings.Repeat("a,", maxErrors) + "]}\n"
	_, err := Parse("", []byte(exact))
	if list, _ := errors.AsType[Errors](err); len(list) != maxErrors || strings.Contains(list.Error(), "left out") {
		t.Errorf("%d wrong fields made %d errors", maxErrors, len(list))
	}
	if list := (Document{}).Locate(make(v1.FieldErrors, 500)); len(list) != maxErrors+1 {
		t.Errorf("Locate made %d errors of 500", len(list))
	}
}
