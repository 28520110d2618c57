package filter

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxLength = 2048 // bytes of a filter
	maxDepth  = 32   // levels of parentheses and of not
)

// Error says what is wrong with a filter and where.
type Error struct {
	// Offset counts bytes from 0.
	Offset  int
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("at %d: %s", e.Offset, e.Message) }

// Filter is a filter that can be evaluated. The zero value matches everything.
type Filter struct {
	root node
}

// Parse reads a filter over resources; the empty text matches everything. An
// error is an *Error.
func Parse(text string) (Filter, error) {
	if strings.TrimSpace(text) == "" {
		return Filter{}, nil
	}
	p := &parser{known: resourceAttribute}
	e, err := p.whole(text)
	if err != nil {
		return Filter{}, err
	}
	return Filter{root: compile(e)}, nil
}

// resourceAttribute says what is wrong with an attribute's name, if anything is.
func resourceAttribute(name string) string {
	if _, ok := attribute(name); ok {
		return ""
	}
	return fmt.Sprintf("%q cannot be filtered by; use kind, apiVersion, metadata.name, metadata.uid, metadata.manager, metadata.labels.KEY or metadata.annotations.KEY", name)
}

// whole reads a text to its end.
func (p *parser) whole(text string) (Expr, error) {
	if err := p.begin(text); err != nil {
		return nil, err
	}
	e, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, p.errorf(p.at, "expected and, or, or the end")
	}
	return e, nil
}

func (p *parser) begin(text string) error {
	p.text = text
	if len(text) > maxLength {
		return &Error{Message: fmt.Sprintf("the filter is longer than %d bytes", maxLength)}
	}
	if !utf8.ValidString(text) {
		return &Error{Message: "the filter is not UTF-8"}
	}
	return nil
}

// parser reads the one grammar; what SCIM has and the control API has not is
// behind full.
type parser struct {
	text string
	at   int
	// full permits gt, ge, lt and le, numbers and booleans, and value paths.
	full bool
	// within a value path there is no other.
	within bool
	// known says what is wrong with an attribute's name; nil knows all.
	known func(name string) string
}

func (p *parser) errorf(at int, format string, args ...any) *Error {
	return &Error{Offset: at, Message: fmt.Sprintf(format, args...)}
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// word returns the next run of bytes that can be an attribute or an operator,
// without taking it.
func (p *parser) word() string {
	p.space()
	end := p.at
	for end < len(p.text) && isWord(p.text[end]) {
		end++
	}
	return p.text[p.at:end]
}

// isWord lists what attribute paths are made of; label keys have / and dots.
func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-/:$", c) >= 0
}

func (p *parser) take(word string) bool {
	if w := p.word(); !strings.EqualFold(w, word) {
		return false
	}
	p.at += len(word)
	return true
}

func (p *parser) symbol(c byte) bool {
	p.space()
	if p.at >= len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) or(depth int) (Expr, error) {
	left, err := p.and(depth)
	if err != nil {
		return nil, err
	}
	for p.take("or") {
		right, err := p.and(depth)
		if err != nil {
			return nil, err
		}
		left = Or{left, right}
	}
	return left, nil
}

func (p *parser) and(depth int) (Expr, error) {
	left, err := p.factor(depth)
	if err != nil {
		return nil, err
	}
	for p.take("and") {
		right, err := p.factor(depth)
		if err != nil {
			return nil, err
		}
		left = And{left, right}
	}
	return left, nil
}

func (p *parser) factor(depth int) (Expr, error) {
	if depth++; depth > maxDepth {
		return nil, p.errorf(p.at, "nested more than %d levels deep", maxDepth)
	}
	at := p.at
	negate := p.take("not")
	if p.symbol('(') {
		n, err := p.or(depth)
		if err != nil {
			return nil, err
		}
		if !p.symbol(')') {
			return nil, p.errorf(p.at, "expected )")
		}
		if negate {
			return Not{n}, nil
		}
		return n, nil
	}
	if negate {
		return nil, p.errorf(at, "write not (…)")
	}
	return p.comparison(depth)
}

func (p *parser) comparison(depth int) (Expr, error) {
	name := p.word()
	start := p.at
	if name == "" {
		return nil, p.errorf(start, "%s", p.noAttribute())
	}
	if p.known != nil {
		if wrong := p.known(name); wrong != "" {
			return nil, p.errorf(start, "%s", wrong)
		}
	}
	p.at += len(name)
	if p.full && p.at < len(p.text) && p.text[p.at] == '[' {
		return p.valuePath(name, start, depth)
	}
	c := Compare{Path: name, At: start}
	err := p.operation(&c)
	return c, err
}

// noAttribute gives an example of the control API; whoever reads the full grammar
// has attributes of their own.
func (p *parser) noAttribute() string {
	if p.full {
		return "expected an attribute"
	}
	return "expected an attribute, such as metadata.name"
}

// operation reads an operator and what it compares with.
func (p *parser) operation(c *Compare) error {
	word := p.word()
	start := p.at
	c.Op = Op(strings.ToLower(word))
	switch c.Op {
	case Present:
		p.at += len(word)
		return nil
	case Equal, NotEqual, Contains, Starts, Ends:
	case Greater, GreaterEqual, Less, LessEqual:
		if !p.full {
			return p.errorf(start, "expected eq, ne, co, sw, ew or pr")
		}
	default:
		if p.full {
			return p.errorf(start, "expected eq, ne, co, sw, ew, gt, ge, lt, le or pr")
		}
		return p.errorf(start, "expected eq, ne, co, sw, ew or pr")
	}
	p.at += len(word)
	value, err := p.value()
	if err != nil {
		return err
	}
	if value == nil && c.Op != Equal && c.Op != NotEqual {
		return p.errorf(start, "null goes with eq and ne")
	}
	c.Value = value
	return nil
}

// value reads a JSON string (RFC 8259, 7) or null, and numbers and booleans
// where the grammar is the full one.
func (p *parser) value() (any, error) {
	if p.take("null") {
		return nil, nil
	}
	p.space()
	start := p.at
	if p.full && start < len(p.text) && p.text[start] != '"' {
		return p.literal()
	}
	if p.at >= len(p.text) || p.text[p.at] != '"' {
		return nil, p.errorf(start, "expected a value in double quotes")
	}
	for p.at++; p.at < len(p.text); p.at++ {
		switch p.text[p.at] {
		case '\\':
			p.at++
		case '"':
			p.at++
			var s string
			if json.Unmarshal([]byte(p.text[start:p.at]), &s) != nil {
				return nil, p.errorf(start, "this is not a JSON string")
			}
			return s, nil
		}
	}
	p.at = len(p.text)
	return nil, p.errorf(start, "the string does not end")
}

// literal reads true, false or a number.
func (p *parser) literal() (any, error) {
	for word, v := range map[string]bool{"true": true, "false": false} {
		if p.take(word) {
			return v, nil
		}
	}
	end := p.at
	for end < len(p.text) && strings.IndexByte("+-.eE0123456789", p.text[end]) >= 0 {
		end++
	}
	var n json.Number
	if text := p.text[p.at:end]; text == "" || json.Unmarshal([]byte(text), &n) != nil {
		return nil, p.errorf(p.at, "expected a value in double quotes, true, false, null or a number")
	}
	p.at = end
	return n, nil
}
