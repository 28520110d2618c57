package filter_test

import (
	"errors"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
)

func team() v1.Resource {
	return &v1.Team{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindTeam},
		ObjectMeta: v1.ObjectMeta{
			Name: "research", UID: "0190", Manager: "apply:ci",
			Labels: map[string]string{"env": "production", "app.kubernetes.io/part-of": "lab", "empty": ""},
		},
	}
}

func TestFiltersFollowSCIMsGrammar(t *testing.T) {
	for text, want := range map[string]bool{
		``:                                                   true,
		`metadata.name eq "research"`:                        true,
		`metadata.name eq "Research"`:                        false,
		`Metadata.Name EQ "research"`:                        true,
		`metadata.name ne "research"`:                        false,
		`metadata.name co "sea"`:                             true,
		`metadata.name sw "re"`:                              true,
		`metadata.name sw "se"`:                              false,
		`metadata.name ew "ch"`:                              true,
		`metadata.name ew "re"`:                              false,
		`metadata.name pr`:                                   true,
		`metadata.labels.none pr`:                            false,
		`metadata.labels.empty pr`:                           true,
		`metadata.labels.none ne "x"`:                        true,
		`metadata.labels.none eq null`:                       true,
		`metadata.labels.env ne null`:                        true,
		`metadata.labels.none co ""`:                         false,
		`kind eq "Team"`:                                     true,
		`metadata.name eq "re\u0073earch"`:                   true,
		`metadata.labels.app.kubernetes.io/part-of eq "lab"`: true,
		`metadata.labels.Env eq "production"`:                false,
		`metadata.manager eq "apply:ci" and metadata.labels.env eq "production"`: true,
		`metadata.manager eq "dir" or metadata.labels.env eq "production"`:       true,
		`not (metadata.name eq "research")`:                                      false,
		`not(metadata.name eq "x")and(kind eq "Team")`:                           true,
		`kind eq "Team" or kind eq "Team" and kind eq "Role"`:                    true,
		`(kind eq "Team" or kind eq "Team") and kind eq "Role"`:                  false,
		`not (kind eq "Team") or metadata.name eq "research"`:                    true,
	} {
		f, err := filter.Parse(text)
		if err != nil {
			t.Errorf("Parse(%s): %v", text, err)
			continue
		}
		if got := f.Match(team()); got != want {
			t.Errorf("%s matches: %v, want %v", text, got, want)
		}
	}
}

func TestWrongFiltersSayWhere(t *testing.T) {
	for text, want := range map[string]int{
		`metadata.name`:                              13,
		`metadata.name eq`:                           16,
		`metadata.name eq research`:                  17,
		`metadata.name gt "a"`:                       14,
		`metadata.name eq "a`:                        17,
		`metadata.name eq "\q"`:                      17,
		`spec.members eq "x"`:                        0,
		`metadata.labels. eq "x"`:                    0,
		`(kind eq "Team"`:                            15,
		`kind eq "Team")`:                            14,
		`not kind eq "Team"`:                         0,
		`kind co null`:                               5,
		`kind eq "Team" kind eq "Team"`:              15,
		`kind eq "Team" and`:                         18,
		strings.Repeat("(", 40):                      32,
		strings.Repeat(" ", 2050) + `kind eq "Team"`: 0,
		"kind eq \"\xff\"":                           0,
	} {
		_, err := filter.Parse(text)
		e, ok := errors.AsType[*filter.Error](err)
		if !ok {
			t.Errorf("Parse(%.40q) = %v, want an *Error", text, err)
			continue
		}
		if e.Offset != want {
			t.Errorf("Parse(%.40q) says %v, want offset %d", text, err, want)
		}
	}
}

func FuzzFilterNeverPanicsAndIsStable(f *testing.F) {
	for _, s := range []string{`metadata.name eq "a" and not (kind pr)`, `((((`, `a eq "\u00`, `metadata.labels.x sw "é" or kind ne null`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := filter.Parse(text)
		if err != nil {
			if _, ok := errors.AsType[*filter.Error](err); !ok {
				t.Fatalf("%T", err)
			}
			return
		}
		if strings.TrimSpace(text) == "" {
			return
		}
		// Twice not is nothing, and the parentheses make it one factor.
		b, err := filter.Parse("not (not (" + text + "))")
		if err == nil && a.Match(team()) != b.Match(team()) {
			t.Fatalf("%q is not the opposite of its opposite", text)
		}
	})
}
