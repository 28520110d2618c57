package scim

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

const paramDryRun = "dryRun"

// readDryRun says whether a request is a dry run. The parameter means "do
// nothing": one that is meant and not understood would do the thing, perhaps
// for good. So its name counts in any case of its letters, it stands once and
// says true or false, and where something would be written, a name that can
// only be meant for it is refused. Other names are let through, because
// directories send some of their own (aadOptscim062020).
func readDryRun(q url.Values, writes bool) (bool, error) {
	var said []string
	for name, list := range q {
		switch {
		case strings.EqualFold(name, paramDryRun):
			said = append(said, list...)
		case writes && likeDryRun(name):
			return false, bad(invalidValue, "there is no parameter %.40q; a dry run is asked for by %s=true", name, paramDryRun)
		}
	}
	switch {
	case len(said) == 0:
		return false, nil
	case len(said) > 1:
		return false, bad(invalidValue, "%s stands in the query twice", paramDryRun)
	case strings.EqualFold(said[0], "true"):
		return true, nil
	case strings.EqualFold(said[0], "false"):
		return false, nil
	}
	return false, bad(invalidValue, "%s must be true or false", paramDryRun)
}

// likeDryRun finds dry-run, dry_run, "dryRun ", isDryRun, dryRun[] and dry.
func likeDryRun(name string) bool {
	letters := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, fold(name))
	return letters == "dry" || strings.Contains(letters, "dryrun")
}

// difference is one line of what a request would change.
type difference struct {
	Resource  string `json:"resource"` // User or Group
	ID        string `json:"id,omitempty"`
	Name      string `json:"name"`
	Operation string `json:"operation"` // create, update, deactivate, reactivate, adopt, delete
	Attribute string `json:"attribute,omitempty"`
	Before    any    `json:"before,omitempty"`
	After     any    `json:"after,omitempty"`
}

func preview(list []difference) *answer {
	if list == nil {
		list = []difference{}
	}
	return &answer{status: http.StatusOK, body: map[string]any{"schemas": []string{urnDryRun}, "dryRun": true, "changes": list}}
}

// previewUser says what a write of a person would change; old is nil for a new
// person, next for one who is removed.
func (c *call) previewUser(old, next *identity.User) (*answer, error) {
	if next == nil {
		return preview([]difference{{Resource: c.user.Name, ID: old.UID, Name: old.UserName, Operation: "delete"}}), nil
	}
	after, err := writable(next)
	if err != nil {
		return nil, err
	}
	if old == nil {
		d := difference{Resource: c.user.Name, Name: next.UserName, Operation: "create"}
		return preview(differences(c.user, d, nil, after)), nil
	}
	before, err := writable(old)
	if err != nil {
		return nil, err
	}
	d := difference{Resource: c.user.Name, ID: old.UID, Name: next.UserName, Operation: "update"}
	switch {
	case old.Manager != next.Manager:
		d.Operation = "adopt"
	case old.Active && !next.Active:
		d.Operation = "deactivate"
	case !old.Active && next.Active:
		d.Operation = "reactivate"
	}
	return preview(differences(c.user, d, before, after)), nil
}

// differences compares two resources attribute by attribute.
func differences(t *resourceType, like difference, before, after map[string]any) []difference {
	var list []difference
	add := func(prefix string, a, b map[string]any) {
		keys := map[string]bool{}
		for k := range a {
			keys[k] = true
		}
		for k := range b {
			keys[k] = true
		}
		sorted := make([]string, 0, len(keys))
		for k := range keys {
			sorted = append(sorted, k)
		}
		slices.Sort(sorted)
		for _, k := range sorted {
			if t.Extension != nil && k == t.Extension.URN || reflect.DeepEqual(a[k], b[k]) {
				continue
			}
			d := like
			d.Attribute, d.Before, d.After = prefix+k, a[k], b[k]
			list = append(list, d)
		}
	}
	add("", before, after)
	if t.Extension != nil {
		a, _ := before[t.Extension.URN].(map[string]any)
		b, _ := after[t.Extension.URN].(map[string]any)
		add(t.Extension.URN+":", a, b)
	}
	return list
}
