package scim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	maxBody  = 1 << 20 // bytes
	maxDepth = 16      // levels; SCIM's own need six
)

// readObject reads a JSON object strictly: UTF-8, bounded depth, no member
// twice (names of attributes are compared without regard to case, RFC 7643,
// 2.1), nothing after it.
func readObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, bad(invalidSyntax, "the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := readValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, bad(invalidSyntax, "there is something after the JSON text")
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, bad(invalidSyntax, "the body must be a JSON object")
	}
	return o, nil
}

func readValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, bad(invalidSyntax, "the body is not JSON")
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth >= maxDepth {
		return nil, bad(invalidSyntax, "the body is nested more than %d levels deep", maxDepth)
	}
	if open == '[' {
		list := []any{}
		for d.More() {
			v, err := readValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, closed(d)
	}
	return readMembers(d, depth)
}

func readMembers(d *json.Decoder, depth int) (any, error) {
	object, seen := map[string]any{}, map[string]bool{}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, bad(invalidSyntax, "the body is not JSON")
		}
		name, _ := k.(string)
		if seen[fold(name)] {
			return nil, bad(invalidSyntax, "a member stands in an object twice")
		}
		seen[fold(name)] = true
		if object[name], err = readValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	return object, closed(d)
}

func closed(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return bad(invalidSyntax, "the body is not JSON")
	}
	return nil
}

// fold is for comparing without regard to case: upper, then lower, so that the
// letters are one that strings.EqualFold takes for one.
func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// member finds a member by name without regard to case; there is one at most.
func member(o map[string]any, name string) (any, bool) {
	if v, ok := o[name]; ok {
		return v, true
	}
	for k, v := range o {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}
