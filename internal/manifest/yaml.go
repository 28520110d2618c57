package manifest

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// yamlParser makes a tree of one document from the library's tokens. The
// library's own parser takes time that grows with the square of the keys and
// accepts more than we want to; its errors quote the source, which may hold a
// secret. What is read is the part of YAML 1.2.2 that a manifest needs: block
// and flow collections and all scalars; no anchors, aliases, tags, merge keys,
// directives or keys that are not scalars.
type yamlParser struct {
	tokens []*token.Token // without comments
	next   int
	first  int // lines of the file before this document
	depth  int
	errs   Errors // what does not keep the rest from being read: a key given twice
}

// parseYAML returns nil without an error for a document that holds nothing.
func parseYAML(p part) (n *node, errs Errors) {
	if at, found := findTab(p.text); found {
		at.line += p.first
		return nil, Errors{at.errorf("a tab stands in the indentation; use spaces")}
	}
	if line, found := findGap(p.text); found {
		return nil, Errors{position{p.first + line, 1}.errorf("more than %d empty lines in a row", maxGap)}
	}
	y := &yamlParser{first: p.first}
	// The library reads what strangers wrote; should it fail, that is an error
	// of the file and not the end of the process.
	defer func() {
		if r := recover(); r != nil {
			n, errs = nil, Errors{position{p.first + 1, 1}.errorf("this is not YAML that can be read")}
		}
	}()
	for _, t := range lexer.Tokenize(p.text) {
		if t.Type == token.CommentType {
			continue
		}
		y.tokens = append(y.tokens, t)
	}
	if len(y.tokens) > maxTokens {
		return nil, Errors{*y.errorf(y.tokens[maxTokens], "the document is made of more than %d words and signs; write several", maxTokens)}
	}
	y.tokens = joinPlain(y.tokens)
	if e := y.refuse(); e != nil {
		return nil, Errors{*e}
	}
	if len(y.tokens) == 0 {
		return nil, nil
	}
	n, e := y.block(0)
	if e == nil && y.peek() != nil {
		e = y.errorf(y.peek(), "this does not belong to what stands above; check the indentation")
	}
	if e != nil {
		return nil, append(y.errs, *e)
	}
	return n, y.errs
}

// joinPlain puts plain scalars together that the lexer takes apart at a colon
// without a space after it, which it does in a list within { }: model:use is
// one scalar (YAML 1.2, 7.3.3).
func joinPlain(tokens []*token.Token) []*token.Token {
	out := tokens[:0]
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		var value strings.Builder // written piece by piece: a scalar may have very many
		for i+2 < len(tokens) && isPlain(t.Type) && tokens[i+1].Type == token.MappingValueType && isPlain(tokens[i+2].Type) &&
			touches(tokens[i+1], tokens[i+2]) {
			if value.Len() == 0 {
				joined := *t
				joined.Type = token.StringType
				value.WriteString(t.Value)
				t = &joined
			}
			value.WriteString(":" + tokens[i+2].Value)
			i += 2
		}
		if value.Len() > 0 {
			t.Value = value.String()
		}
		out = append(out, t)
	}
	return out
}

// touches reports whether a token follows a colon without a space.
func touches(colon, next *token.Token) bool {
	return colon.Position.Line == next.Position.Line && colon.Position.Column+1 == next.Position.Column
}

// isPlain reports whether a token is a scalar without quotes.
func isPlain(t token.Type) bool {
	return isScalar(t) && t != token.SingleQuoteType && t != token.DoubleQuoteType
}

// refuse reports the first token that no manifest may have.
func (y *yamlParser) refuse() *Error {
	for i, t := range y.tokens {
		switch t.Type {
		case token.InvalidType:
			if strings.Contains(t.Error, "tab character") {
				return y.errorf(t, "a tab stands where YAML wants spaces; use spaces")
			}
			return y.errorf(t, "%s", t.Error)
		case token.AnchorType, token.AliasType:
			return y.errorf(t, "anchors and aliases (& and *) are not supported; write the value out, or put it in quotes")
		case token.TagType:
			return y.errorf(t, "tags (!) are not supported; remove it, or put the value in quotes")
		case token.MergeKeyType:
			return y.errorf(t, "merge keys (<<) are not supported; write the fields out")
		case token.DirectiveType:
			return y.errorf(t, "directives (%%) are not supported")
		case token.MappingKeyType:
			return y.errorf(t, "keys that begin with ? are not supported")
		case token.DocumentHeaderType, token.DocumentEndType:
			return y.errorf(t, "a document marker cannot stand here")
		}
		if t.Position == nil || (i > 0 && t.Position.Line < 1) {
			return &Error{Line: y.first + 1, Column: 1, Message: "this is not YAML that can be read"}
		}
	}
	return nil
}

func (y *yamlParser) peek() *token.Token {
	if y.next < len(y.tokens) {
		return y.tokens[y.next]
	}
	return nil
}

