package manifest

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

const (
	maxFile  = 1 << 20 // bytes of one file or body
	maxDepth = 32      // levels of nesting
	maxKey   = 1024    // bytes of a mapping's key: a label's has 253 characters

	// maxTokens and maxValues limit what a document is made of. A file of
	// nothing but the shortest possible items costs twenty times what others do.
	maxTokens = 300_000
	maxValues = 100_000
)

// Document is one resource of a file, with where its fields stand.
type Document struct {
	// File is the file's name as it was given.
	File string
	// Line is where the document's first key stands, from 1.
	Line int
	// Resource has its defaults and is valid.
	Resource v1.Resource
	// Notes are what the writer should know though nothing is wrong, one line
	// each, with file, line and column.
	Notes []string

	root *node
	bare bool // a file of authz_rules alone
}

// Locate gives errors that were found later, by others, their place in the file.
func (d Document) Locate(errs v1.FieldErrors) Errors {
	var list Errors
	for _, fe := range errs {
		if list = append(list, d.locate(fe)); list.full() {
			break
		}
	}
	return list.limited().sorted()
}

func (d Document) locate(fe v1.FieldError) Error {
	at := position{max(1, d.Line), 1}
	if d.root != nil {
		at = d.root.locate(fe.Path)
	}
	path := fe.Path
	if rest, ok := strings.CutPrefix(path, "spec.rules"); ok && d.bare {
		path = bareKey + rest
	}
	return Error{File: d.File, Line: at.line, Column: at.column, Path: shorten(path), Message: shorten(fe.Message)}
}

// Parse reads the manifests of one file: YAML, one or more documents, or one
// JSON text. The file's name is for error messages, and names the resource of
// a bare authz_rules file. The documents that are right are returned beside an
// Errors with all that is wrong in the others; a file with an error must not
// be applied in part without the user's knowing. Metadata that Gatehouse sets
// and status are accepted and dropped, except resourceVersion, so that what
// was exported can be applied.
func Parse(file string, data []byte) ([]Document, error) {
	text, bad := checkText(data)
	if bad != nil {
		bad.File = file
		return nil, Errors{*bad}
	}
	var docs []Document
	var errs Errors
	add := func(root *node, treeErrs Errors) {
		for _, e := range treeErrs {
			e.File = file
			errs = append(errs, e)
		}
		if root == nil || len(treeErrs) > 0 {
			return
		}
		d, docErrs := build(file, root, "")
		errs = append(errs, docErrs...)
		if len(docErrs) == 0 {
			docs = append(docs, d)
		}
	}
	if looksLikeJSON(file, text) {
		add(parseJSON([]byte(text)))
	} else {
		for _, p := range splitDocuments(text) {
			if errs.full() {
				break
			}
			add(parseYAML(p))
		}
	}
	errs = append(errs, duplicates(docs)...)
	return docs, errs.sorted().limited().asError()
}

// duplicates reports every resource that stands in the documents twice.
func duplicates(docs []Document) Errors {
	type key struct {
		kind v1.Kind
		name string
	}
	var errs Errors
	first := map[key]Document{}
	for _, d := range docs {
		k := key{d.Resource.Type().Kind, d.Resource.Meta().Name}
		before, twice := first[k]
		if !twice {
			first[k] = d
			continue
		}
		if errs.full() {
			break
		}
		at := before.root.locate("metadata.name")
		errs = append(errs, d.locate(v1.FieldError{
			Path:    "metadata.name",
			Message: string(k.kind) + " " + k.name + " stands at " + before.File + ":" + at.String() + " already",
		}))
	}
	return errs
}

// build makes the resource of one tree. want is the kind, or empty for a tree
// that says it itself.
func build(file string, root *node, want v1.Kind) (Document, Errors) {
	d := Document{File: file, Line: root.pos.line, root: root}
	fail := func(path, message string) (Document, Errors) {
		return Document{}, Errors{d.locate(v1.FieldError{Path: path, Message: message})}
	}
	if root.kind != mapNode {
		return fail("", "expected a manifest, which is a mapping with apiVersion, kind, metadata and spec; found "+root.kind.String())
	}
	if want == "" && root.find(bareKey) != nil && root.find("kind") == nil {
		d.root, d.bare = wrapBare(file, root), true
	}
	kind, path, message := kindOf(d.root, want)
	if message != "" {
		return fail(path, message)
	}
	r := v1.New(kind)
	c := newChecker()
	spec := withoutStatus(d.root)
	c.check(spec, reflect.TypeOf(r))
	if c.errs.full() {
		return Document{}, d.finish(c.errs)
	}
	var b bytes.Buffer
	spec.appendJSON(&b, c.skip)
	if err := json.Unmarshal(b.Bytes(), r); err != nil && len(c.errs) == 0 {
		return fail("", "cannot be read: "+kind.Slug()+" does not fit its schema")
	}
	r.Type().APIVersion, r.Type().Kind = v1.APIVersion, kind
	m := r.Meta()
	m.UID, m.Generation, m.CreationTimestamp, m.Manager = "", 0, nil, ""
	d.Resource, d.Notes = r, d.notes(r)
	r.Default()
	errs := d.finish(c.errs)
	for _, fe := range r.Validate() {
		// What could not be read is missing now; saying so would only confuse.
		if c.reported(fe.Path) {
			continue
		}
		if errs = append(errs, d.locate(fe)); errs.full() {
			break
		}
	}
	return d, errs
}

