package filter

// Op is a comparison (RFC 7644, table 3).
type Op string

// The comparisons.
const (
	Equal        Op = "eq"
	NotEqual     Op = "ne"
	Contains     Op = "co"
	Starts       Op = "sw"
	Ends         Op = "ew"
	Present      Op = "pr"
	Greater      Op = "gt"
	GreaterEqual Op = "ge"
	Less         Op = "lt"
	LessEqual    Op = "le"
)

// Expr is a filter that has been read and is bound to nothing: one of And, Or,
// Not, Compare and ValuePath.
type Expr interface{ expr() }

type (
	// And and Or combine two expressions; and binds tighter.
	And struct{ Left, Right Expr }
	Or  struct{ Left, Right Expr }
	// Not is the opposite.
	Not struct{ Inner Expr }
	// Compare compares an attribute.
	Compare struct {
		// Path is the attribute as it was written: userName, name.givenName,
		// urn:…:User:department.
		Path string
		// At is where it stands, in bytes from 0.
		At int
		Op Op
		// Value is a string, a bool, a json.Number, or nil for null.
		Value any
	}
	// ValuePath asks for a value of a multi-valued attribute that satisfies
	// Inner, as in emails[type eq "work"], and, where there is a Sub, whose
	// sub-attribute satisfies its comparison.
	ValuePath struct {
		Path  string
		At    int
		Inner Expr
		Sub   *Compare
	}
)

func (And) expr()       {}
func (Or) expr()        {}
func (Not) expr()       {}
func (Compare) expr()   {}
func (ValuePath) expr() {}

// Path is the target of a PATCH operation (RFC 7644, figure 7).
type Path struct {
	// Name is the attribute, with its URN and its sub-attribute where they
	// were written.
	Name string
	// Filter chooses values of a multi-valued attribute; nil is all.
	Filter Expr
	// Sub is the sub-attribute after a filter.
	Sub string
}

// ParseExpr reads a filter of SCIM's full grammar. Which attributes there are,
// and which comparisons they know, is the caller's to say. An error is an *Error.
func ParseExpr(text string) (Expr, error) {
	p := &parser{full: true}
	return p.whole(text)
}

// ParsePath reads the path of a PATCH operation. An error is an *Error.
func ParsePath(text string) (Path, error) {
	p := &parser{full: true}
	if err := p.begin(text); err != nil {
		return Path{}, err
	}
	path := Path{Name: p.word()}
	if path.Name == "" {
		return path, p.errorf(p.at, "expected an attribute")
	}
	p.at += len(path.Name)
	if p.at < len(p.text) && p.text[p.at] == '[' {
		var err error
		if path.Filter, err = p.brackets(0); err != nil {
			return path, err
		}
		if path.Sub, err = p.sub(); err != nil {
			return path, err
		}
	}
	if p.space(); p.at < len(p.text) {
		return path, p.errorf(p.at, "expected the end of the path")
	}
	return path, nil
}

// valuePath reads what follows the attribute of a value path.
func (p *parser) valuePath(name string, start, depth int) (Expr, error) {
	inner, err := p.brackets(depth)
	if err != nil {
		return nil, err
	}
	v := ValuePath{Path: name, At: start, Inner: inner}
	at := p.at
	sub, err := p.sub()
	if err != nil || sub == "" {
		return v, err
	}
	v.Sub = &Compare{Path: sub, At: at}
	return v, p.operation(v.Sub)
}

func (p *parser) brackets(depth int) (Expr, error) {
	if p.within {
		return nil, p.errorf(p.at, "a value path within a value path")
	}
	p.within = true
	p.at++
	inner, err := p.or(depth + 1)
	if err != nil {
		return nil, err
	}
	if !p.symbol(']') {
		return nil, p.errorf(p.at, "expected ]")
	}
	p.within = false
	return inner, nil
}

// sub reads .NAME directly after a bracket, if it is there.
func (p *parser) sub() (string, error) {
	if p.at >= len(p.text) || p.text[p.at] != '.' {
		return "", nil
	}
	word := p.word()
	if len(word) < 2 {
		return "", p.errorf(p.at, "expected a sub-attribute after the dot")
	}
	p.at += len(word)
	return word[1:], nil
}
