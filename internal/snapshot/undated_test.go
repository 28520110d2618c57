package snapshot

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// versionRE says in one line what undated reads by hand.
var versionRE = regexp.MustCompile(`[-@:](\d{4}-\d{2}-\d{2}|\d{2}-\d{2}|\d{8}|\d{6}|\d{4}|\d{3}|latest)$`)

func TestSecurityEveryWayToPinAVersionIsSeen(t *testing.T) {
	want := func(id string) string {
		id = strings.TrimPrefix(strings.ToLower(id), "models/")
		for {
			short := versionRE.ReplaceAllString(id, "")
			if short == id || short == "" {
				return id
			}
			id = short
		}
	}
	for id, short := range map[string]string{
		"gpt-4o-2024-11-20": "gpt-4o", "models/Gemini-1.5-pro-002": "gemini-1.5-pro", "claude-3-5-sonnet-LATEST": "claude-3-5-sonnet",
		"gpt-4-0613": "gpt-4", "x-11-20": "x", "x@20240620-latest": "x", "-latest": "-latest", "latest": "latest", "x-1234567": "x-1234567",
		"m-ddd": "m-ddd", "m-dddd-dd-dd": "m-dddd-dd-dd", "m-dates": "m-dates", "": "",
	} {
		if got := undated(id); got != short || want(id) != short {
			t.Errorf("%q: %q, want %q (%q)", id, got, short, want(id))
		}
	}
	part := rapid.OneOf(
		rapid.StringMatching(`[-@:][0-9]{1,9}`), rapid.StringMatching(`[-@:][0-9]{1,5}-[0-9]{1,3}(-[0-9]{1,3})?`),
		rapid.SampledFrom([]string{"-latest", "@LATEST", ":latest", "latest", "-d", "ddd", "models/", "\xff", "é", "-", "x", "\n"}),
	)
	rapid.Check(t, func(t *rapid.T) {
		id := strings.Join(rapid.SliceOfN(part, 0, 5).Draw(t, "parts"), "")
		if got := undated(id); got != want(id) {
			t.Fatalf("%q: %q, want %q", id, got, want(id))
		}
	})
}
