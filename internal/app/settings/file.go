package settings

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// fileReader walks the settings file with the places of its keys.
type fileReader struct {
	l       *loader
	file    string
	values  map[string]any
	origins map[string]string
}

// file reads the layer of the settings file. Sections are mappings, lists are
// lists or a single text, everything else is a scalar; anchors, aliases and tags
// are refused because they make one text mean another.
func (l *loader) file(name string, data []byte) (values map[string]any, origins map[string]string) {
	r := &fileReader{l: l, file: name, values: map[string]any{}, origins: map[string]string{}}
	if len(data) == 0 {
		return r.values, r.origins
	}
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		l.errorf(name, "is not YAML: "+firstLine(err.Error()))
		return r.values, r.origins
	}
	if len(parsed.Docs) > 1 {
		l.errorf(name, "holds several documents; settings are one")
		return r.values, r.origins
	}
	for _, d := range parsed.Docs {
		if d.Body == nil {
			continue
		}
		switch d.Body.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			r.section("", d.Body)
		case *ast.NullNode, *ast.CommentGroupNode:
		default:
			l.errorf(name, "expected sections such as server: and database:")
		}
	}
	return r.values, r.origins
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func (r *fileReader) section(prefix string, n ast.Node) {
	var entries []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		entries = m.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{m}
	}
	seen := map[string]bool{}
	for _, e := range entries {
		key := e.Key.GetToken().Value
		name := prefix + key
		form := fmt.Sprintf("%s:%s: %s", r.file, place(e.Key.GetToken()), name)
		if seen[key] {
			r.l.errorf(form, "stands here twice")
			continue
		}
		seen[key] = true
		r.entry(name, form, key, e.Value)
	}
}

func (r *fileReader) entry(name, form, key string, value ast.Node) {
	field, isSection := r.find(name)
	switch {
	case strings.Contains(key, "."):
		r.l.errorf(form, "sections are nested: write "+strings.ReplaceAll(key, ".", ": {")+": …"+strings.Repeat("}", strings.Count(key, ".")))
	case field != nil:
		v, err := scalarOrList(field, value)
		if err != nil {
			r.l.errorf(form, err.Error())
			return
		}
		r.values[name], r.origins[name] = v, form
	case !isSection:
		r.l.errorf(form, "is not a setting"+suggest(name, r.known(), ""))
	default:
		switch value.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			r.section(name+".", value)
		case *ast.NullNode:
		default:
			r.l.errorf(form, "is a section; write its settings below it")
		}
	}
}

func (r *fileReader) find(name string) (field *Field, isSection bool) {
	for i, f := range r.l.fields {
		if f.Name == name {
			return &r.l.fields[i], false
		}
		if strings.HasPrefix(f.Name, name+".") {
			isSection = true
		}
	}
	return nil, isSection
}

// known lists settings and sections, for suggestions.
func (r *fileReader) known() []string {
	names := map[string]bool{}
	for _, f := range r.l.fields {
		for name := f.Name; ; {
			names[name] = true
			i := strings.LastIndexByte(name, '.')
			if i < 0 {
				break
			}
			name = name[:i]
		}
	}
	return sorted(names)
}

func scalarOrList(f *Field, n ast.Node) (any, error) {
	seq, isList := n.(*ast.SequenceNode)
	switch {
	case isList && f.Type != "list":
		return nil, fmt.Errorf("takes one value, not a list")
	case !isList:
		text, err := scalar(n)
		if err == nil && f.Type == "list" {
			return []string{text}, nil
		}
		return text, err
	}
	list := make([]string, 0, len(seq.Values))
	for _, v := range seq.Values {
		text, err := scalar(v)
		if err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, nil
}

func scalar(n ast.Node) (string, error) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, nil
	case *ast.LiteralNode:
		return v.Value.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	case *ast.NullNode:
		return "", fmt.Errorf("has no value; give it one, or remove the line")
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		return "", fmt.Errorf("anchors, aliases and tags are not read; write the value itself")
	default:
		return "", fmt.Errorf("expected a value, found a %s", strings.ToLower(n.Type().String()))
	}
}

func place(t *token.Token) string { return fmt.Sprintf("%d:%d", t.Position.Line, t.Position.Column) }
