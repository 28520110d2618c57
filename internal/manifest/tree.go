package manifest

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
)

// nodeKind is what a value of a manifest is, whichever syntax it was written in.
type nodeKind byte

const (
	nullNode nodeKind = iota
	boolNode
	intNode
	floatNode
	stringNode
	mapNode
	listNode
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "true or false", "a number", "a number", "a string", "a mapping", "a list"}[k]
}

// node is a value with its place. YAML and JSON both become a tree of nodes,
// so that one set of rules reads them.
type node struct {
	kind    nodeKind
	pos     position
	text    string   // scalars: the string's value, or the number as written
	members []member // mappings
	items   []*node  // lists
	// index finds the members by their keys; nil where they are few and were
	// not read from a file.
	index map[string]int
}

type member struct {
	key   string
	pos   position
	value *node
}

// find returns the value of a key, or nil.
func (n *node) find(key string) *node {
	if m := n.member(key); m != nil {
		return m.value
	}
	return nil
}

func (n *node) member(key string) *member {
	if n == nil || n.kind != mapNode {
		return nil
	}
	if n.index != nil {
		i, ok := n.index[key]
		if !ok {
			return nil
		}
		return &n.members[i]
	}
	for i := range n.members {
		if n.members[i].key == key {
			return &n.members[i]
		}
	}
	return nil
}

// add appends a member, or returns the place of the one that has the key.
func (n *node) add(m member) (before position, twice bool) {
	if i, found := n.index[m.key]; found {
		return n.members[i].pos, true
	}
	if n.index == nil {
		n.index = map[string]int{}
	}
	n.index[m.key] = len(n.members)
	n.members = append(n.members, m)
	return position{}, false
}

// locate returns where the field of a path stands, or where its nearest
// ancestor does. A mapping or a list stands where its key does.
func (n *node) locate(path string) position {
	at := n.pos
	for _, step := range splitPath(path) {
		if i, err := strconv.Atoi(step); err == nil && n.kind == listNode {
			if i < 0 || i >= len(n.items) {
				return at
			}
			n = n.items[i]
			at = n.pos
			continue
		}
		m := n.member(step)
		if m == nil {
			return at
		}
		at, n = m.pos, m.value
		if n.kind != mapNode && n.kind != listNode && n.kind != nullNode {
			at = n.pos
		}
	}
	return at
}

// splitPath splits spec.models[0].name into its steps. A step in brackets is
// an index, or a quoted key as joinPath writes it.
func splitPath(path string) []string {
	var steps []string
	for path != "" {
		switch {
		case path[0] == '.':
			path = path[1:]
		case strings.HasPrefix(path, `["`):
			q, err := strconv.QuotedPrefix(path[1:])
			if err != nil {
				return steps
			}
			s, _ := strconv.Unquote(q)
			steps = append(steps, s)
			path = strings.TrimPrefix(path[1+len(q):], "]")
		case path[0] == '[':
			i := strings.IndexByte(path, ']')
			if i < 0 {
				return steps
			}
			steps = append(steps, path[1:i])
			path = path[i+1:]
		default:
			i := strings.IndexAny(path, ".[")
			if i < 0 {
				i = len(path)
			}
			steps = append(steps, path[:i])
			path = path[i:]
		}
	}
	return steps
}

func joinPath(path, key string) string {
	if key == "" || strings.ContainsAny(key, ".[]\"\\ \t\n") {
		return path + "[" + strconv.Quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func indexPath(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// appendJSON writes the tree as JSON, leaving out what skip names.
func (n *node) appendJSON(b *bytes.Buffer, skip map[*node]bool) {
	if skip[n] {
		b.WriteString("null")
		return
	}
	switch n.kind {
	case nullNode:
		b.WriteString("null")
	case boolNode:
		b.WriteString(strings.ToLower(n.text))
	case intNode, floatNode:
		b.WriteString(n.number())
	case stringNode:
		b.Write(quoteJSON(n.text))
	case listNode:
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.appendJSON(b, skip)
		}
		b.WriteByte(']')
	case mapNode:
		b.WriteByte('{')
		first := true
		for _, m := range n.members {
			if skip[m.value] {
				continue
			}
			if !first {
				b.WriteByte(',')
			}
			first = false
			b.Write(quoteJSON(m.key))
			b.WriteByte(':')
			m.value.appendJSON(b, skip)
		}
		b.WriteByte('}')
	}
}

func quoteJSON(s string) []byte {
	q, _ := json.Marshal(s) // a string always has a JSON form
	return q
}

// number returns a number as JSON writes it: YAML also has 0x1f, 0o17, +1, .5.
func (n *node) number() string {
	s := strings.TrimPrefix(n.text, "+")
	if n.kind == intNode {
		base, digits := 10, s
		if h, ok := strings.CutPrefix(s, "0x"); ok {
			base, digits = 16, h
		} else if o, ok := strings.CutPrefix(s, "0o"); ok {
			base, digits = 8, o
		}
		if i, ok := new(big.Int).SetString(digits, base); ok {
			return i.String()
		}
		return "0"
	}
	if json.Valid([]byte(s)) {
		return s
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return "0"
	}
	q, err := json.Marshal(f)
	if err != nil {
		return "0"
	}
	return string(q)
}