func (y *yamlParser) at(t *token.Token) position {
	return position{y.first + max(1, t.Position.Line), max(1, t.Position.Column)}
}

func (y *yamlParser) errorf(t *token.Token, format string, args ...any) *Error {
	e := y.at(t).errorf(format, args...)
	return &e
}

// enter counts a level of nesting; leave with y.depth--.
func (y *yamlParser) enter(t *token.Token) *Error {
	if y.depth++; y.depth > maxDepth {
		return y.errorf(t, "nested more than %d levels deep", maxDepth)
	}
	return nil
}

// isKey reports whether the next token is the key of a mapping.
func (y *yamlParser) isKey() bool {
	if y.next+1 >= len(y.tokens) {
		return false
	}
	k, colon := y.tokens[y.next], y.tokens[y.next+1]
	return colon.Type == token.MappingValueType && isScalar(k.Type)
}

func isScalar(t token.Type) bool {
	switch t {
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.IntegerType, token.BinaryIntegerType,
		token.OctetIntegerType, token.HexIntegerType, token.FloatType, token.BoolType, token.NullType,
		token.InfinityType, token.NanType, token.ImplicitNullType:
		return true
	default:
		return false
	}
}

// block reads the value that begins at the next token, which stands right of
// column parent.
func (y *yamlParser) block(parent int) (*node, *Error) {
	t := y.peek()
	if t.Position.Column <= parent {
		return nil, y.errorf(t, "this must be indented further")
	}
	switch {
	case t.Type == token.SequenceEntryType:
		return y.blockList(t)
	case y.isKey():
		return y.blockMap(t)
	default:
		return y.inline(parent)
	}
}

func (y *yamlParser) blockList(t *token.Token) (*node, *Error) {
	n := &node{kind: listNode, pos: y.at(t)}
	if e := y.enter(t); e != nil {
		return nil, e
	}
	defer func() { y.depth-- }()
	column := t.Position.Column
	for {
		t = y.peek()
		if t == nil || t.Position.Column < column || t.Type != token.SequenceEntryType {
			return n, nil
		}
		if t.Position.Column > column {
			return nil, y.errorf(t, "this item does not stand under the others; check the indentation")
		}
		y.next++
		item := &node{pos: y.at(t)}
		if v := y.peek(); v != nil && v.Position.Column > column {
			var e *Error
			if item, e = y.block(column); e != nil {
				return nil, e
			}
		}
		n.items = append(n.items, item)
	}
}

func (y *yamlParser) blockMap(t *token.Token) (*node, *Error) {
	n := &node{kind: mapNode, pos: y.at(t)}
	if e := y.enter(t); e != nil {
		return nil, e
	}
	defer func() { y.depth-- }()
	column := t.Position.Column
	for {
		t = y.peek()
		if t == nil || t.Position.Column < column || !y.isKey() {
			return n, nil
		}
		if t.Position.Column > column {
			return nil, y.errorf(t, "%q does not stand under the other keys; check the indentation", t.Value)
		}
		key, e := y.key()
		if e != nil {
			return nil, e
		}
		value, e := y.blockValue(column)
		if e != nil {
			return nil, e
		}
		y.add(n, t, key, value)
	}
}

// add appends a member. YAML 1.2.2 (3.2.1.1) wants keys to be unique.
func (y *yamlParser) add(n *node, t *token.Token, key string, value *node) {
	before, twice := n.add(member{key: key, pos: y.at(t), value: value})
	if twice && !y.errs.full() {
		y.errs = append(y.errs, *y.errorf(t, "the key %q stands here twice, first at %s", key, before))
	}
}

// key reads a key and its colon.
func (y *yamlParser) key() (string, *Error) {
	k, colon := y.tokens[y.next], y.tokens[y.next+1]
	y.next += 2
	quoted := k.Type == token.SingleQuoteType || k.Type == token.DoubleQuoteType
	if k.Position.Line != colon.Position.Line && !quoted {
		// "a: 1\n  b: 2": to YAML the second line continues the first one's value.
		return "", y.errorf(colon, "a second key within a value; check the indentation")
	}
	if !quoted && resolve(k.Value) != stringNode {
		return "", y.errorf(k, "a key must be a string; write it in quotes")
	}
	if len(k.Value) > maxKey {
		return "", y.errorf(k, "a key has more than %d bytes", maxKey)
	}
	return k.Value, y.checkPlain(k)
}

// blockValue reads what follows a key of a block mapping at a column.
func (y *yamlParser) blockValue(column int) (*node, *Error) {
	colon := y.tokens[y.next-1]
	null := &node{pos: y.at(colon)}
	t := y.peek()
	if t == nil {
		return null, nil
	}
	if t.Position.Line == colon.Position.Line || isBlockScalar(t) {
		switch {
		case t.Type == token.SequenceEntryType:
			return nil, y.errorf(t, "a list cannot begin on the line of its key; begin it on a new line")
		case y.isKey():
			return nil, y.errorf(y.tokens[y.next+1], "a second \": \" on one line; put the text in quotes, or check the indentation")
		}
		return y.inline(column)
	}
	switch {
	case t.Position.Column > column:
		return y.block(column)
	case t.Position.Column == column && t.Type == token.SequenceEntryType:
		return y.blockList(t)
	default:
		return null, nil
	}
}

