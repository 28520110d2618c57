package claims

import "strings"

// Matcher asks that the claim at Path has at least one value that one of AnyOf
// describes.
//
// A pattern that ends in "*" describes every value that starts with what is
// before it; "*" alone describes every value but the empty text. Any other
// pattern describes the equal value, upper and lower case distinguished. There
// is no other wildcard and no way to quote a final "*".
//
// An empty AnyOf matches nothing: it asks for one of no values, which is not
// the same as not asking.
type Matcher struct {
	Path  Path
	AnyOf []string
}

// Match says whether the claims satisfy m. All values of a list are looked at.
func (m Matcher) Match(claims map[string]any) bool {
	v, ok := m.Path.Lookup(claims)
	if !ok || len(m.AnyOf) == 0 {
		return false
	}
	matched := false
	each(v, func(value string) bool {
		matched = m.describes(value)
		return !matched
	})
	return matched
}

func (m Matcher) describes(value string) bool {
	for _, pattern := range m.AnyOf {
		prefix, open := strings.CutSuffix(pattern, "*")
		switch {
		case open && prefix == "":
			if value != "" {
				return true
			}
		case open:
			if strings.HasPrefix(value, prefix) {
				return true
			}
		case value == pattern:
			return true
		}
	}
	return false
}

// MatchAll says whether every matcher is satisfied; failed is the position of
// the first that is not, for explain, or -1. Without matchers nothing is asked
// and every token satisfies it: the caller decides whether that is meant.
func MatchAll(matchers []Matcher, claims map[string]any) (ok bool, failed int) {
	for i, m := range matchers {
		if !m.Match(claims) {
			return false, i
		}
	}
	return true, -1
}
