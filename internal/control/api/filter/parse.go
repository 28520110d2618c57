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

// Parse reads a filter; the empty text matches everything. An error is an *Error.
func Parse(text string) (Filter, error) {
	if strings.TrimSpace(text) == "" {
		return Filter{}, nil
	}
	if len(text) > maxLength {
		return Filter{}, &Error{Message: fmt.Sprintf("the filter is longer than %d bytes", maxLength)}
	}
	if !utf8.ValidString(text) {
		return Filter{}, &Error{Message: "the filter is not UTF-8"}
	}
	p := &parser{text: text}
	n, err := p.or(0)
	if err != nil {
		return Filter{}, err
	}
	if p.space(); p.at < len(p.text) {
		return Filter{}, p.errorf(p.at, "expected and, or, or the end")
	}
	return Filter{root: n}, nil
}

type parser struct {
	text string
	at   int
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

func (p *parser) or(depth int) (node, error) {
	left, err := p.and(depth)
	if err != nil {
		return nil, err
	}
	for p.take("or") {
		right, err := p.and(depth)
		if err != nil {
			return nil, err
		}
		left = orNode{left, right}
	}
	return left, nil
}

func (p *parser) and(depth int) (node, error) {
	left, err := p.factor(depth)
	if err != nil {
		return nil, err
	}
	for p.take("and") {
		right, err := p.factor(depth)
		if err != nil {
			return nil, err
		}
		left = andNode{left, right}
	}
	return left, nil
}

func (p *parser) factor(depth int) (node, error) {
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
			return notNode{n}, nil
		}
		return n, nil
	}
	if negate {
		return nil, p.errorf(at, "write not (…)")
	}
	return p.comparison()
}

func (p *parser) comparison() (node, error) {
	name := p.word()
	start := p.at
	if name == "" {
		return nil, p.errorf(start, "expected an attribute, such as metadata.name")
	}
	attr, ok := attribute(name)
	if !ok {
		return nil, p.errorf(start, "%q cannot be filtered by; use kind, apiVersion, metadata.name, metadata.uid, metadata.manager, metadata.labels.KEY or metadata.annotations.KEY", name)
	}
	p.at += len(name)
	word := p.word()
	start = p.at
	op := operator(strings.ToLower(word))
	switch op {
	case opPresent:
		p.at += len(word)
		return compareNode{attr: attr, op: op}, nil
	case opEqual, opNotEqual, opContains, opStarts, opEnds:
		p.at += len(word)
	default:
		return nil, p.errorf(start, "expected eq, ne, co, sw, ew or pr")
	}
	value, null, err := p.value()
	if err != nil {
		return nil, err
	}
	if null && op != opEqual && op != opNotEqual {
		return nil, p.errorf(start, "null goes with eq and ne")
	}
	return compareNode{attr: attr, op: op, value: value, null: null}, nil
}

// value reads a JSON string (RFC 8259, 7) or null. Every attribute here is a
// string, so numbers and booleans compare with nothing.
func (p *parser) value() (s string, null bool, err error) {
	if p.take("null") {
		return "", true, nil
	}
	p.space()
	start := p.at
	if p.at >= len(p.text) || p.text[p.at] != '"' {
		return "", false, p.errorf(start, "expected a value in double quotes")
	}
	for p.at++; p.at < len(p.text); p.at++ {
		switch p.text[p.at] {
		case '\\':
			p.at++
		case '"':
			p.at++
			if json.Unmarshal([]byte(p.text[start:p.at]), &s) != nil {
				return "", false, p.errorf(start, "this is not a JSON string")
			}
			return s, false, nil
		}
	}
	p.at = len(p.text)
	return "", false, p.errorf(start, "the string does not end")
}