func isBlockScalar(t *token.Token) bool {
	return t.Type == token.LiteralType || t.Type == token.FoldedType
}

// inline reads a scalar or a flow collection.
func (y *yamlParser) inline(column int) (*node, *Error) {
	t := y.peek()
	switch {
	case t.Type == token.MappingStartType || t.Type == token.SequenceStartType:
		return y.flow()
	case isBlockScalar(t):
		y.next++
		n := &node{kind: stringNode, pos: y.at(t)}
		// The text of a block scalar is the next token, unless there is none.
		if c := y.peek(); c != nil && c.Type == token.StringType && !y.isKey() {
			n.text = c.Value
			y.next++
		}
		return n, nil
	case isScalar(t.Type):
		y.next++
		if e := y.checkPlain(t); e != nil {
			return nil, e
		}
		if follow := y.peek(); follow != nil && follow.Type == token.MappingValueType {
			return nil, y.errorf(follow, "a second key within a value; put the text in quotes, or check the indentation")
		}
		return y.scalar(t), nil
	default:
		return nil, y.errorf(t, "%s cannot stand here", describe(t))
	}
}

func (y *yamlParser) scalar(t *token.Token) *node {
	n := &node{kind: stringNode, pos: y.at(t), text: t.Value}
	if t.Type != token.SingleQuoteType && t.Type != token.DoubleQuoteType {
		n.kind = resolve(t.Value)
	}
	return n
}

// checkPlain refuses plain scalars that begin with an indicator or hold the
// beginning of a value or a comment (YAML 1.2.2, 7.3.3), which the library
// lets pass.
func (y *yamlParser) checkPlain(t *token.Token) *Error {
	if t.Type == token.StringType && t.Value != "" && strings.ContainsRune(",[]{}#&*!|>'\"%@`", rune(t.Value[0])) {
		return y.errorf(t, "a value that begins with %c must stand in quotes", t.Value[0])
	}
	if t.Type == token.StringType && (strings.Contains(t.Value, ": ") || strings.Contains(t.Value, " #")) {
		return y.errorf(t, "text with \": \" or \" #\" must stand in quotes")
	}
	return nil
}

// flow reads { … } or [ … ].
func (y *yamlParser) flow() (*node, *Error) {
	open := y.peek()
	y.next++
	if e := y.enter(open); e != nil {
		return nil, e
	}
	defer func() { y.depth-- }()
	n := &node{kind: listNode, pos: y.at(open)}
	closing, name := token.SequenceEndType, "]"
	if open.Type == token.MappingStartType {
		n.kind, closing, name = mapNode, token.MappingEndType, "}"
	}
	for {
		t := y.peek()
		if t == nil {
			return nil, y.errorf(open, "the %s that closes this is missing", name)
		}
		if t.Type == closing {
			y.next++
			return n, nil
		}
		if e := y.flowEntry(n); e != nil {
			return nil, e
		}
		switch t = y.peek(); {
		case t == nil, t.Type == closing:
		case t.Type == token.CollectEntryType:
			y.next++
		default:
			return nil, y.errorf(t, "a comma or %s is missing before this", name)
		}
	}
}

// flowEntry reads one entry of a flow collection.
func (y *yamlParser) flowEntry(n *node) *Error {
	t := y.peek()
	if n.kind == listNode {
		if y.isKey() {
			return y.errorf(t, "write a mapping within [ ] as { key: value }")
		}
		item, e := y.inline(0)
		if e == nil {
			n.items = append(n.items, item)
		}
		return e
	}
	if !y.isKey() {
		if isScalar(t.Type) {
			return y.errorf(t, "a key within { } must be followed by \": \" and a value")
		}
		return y.errorf(t, "%s cannot stand here", describe(t))
	}
	key, e := y.key()
	if e != nil {
		return e
	}
	if y.peek() != nil && y.isKey() {
		return y.errorf(y.tokens[y.next+1], "a second \": \" in one value; put the text in quotes")
	}
	value := &node{pos: y.at(y.tokens[y.next-1])}
	if v := y.peek(); v != nil && v.Type != token.CollectEntryType && v.Type != token.MappingEndType {
		if value, e = y.inline(0); e != nil {
			return e
		}
	}
	y.add(n, t, key, value)
	return nil
}

func describe(t *token.Token) string {
	switch t.Type {
	case token.MappingValueType:
		return "a colon"
	case token.CollectEntryType:
		return "a comma"
	case token.SequenceEntryType:
		return "a list item"
	case token.SequenceEndType, token.MappingEndType:
		return fmt.Sprintf("%q", t.Value)
	default:
		return "this"
	}
}
