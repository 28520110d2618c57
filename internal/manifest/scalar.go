package manifest

import "regexp"

// The core schema of YAML 1.2.2 (10.3.2): what a plain scalar is. yes, no, on
// and off are strings.
var (
	coreNullRE  = regexp.MustCompile(`^(null|Null|NULL|~)$`)
	coreBoolRE  = regexp.MustCompile(`^(true|True|TRUE|false|False|FALSE)$`)
	coreIntRE   = regexp.MustCompile(`^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$`)
	coreFloatRE = regexp.MustCompile(`^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// maxNumber is the longest number that is read as one, in characters; it keeps
// the conversion of numbers cheap.
const maxNumber = 64

// resolve says what a plain scalar is.
func resolve(s string) nodeKind {
	switch {
	case s == "", coreNullRE.MatchString(s):
		return nullNode
	case coreBoolRE.MatchString(s):
		return boolNode
	case len(s) > maxNumber:
		return stringNode
	case coreIntRE.MatchString(s):
		return intNode
	case coreFloatRE.MatchString(s):
		return floatNode
	default:
		return stringNode
	}
}
