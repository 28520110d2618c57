package saml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// The bounds of a message after decoding. A real one with a thousand groups
// has some 80 KiB and 2100 elements; a real one is ten deep.
const (
	maxDocument   = 256 << 10
	maxDepth      = 32
	maxElements   = 8192
	maxAttributes = 64 // of one element
	maxNamespaces = 64 // declared at once, on the way from the root to an element
	// maxDeclarations is how often a document declares a namespace: the verifier
	// copies what is in scope each time. One that repeats two on each of as many
	// values as fit has some 3300.
	maxDeclarations  = 4096
	maxAllAttributes = 8192 // of all elements, but for those
)

// Namespaces, by the names that the specifications give them.
const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsMetadata  = "urn:oasis:names:tc:SAML:2.0:metadata"
	nsDsig      = "http://www.w3.org/2000/09/xmldsig#"
	nsXenc      = "http://www.w3.org/2001/04/xmlenc#"
	nsXenc11    = "http://www.w3.org/2009/xmlenc11#"
	nsExcC14n   = "http://www.w3.org/2001/10/xml-exc-c14n#"
	nsXML       = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS     = "http://www.w3.org/2000/xmlns/"
)

// node is an element whose names are resolved and whose text has no holes: a
// document with comments or the like between two pieces of text never becomes one.
type node struct {
	space, local string
	attrs        []xml.Attr // Name.Space is the namespace, not the prefix
	children     []*node
	text         string // its own character data, joined
}

func (n *node) is(space, local string) bool { return n.space == space && n.local == local }

// attr returns an attribute without a namespace; empty when there is none.
func (n *node) attr(local string) string {
	v, _ := n.lookup(local)
	return v
}

func (n *node) lookup(local string) (string, bool) {
	for _, a := range n.attrs {
		if a.Name.Space == "" && a.Name.Local == local {
			return a.Value, true
		}
	}
	return "", false
}

func (n *node) all(space, local string) []*node {
	var out []*node
	for _, c := range n.children {
		if c.is(space, local) {
			out = append(out, c)
		}
	}
	return out
}

// one returns the only child of a name, or refuses.
func (n *node) one(space, local string) (*node, error) {
	c, err := n.optional(space, local)
	if err == nil && c == nil {
		err = refuse(ReasonMalformed, "%s has no %s", n.local, local)
	}
	return c, err
}

// optional is one that may be absent: nil then.
func (n *node) optional(space, local string) (*node, error) {
	switch found := n.all(space, local); len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	default:
		return nil, refuse(ReasonMalformed, "%s has %d %s", n.local, len(found), local)
	}
}

// walk visits a node and everything below it.
func (n *node) walk(visit func(*node) error) error {
	if err := visit(n); err != nil {
		return err
	}
	for _, c := range n.children {
		if err := c.walk(visit); err != nil {
			return err
		}
	}
	return nil
}

// parseMessage reads a message of a stranger.
func parseMessage(data []byte) (*node, error) {
	if len(data) > maxDocument {
		return nil, refuse(ReasonTooLarge, "%d bytes, more than %d", len(data), maxDocument)
	}
	if err := screen(data); err != nil {
		return nil, err
	}
	r := reader{dec: xml.NewDecoder(bytes.NewReader(data)), ids: map[string]bool{}}
	return r.document()
}

// screen refuses by the bytes alone what must never reach an XML parser. "<!"
// begins a DOCTYPE, a comment or a CDATA section and cannot stand anywhere else
// in well-formed XML, so this cannot be fooled by a parser's view of things.
func screen(data []byte) error {
	if !utf8.Valid(data) {
		return refuse(ReasonMalformed, "not UTF-8")
	}
	rest := data
	if bytes.HasPrefix(data, []byte("<?xml ")) {
		end := bytes.Index(data, []byte("?>"))
		if end < 0 {
			return refuse(ReasonMalformed, "the XML declaration does not end")
		}
		if err := checkDeclaration(string(data[len("<?xml "):end])); err != nil {
			return err
		}
		rest = data[end:]
	}
	if bytes.Contains(rest, []byte("<?")) {
		return refuse(ReasonMalformed, "processing instructions are not accepted")
	}
	if i := bytes.Index(rest, []byte("<!")); i >= 0 {
		what := "a DOCTYPE or another declaration is"
		switch tail := rest[i:]; {
		case bytes.HasPrefix(tail, []byte("<!--")):
			what = "comments are"
		case bytes.HasPrefix(tail, []byte("<![CDATA[")):
			what = "CDATA sections are"
		}
		return refuse(ReasonMalformed, "%s not accepted", what)
	}
	return nil
}

// checkDeclaration accepts XML 1.0 in UTF-8, and nothing that a parser could
// read in another encoding.
func checkDeclaration(s string) error {
	s = strings.ToLower(strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "'", `"`))
	for _, part := range strings.Split(s, " ") {
		switch part {
		case "", `version="1.0"`, `encoding="utf-8"`, `standalone="yes"`, `standalone="no"`:
		default:
			return refuse(ReasonMalformed, "the XML declaration must say version 1.0 and UTF-8")
		}
	}
	return nil
}

// reader builds nodes from raw tokens: it resolves namespaces itself, so that
// nothing is left of a prefix but what it means.
type reader struct {
	dec      *xml.Decoder
	ids      map[string]bool // every ID of the document
	elements int
	declared int
	attrs    int
	bindings []binding // of the elements that are open, the innermost last
	lenient  bool      // metadata that an administrator gave: skip comments, allow size
}

// binding is one declaration of a namespace.
type binding struct{ prefix, space string }

type scope struct {
	node  *node
	raw   xml.Name
	outer int // how many bindings there are without its own
	text  *strings.Builder
}

