package filter_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
)

func TestTheFullGrammarIsReadAsWritten(t *testing.T) {
	a := func(at int) filter.Compare { return filter.Compare{Path: "a", At: at, Op: filter.Present} }
	for text, want := range map[string]filter.Expr{
		`a pr`:                        a(0),
		`a pr or a pr and a pr`:       filter.Or{Left: a(0), Right: filter.And{Left: a(8), Right: a(17)}},
		`not (a pr)`:                  filter.Not{Inner: a(5)},
		`a gt 1.5e3`:                  filter.Compare{Path: "a", Op: filter.Greater, Value: json.Number("1.5e3")},
		`a le -7`:                     filter.Compare{Path: "a", Op: filter.LessEqual, Value: json.Number("-7")},
		`a GE "x"`:                    filter.Compare{Path: "a", Op: filter.GreaterEqual, Value: "x"},
		`a eq True`:                   filter.Compare{Path: "a", Op: filter.Equal, Value: true},
		`a ne null`:                   filter.Compare{Path: "a", Op: filter.NotEqual},
		`urn:x:2.0:User:a.b eq "\"]"`: filter.Compare{Path: "urn:x:2.0:User:a.b", Op: filter.Equal, Value: `"]`},
		`e[a pr]`:                     filter.ValuePath{Path: "e", Inner: a(2)},
		`e[a pr].b eq false`:          filter.ValuePath{Path: "e", Inner: a(2), Sub: &filter.Compare{Path: "b", At: 7, Op: filter.Equal, Value: false}},
		`(e[a pr]) and a pr`:          filter.And{Left: filter.ValuePath{Path: "e", At: 1, Inner: a(3)}, Right: a(14)},
	} {
		got, err := filter.ParseExpr(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]int{
		``: 0, `a`: 1, `a xx "b"`: 2, `a eq`: 4, `a eq b`: 5, `a eq 1x`: 6, `a eq -`: 5, `a gt null`: 2, `e[a pr`: 6, `e[]`: 2, `e[a pr].`: 7, `e[a pr].b`: 9,
		`e[f[a pr]]`: 3, `e [a pr]`: 2, `a pr]`: 4, strings.Repeat("(", 40): 32, strings.Repeat("x", 3000): 0,
	} {
		_, err := filter.ParseExpr(text)
		e, ok := errors.AsType[*filter.Error](err)
		if !ok || e.Offset != want {
			t.Errorf("ParseExpr(%.30q) = %v, want offset %d", text, err, want)
		}
	}
}

func TestPathsAreReadAsWritten(t *testing.T) {
	for text, want := range map[string]filter.Path{
		`a`:                     {Name: "a"},
		` a.b `:                 {Name: "a.b"},
		`urn:x:2.0:User:a.b`:    {Name: "urn:x:2.0:User:a.b"},
		`m.$ref`:                {Name: "m.$ref"},
		`e[a pr]`:               {Name: "e", Filter: filter.Compare{Path: "a", At: 2, Op: filter.Present}},
		`urn:x:U:e[a pr].value`: {Name: "urn:x:U:e", Filter: filter.Compare{Path: "a", At: 10, Op: filter.Present}, Sub: "value"},
	} {
		got, err := filter.ParsePath(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{``, ` `, `a b`, `a[`, `a[x pr]y`, `a[x pr] .y`, `a[x pr].`, `a[b[x pr]]`, `[x pr]`, `a eq "b"`, "a\xff", strings.Repeat("a", 3000)} {
		if p, err := filter.ParsePath(text); err == nil {
			t.Errorf("ParsePath(%.30q) = %+v", text, p)
		}
	}
}

// What the control API does not document it does not take.
func TestListFiltersHaveNotTheFullGrammar(t *testing.T) {
	for _, text := range []string{`kind gt "A"`, `kind eq true`, `kind eq 1`, `kind[value eq "a"]`} {
		if _, err := filter.Parse(text); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
}