// finish gives the checker's errors the file's name and the paths that the
// writer sees.
func (d Document) finish(errs Errors) Errors {
	list := make(Errors, 0, len(errs))
	for _, e := range errs {
		shown := d.locate(v1.FieldError{Path: e.Path, Message: e.Message})
		e.File, e.Path = d.File, shown.Path
		list = append(list, e)
	}
	return list
}

func withoutStatus(root *node) *node {
	n := *root
	n.index = nil
	n.members = slices.DeleteFunc(slices.Clone(root.members), func(m member) bool { return m.key == "status" })
	return &n
}

// kindOf checks apiVersion and kind, the two fields by which the others are
// known. It returns the path and text of an error, where there is one.
func kindOf(root *node, want v1.Kind) (kind v1.Kind, path, message string) {
	k, version := root.find("kind"), root.find("apiVersion")
	switch {
	case version == nil && want == "":
		return "", "apiVersion", "is required: " + v1.APIVersion
	case version != nil && (version.kind != stringNode || version.text != v1.APIVersion):
		return "", "apiVersion", "must be " + v1.APIVersion
	case k == nil && want == "":
		return "", "kind", "is required: one of " + kindNames()
	case k == nil:
		return want, "", ""
	case k.kind != stringNode:
		return "", "kind", "expected a string, found " + k.kind.String()
	case want != "" && v1.Kind(k.text) != want:
		return "", "kind", "must be " + string(want)
	}
	if v1.New(v1.Kind(k.text)) == nil {
		var names []string
		for _, known := range v1.Kinds() {
			names = append(names, string(known))
		}
		hint := suggest(k.text, names)
		if hint == "" {
			hint = "; use one of " + kindNames()
		}
		return "", "kind", "is not a kind that this version knows" + hint
	}
	return v1.Kind(k.text), "", ""
}

func kindNames() string {
	var names []string
	for _, k := range v1.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// bareKey is the key of a file that holds nothing but authorization rules.
const bareKey = "authz_rules"

// wrapBare makes a whole manifest of a bare authz_rules file. Other keys stay,
// so that they are reported.
func wrapBare(file string, root *node) *node {
	m := root.member(bareKey)
	scalar := func(s string) *node { return &node{kind: stringNode, pos: m.pos, text: s} }
	mapping := func(key string, value *node) *node {
		return &node{kind: mapNode, pos: m.pos, members: []member{{key: key, pos: m.pos, value: value}}}
	}
	members := []member{
		{key: "apiVersion", pos: m.pos, value: scalar(v1.APIVersion)},
		{key: "kind", pos: m.pos, value: scalar(string(v1.KindAuthzRules))},
	}
	for _, other := range root.members {
		if other.key != bareKey && other.key != "apiVersion" {
			members = append(members, other)
		}
	}
	if root.find("metadata") == nil {
		members = append(members, member{key: "metadata", pos: m.pos, value: mapping("name", scalar(bareName(file)))})
	}
	if root.find("spec") == nil {
		members = append(members, member{key: "spec", pos: m.pos, value: mapping("rules", m.value)})
	}
	return &node{kind: mapNode, pos: root.pos, members: members}
}

// bareName makes a resource's name of a file's.
func bareName(file string) string {
	base := filepath.Base(filepath.ToSlash(file))
	base = strings.ToLower(strings.TrimSuffix(base, filepath.Ext(base)))
	if file == "" || file == "-" || file == stdinName {
		base = ""
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, base)
	name = strings.Trim(name, "-")
	if len(name) > 63 {
		name = strings.Trim(name[:63], "-")
	}
	if name == "" {
		return "authz-rules"
	}
	return name
}

// notes says what a short form has been turned into, where that matters.
func (d Document) notes(r v1.Resource) []string {
	p, ok := r.(*v1.IdentityProvider)
	if !ok || p.Spec.Config == nil || len(p.Spec.Audiences) > 0 || len(p.Spec.Config.Audience) > 0 || p.Spec.InsecureSkipAudience {
		return nil
	}
	return []string{d.locate(v1.FieldError{
		Path:    "spec.config",
		Message: "no audience is given, so insecureSkipAudience: true is set: tokens made for any audience are accepted",
	}).Error()}
}