func (r *reader) document() (*node, error) {
	var root *node
	var stack []scope
	for {
		token, err := r.dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, refuse(ReasonMalformed, "not well-formed XML: %v", err)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if root != nil && len(stack) == 0 {
				return nil, refuse(ReasonMalformed, "a second root element")
			}
			s, err := r.open(t, len(stack))
			if err != nil {
				return nil, err
			}
			if root == nil {
				root = s.node
			} else {
				parent := stack[len(stack)-1].node
				parent.children = append(parent.children, s.node)
			}
			stack = append(stack, s)
		case xml.EndElement:
			if len(stack) == 0 || stack[len(stack)-1].raw != t.Name {
				return nil, refuse(ReasonMalformed, "an end tag without its start")
			}
			done := stack[len(stack)-1]
			done.node.text = done.text.String()
			stack, r.bindings = stack[:len(stack)-1], r.bindings[:done.outer]
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text.Write(t)
			} else if strings.TrimSpace(string(t)) != "" {
				return nil, refuse(ReasonMalformed, "text outside the root element")
			}
		case xml.ProcInst:
			if t.Target != "xml" && !r.lenient {
				return nil, refuse(ReasonMalformed, "processing instructions are not accepted")
			}
		default:
			if !r.lenient {
				return nil, refuse(ReasonMalformed, "comments and declarations are not accepted")
			}
		}
	}
	if root == nil || len(stack) > 0 {
		return nil, refuse(ReasonMalformed, "the document is not complete")
	}
	return root, nil
}

// open makes the node of a start tag, in the scope of what is open.
func (r *reader) open(t xml.StartElement, depth int) (scope, error) {
	r.elements++
	if depth >= maxDepth || r.elements > maxElements && !r.lenient || len(t.Attr) > maxAttributes {
		return scope{}, refuse(ReasonTooLarge, "more than %d deep, %d elements or %d attributes", maxDepth, maxElements, maxAttributes)
	}
	outer := len(r.bindings)
	if err := r.declare(t.Attr); err != nil {
		return scope{}, err
	}
	space, ok := r.resolve(t.Name)
	if !ok {
		return scope{}, refuse(ReasonMalformed, "the element name %q cannot be resolved", t.Name.Local)
	}
	n := &node{space: space, local: t.Name.Local}
	for _, a := range t.Attr {
		if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
			continue
		}
		if err := r.attribute(n, a); err != nil {
			return scope{}, err
		}
	}
	return scope{node: n, raw: t.Name, outer: outer, text: &strings.Builder{}}, nil
}

func (r *reader) attribute(n *node, a xml.Attr) error {
	space, ok := "", validName(a.Name)
	if a.Name.Space != "" {
		space, ok = r.resolve(a.Name)
	}
	if !ok {
		return refuse(ReasonMalformed, "the attribute name %q cannot be resolved", a.Name.Local)
	}
	name := xml.Name{Space: space, Local: a.Name.Local}
	for _, had := range n.attrs {
		if had.Name == name {
			return refuse(ReasonMalformed, "two attributes %s of one element", a.Name.Local)
		}
	}
	if r.attrs++; r.attrs > maxAllAttributes && !r.lenient {
		return refuse(ReasonTooLarge, "more than %d attributes", maxAllAttributes)
	}
	n.attrs = append(n.attrs, xml.Attr{Name: name, Value: a.Value})
	// Verifiers and readers differ in which spelling is an ID, so all of them are.
	if (space == "" || space == nsXML) && (strings.EqualFold(a.Name.Local, "id") || a.Name.Local == "AssertionID") {
		if r.ids[a.Value] && !r.lenient {
			return refuse(ReasonMalformed, "two elements with one ID")
		}
		r.ids[a.Value] = true
	}
	return nil
}

// declare adds the namespace declarations of one element.
func (r *reader) declare(attrs []xml.Attr) error {
	outer := len(r.bindings)
	for _, a := range attrs {
		prefix := ""
		switch {
		case a.Name.Space == "xmlns":
			prefix = a.Name.Local
			if a.Value == "" || prefix == "" || prefix == "xmlns" || strings.ContainsRune(prefix, ':') {
				return refuse(ReasonMalformed, "a namespace declaration that is not allowed")
			}
		case a.Name.Space == "" && a.Name.Local == "xmlns":
		default:
			continue
		}
		twice := slices.ContainsFunc(r.bindings[outer:], func(b binding) bool { return b.prefix == prefix })
		if twice || a.Value == nsXMLNS || (prefix == "xml") != (a.Value == nsXML) {
			return refuse(ReasonMalformed, "a namespace declaration that is not allowed")
		}
		r.bindings = append(r.bindings, binding{prefix, a.Value})
	}
	r.declared += len(r.bindings) - outer
	if len(r.bindings) > maxNamespaces || r.declared > maxDeclarations && !r.lenient {
		return refuse(ReasonTooLarge, "more than %d namespaces at once, or %d declarations", maxNamespaces, maxDeclarations)
	}
	return nil
}

// resolve looks from the inside out: there are few, and nothing is copied.
func (r *reader) resolve(name xml.Name) (string, bool) {
	if !validName(name) {
		return "", false
	}
	for _, b := range slices.Backward(r.bindings) {
		if b.prefix == name.Space {
			return b.space, true
		}
	}
	switch name.Space {
	case "":
		return "", true
	case "xml":
		return nsXML, true
	}
	return "", false
}

// validName refuses names that parsers split in different ways: a decoder that
// sees a:b:c takes another prefix than the next one does.
func validName(name xml.Name) bool {
	return name.Local != "" && !strings.ContainsRune(name.Local, ':') && !strings.ContainsRune(name.Space, ':')
}
