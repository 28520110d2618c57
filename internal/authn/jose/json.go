package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const maxDepth = 32

// decodeObject reads one JSON object strictly: valid UTF-8, no member twice at any level (after unescaping: RFC 7515
// section 4 and RFC 7519 section 4 leave a choice, and two readers choosing differently is an attack), no trailing
// data, no string that a decoder had to repair, numbers kept as they were written.
func decodeObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	if !json.Valid(data) {
		return nil, errors.New("not JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	first, err := dec.Token()
	if err != nil {
		return nil, errors.New("not JSON")
	}
	if first != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	object, err := members(dec, 1)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("data after the JSON object")
	}
	return object, nil
}

func members(dec *json.Decoder, depth int) (map[string]any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	object := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, errors.New("not JSON")
		}
		name, ok := token.(string)
		if !ok || strings.ContainsRune(name, utf8.RuneError) {
			return nil, errors.New("a member name is not valid Unicode")
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("member %.40q stands twice", name)
		}
		if object[name], err = value(dec, depth); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return object, err
}

func value(dec *json.Decoder, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, errors.New("not JSON")
	}
	switch v := token.(type) {
	case json.Delim:
		if v == '{' {
			return members(dec, depth+1)
		}
		return elements(dec, depth+1)
	case string:
		// encoding/json puts U+FFFD for half a surrogate pair, which would make two different subjects one.
		if strings.ContainsRune(v, utf8.RuneError) {
			return nil, errors.New("a string is not valid Unicode")
		}
	}
	return token, nil
}

func elements(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	list := []any{}
	for dec.More() {
		v, err := value(dec, depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := dec.Token()
	return list, err
}
