package api

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// query is one parameter of a query.
type query struct {
	name, description string
	schema            *huma.Schema
}

// checkQuery holds a query to its description: a parameter that is misspelt,
// sent twice or sent as nothing must not pass for one that was left out, which
// often means everything.
func (op *operation) checkQuery(raw string) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return identity.Wrap(identity.CodeInvalidRequest, err, "the query is not written as key=value pairs with & between")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list := values[name]
		i := slices.IndexFunc(op.Query, func(q query) bool { return q.name == name })
		switch {
		case i < 0:
			return identity.Errorf(identity.CodeInvalidRequest, "there is no parameter %q here", shorten(name))
		case len(list) > 1:
			return identity.Errorf(identity.CodeInvalidRequest, "the parameter %s stands in the query twice", name)
		}
		if err := op.Query[i].check(list[0]); err != nil {
			return err
		}
	}
	return nil
}

// shorten keeps what is repeated to its sender short.
func shorten(s string) string {
	if utf8.RuneCountInString(s) <= 64 {
		return s
	}
	return string([]rune(s)[:64]) + "…"
}

// check holds a value to the parameter's schema.
func (q *query) check(v string) error {
	s := q.schema
	wrong := func(must string) error {
		return identity.Errorf(identity.CodeInvalidRequest, "%s must %s", q.name, must)
	}
	n := utf8.RuneCountInString(v)
	switch {
	case !utf8.ValidString(v):
		return wrong("be UTF-8")
	case s.Type == huma.TypeBoolean && v != "true" && v != "false":
		return wrong("be true or false")
	case s.Type == huma.TypeInteger && !wholeNumber(v):
		return wrong("be a number")
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, any(v)):
		return wrong("be one of those that the description lists")
	case s.MinLength != nil && n < *s.MinLength:
		return wrong("not be empty; leave it out")
	case s.MaxLength != nil && n > *s.MaxLength:
		return wrong("have at most " + strconv.Itoa(*s.MaxLength) + " characters")
	case s.Pattern != "":
		if re, err := regexp.Compile(s.Pattern); err != nil || !re.MatchString(v) {
			return wrong("match " + s.Pattern)
		}
	}
	return nil
}

// wholeNumber reports whether a text is a whole number as JSON writes one.
func wholeNumber(v string) bool {
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			return false
		}
	}
	return v != "" && (v == "0" || v[0] != '0')
}

// flag reads a parameter that is true or false; absent is false.
func (c *call) flag(name string) (bool, error) {
	return c.r.URL.Query().Get(name) == "true", nil
}

// limit reads how many are wanted: 50, at most 500.
func (c *call) limit() (int, error) {
	v := c.r.URL.Query().Get("limit")
	if v == "" {
		return 50, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 500 {
		return 0, identity.Errorf(identity.CodeInvalidRequest, "limit must be a number from 1 to 500")
	}
	return n, nil
}

func text() *huma.Schema { return &huma.Schema{Type: huma.TypeString} }

func flag() *huma.Schema { return &huma.Schema{Type: huma.TypeBoolean} }

// word is a text that is not empty.
func word(most int) *huma.Schema {
	least := 1
	return &huma.Schema{Type: huma.TypeString, MinLength: &least, MaxLength: &most}
}

func formatted(format string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: format}
}

func patterned(pattern string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: pattern}
}

func limitSchema() *huma.Schema {
	least, most := 1.0, 500.0
	return &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most, Default: 50}
}

// filterSchema is a filter in SCIM's grammar (RFC 7644, 3.4.2.2), which is not
// a regular language: the format names it.
func filterSchema() *huma.Schema { return filterSchemaOf("scim-filter") }

func filterSchemaOf(format string) *huma.Schema {
	s, most := formatted(format), 2048
	s.MaxLength = &most
	return s
}

func paging() []query {
	return []query{
		{"limit", "How many, 50 by default, at most 500.", limitSchema()},
		{"cursor", "Where to go on: nextCursor of the page before. Empty is the beginning.", formatted("cursor")},
	}
}
