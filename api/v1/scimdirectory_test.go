package v1_test

import (
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

func TestADirectoryNamesEachIssuerOnce(t *testing.T) {
	for name, c := range map[string]struct {
		issuers v1.Strings
		path    string
	}{
		"none":  {nil, ""},
		"two":   {v1.Strings{"https://a.example", "https://b.example"}, ""},
		"empty": {v1.Strings{"https://a.example", ""}, "spec.issuers[1]"},
		"twice": {v1.Strings{"https://a.example", "https://b.example", "https://a.example"}, "spec.issuers[2]"},
	} {
		t.Run(name, func(t *testing.T) {
			d := &v1.ScimDirectory{
				TypeMeta:   v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindScimDirectory},
				ObjectMeta: v1.ObjectMeta{Name: "okta"}, Spec: v1.ScimDirectorySpec{Issuers: c.issuers},
			}
			errs := d.Validate()
			if c.path == "" && len(errs) > 0 || c.path != "" && (len(errs) != 1 || errs[0].Path != c.path) {
				t.Errorf("%v, want an error at %q", errs, c.path)
			}
		})
	}
}
