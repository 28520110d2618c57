package settings

import (
	"net/netip"
	"reflect"
	"strings"
	"time"
	"unicode"
)

// Field is one setting as it can be written.
type Field struct {
	// Name is the dotted name: server.externalURL.
	Name string
	// Env is the environment variable: GATEHOUSE_SERVER_EXTERNAL_URL.
	Env string
	// Flag is the flag without its dashes: server-external-url.
	Flag string
	// Type is text, word, list, switch, duration or size.
	Type string
	// Words are the only values of a word.
	Words []string
	// Default is the value where none is given; DevDefault the one under dev.
	Default, DevDefault string
	// Shown describes a default that is not a value.
	Shown string
	// Doc says what it is for.
	Doc string

	check, limits string
	secret        bool
	index         []int
}

// Fields lists every setting in the order of its declaration.
func Fields() []Field { return walk(reflect.TypeFor[Settings](), "", nil) }

func walk(t reflect.Type, prefix string, index []int) []Field {
	var list []Field
	for f := range t.Fields() {
		part := f.Tag.Get("name")
		if part == "" {
			continue
		}
		at := append(append([]int{}, index...), f.Index...)
		if f.Type.Kind() == reflect.Struct {
			list = append(list, walk(f.Type, prefix+part+".", at)...)
			continue
		}
		name := prefix + part
		field := Field{
			Name: name, Env: "GATEHOUSE_" + strings.ToUpper(split(name, '_')), Flag: split(name, '-'),
			Type: typeName(f.Type), Words: strings.Fields(f.Tag.Get("words")),
			Default: f.Tag.Get("default"), DevDefault: f.Tag.Get("dev"), Shown: f.Tag.Get("shown"), Doc: f.Tag.Get("doc"),
			check: f.Tag.Get("check"), limits: f.Tag.Get("range"), secret: f.Tag.Get("secret") == "true", index: at,
		}
		if len(field.Words) > 0 {
			field.Type = "word"
		}
		list = append(list, field)
	}
	return list
}

func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[bool]():
		return "switch"
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[[]string](), reflect.TypeFor[[]netip.Prefix]():
		return "list"
	default:
		return "text"
	}
}

// split turns server.externalURL into server-external-url: a separator for each
// dot and where a capital letter begins a word; a run of capitals is one word.
func split(name string, sep rune) string {
	var b strings.Builder
	var before rune
	for _, r := range name {
		switch {
		case r == '.':
			b.WriteRune(sep)
		case unicode.IsUpper(r):
			if unicode.IsLower(before) {
				b.WriteRune(sep)
			}
			b.WriteRune(unicode.ToLower(r))
		default:
			b.WriteRune(r)
		}
		before = r
	}
	return b.String()
}
