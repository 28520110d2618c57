package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// Marshal writes a resource as YAML: apiVersion, kind, metadata, spec, each
// with its fields in the order of the reference, without what is empty. A
// secret that is held in plain is written as [redacted], which Parse refuses
// to take for a secret. Everything else that Marshal writes, Parse reads back.
func Marshal(r v1.Resource) ([]byte, error) {
	n, err := treeOf(r)
	if err != nil {
		return nil, err
	}
	return writeYAML(n), nil
}

// MarshalAll writes resources as the documents of one YAML file.
func MarshalAll(list []v1.Resource) ([]byte, error) {
	var b bytes.Buffer
	for i, r := range list {
		y, err := Marshal(r)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(y)
	}
	return b.Bytes(), nil
}

// treeOf returns a resource as a tree, in the order of its Go fields.
func treeOf(r v1.Resource) (*node, error) {
	j, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write %s %s: %w", r.Type().Kind, r.Meta().Name, err)
	}
	n, errs := parseJSON(j)
	if len(errs) > 0 {
		return nil, fmt.Errorf("write %s %s: %w", r.Type().Kind, r.Meta().Name, errs)
	}
	return n, nil
}

func writeYAML(n *node) []byte {
	var b bytes.Buffer
	writeMap(&b, n, 0)
	return b.Bytes()
}

// writeMap writes the members of a mapping, each on a line of its own at an
// indentation; the first one where the writer stands.
func writeMap(b *bytes.Buffer, n *node, indent int) {
	first := true
	for _, m := range n.members {
		if m.value.kind == nullNode {
			continue
		}
		if !first {
			pad(b, indent)
		}
		first = false
		b.WriteString(quoteKey(m.key) + ":")
		switch v := m.value; {
		case v.kind == mapNode && !v.empty():
			b.WriteByte('\n')
			pad(b, indent+2)
			writeMap(b, v, indent+2)
		case v.kind == listNode && len(v.items) > 0:
			b.WriteByte('\n')
			pad(b, indent+2)
			writeList(b, v, indent+2)
		default:
			b.WriteByte(' ')
			writeScalar(b, v, indent+2)
		}
	}
	if first {
		b.WriteString("{}\n")
	}
}

func writeList(b *bytes.Buffer, n *node, indent int) {
	for i, item := range n.items {
		if i > 0 {
			pad(b, indent)
		}
		b.WriteString("- ")
		switch {
		case item.kind == mapNode && !item.empty():
			writeMap(b, item, indent+2)
		case item.kind == listNode && len(item.items) > 0:
			writeList(b, item, indent+2)
		default:
			writeScalar(b, item, indent+2)
		}
	}
}

// empty reports whether a mapping has nothing that would be written.
func (n *node) empty() bool {
	for _, m := range n.members {
		if m.value.kind != nullNode {
			return false
		}
	}
	return true
}

func pad(b *bytes.Buffer, indent int) { b.WriteString(strings.Repeat(" ", indent)) }

func writeScalar(b *bytes.Buffer, n *node, indent int) {
	switch n.kind {
	case nullNode:
		b.WriteString("null\n")
	case mapNode:
		b.WriteString("{}\n")
	case listNode:
		b.WriteString("[]\n")
	case stringNode:
		if isLiteral(n.text) {
			writeLiteral(b, n.text, indent)
			return
		}
		b.WriteString(quoteYAML(n.text) + "\n")
	default:
		b.WriteString(n.text + "\n")
	}
}

// isLiteral reports whether a text is best written as a block scalar: several
// lines without anything that the eye or YAML would lose.
func isLiteral(s string) bool {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	if len(lines) < 2 || s[0] == ' ' {
		return false
	}
	for _, line := range lines {
		if line == "" || line[0] == '\t' || strings.TrimRight(line, " \t") != line {
			return false
		}
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) })
}

func writeLiteral(b *bytes.Buffer, s string, indent int) {
	head := "|\n"
	if !strings.HasSuffix(s, "\n") {
		head = "|-\n"
	}
	b.WriteString(head)
	for line := range strings.SplitSeq(strings.TrimSuffix(s, "\n"), "\n") {
		pad(b, indent)
		b.WriteString(line + "\n")
	}
}

var (
	plainRE    = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./@:,+-]*( [A-Za-z0-9_./@,+:-]+)*$`)
	durationRE = regexp.MustCompile(`^([0-9]+[dhms])+$`)
	// What YAML 1.1 readers take for something else than a string.
	oldWordRE = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null)$`)
)

// quoteKey writes a key, in quotes where a colon or comma could be misread.
func quoteKey(s string) string {
	if q := quoteYAML(s); q[0] == '"' || !strings.ContainsAny(s, ":,") {
		return q
	}
	return `"` + s + `"`
}

// quoteYAML writes a string plainly where every reader of YAML agrees that it
// is a string, and else in double quotes.
func quoteYAML(s string) string {
	if durationRE.MatchString(s) {
		return s
	}
	if len(s) <= 512 && plainRE.MatchString(s) && !oldWordRE.MatchString(s) && !strings.Contains(s, ": ") && !strings.HasSuffix(s, ":") {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
