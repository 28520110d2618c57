package llm

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"
)

// freeTool reports whether a tool is run by the caller, or reads nothing but
// the public web. The list is closed: a type that is not in it needs
// provider-account:hosted-tools.
func freeTool(d Dialect, kind string) bool {
	switch kind {
	case "function", "custom", "local_shell", "apply_patch", "image_generation":
		return true
	}
	if strings.HasPrefix(kind, "web_search") {
		return true
	}
	if d == Anthropic { // run by the caller, in spite of their types
		for _, own := range []string{"bash_", "text_editor_", "computer_", "memory_"} {
			if strings.HasPrefix(kind, own) {
				return true
			}
		}
	}
	return false
}

// mayRefer reports whether an endpoint's body can refer to something stored at
// the provider by another call.
func mayRefer(e Endpoint) bool {
	switch e {
	case ChatCompletions, Responses, Messages, CountTokens, ImageGenerations:
		return true
	default:
		return false
	}
}

// storedReference finds the first member, at any depth, that refers to
// something stored under the account's key, and returns its documented name.
// The body must have passed jsonpeek.Scan. Its cost grows with the number of
// colons, and for a body that may refer with the number of strings.
func storedReference(d Dialect, body []byte) string {
	if !mayNameReference(body) {
		return ""
	}
	return walkReferences(d, body)
}

// mayNameReference is false only where walkReferences finds nothing: it looks
// at whatever is written like a member, be it one or only text. No member that
// matters can pass it, since a colon stands behind each.
func mayNameReference(body []byte) bool {
	for i := 0; ; i++ {
		colon := bytes.IndexByte(body[i:], ':')
		if colon < 0 {
			return false
		}
		i += colon
		end := i - 1
		for end >= 0 && space(body, end) != end {
			end--
		}
		if end < 0 || body[end] != '"' {
			continue
		}
		switch name := nameBefore(body, end); name {
		case "", "input": // which alone refers to nothing
		case "audio":
			return true
		default:
			if value := space(body, i+1); value < len(body) && refers(name, body[value:]) {
				return true
			}
		}
	}
}

// longestName bounds the name of a reference: 20 letters, six bytes each where
// they are escaped.
const longestName = 20 * 6

// nameBefore is memberName of what stands between the quote at end and the one
// before it. A name that matters has no quote in it.
func nameBefore(body []byte, end int) string {
	from := bytes.LastIndexByte(body[max(0, end-longestName-1):end], '"')
	if from < 0 {
		return ""
	}
	from += max(0, end-longestName-1)
	return memberName(body[from+1 : end])
}

// walkReferences is storedReference for any body: it tells members from text.
func walkReferences(d Dialect, body []byte) string {
	skip := 0 // depth of the value of a caller's own that is being skipped; 0 for none
	depth := 0
	for i := 0; i < len(body); {
		switch body[i] {
		case '{', '[':
			depth++
			i++
		case '}', ']':
			if depth == skip {
				skip = 0
			}
			depth--
			i++
		case '"':
			start := i + 1
			end := stringEnd(body, start)
			i = end + 1
			value := nextValue(body, i)
			if value < 0 || skip != 0 {
				continue
			}
			switch name := memberName(body[start:end]); name {
			case "":
			case "input":
				// The arguments of the caller's own tool, in a tool_use block.
				if d == Anthropic && body[value] == '{' {
					skip = depth + 1
				}
			default:
				if refers(name, body[value:]) {
					return name
				}
			}
		default:
			i++
		}
	}
	return ""
}

// stringEnd finds the quote that closes a string.
func stringEnd(body []byte, i int) int {
	for {
		q := bytes.IndexByte(body[i:], '"')
		if q < 0 {
			return len(body) - 1
		}
		i += q
		slashes := 0
		for k := i - 1; k >= 0 && body[k] == '\\'; k-- {
			slashes++
		}
		if slashes%2 == 0 {
			return i
		}
		i++
	}
}

// nextValue returns where the value of a member begins, if the string that
// ended before i is a member's name; else -1.
func nextValue(body []byte, i int) int {
	i = space(body, i)
	if i >= len(body) || body[i] != ':' {
		return -1
	}
	if i = space(body, i+1); i >= len(body) {
		return -1
	}
	return i
}

func space(body []byte, i int) int {
	for i < len(body) && (body[i] == ' ' || body[i] == '\n' || body[i] == '\r' || body[i] == '\t') {
		i++
	}
	return i
}

// names that refer to something stored, and two whose values must be looked at.
var references = []string{
	"file_id", "file_ids", "vector_store_id", "vector_store_ids", "container_id", "connector_id", "previous_response_id",
	"type", "audio", "input",
}

// memberName returns the documented spelling of a name that matters, whatever
// its case and its escapes; "" for one that does not.
func memberName(raw []byte) string {
	exact := true
	for _, c := range raw {
		if c == '\\' || c >= 0x80 {
			exact = false
			break
		}
	}
	if exact && (len(raw) < 4 || len(raw) > 20) {
		return ""
	}
	name := raw
	if !exact {
		name = []byte(gjson.Parse(`"` + string(raw) + `"`).Str)
	}
	for _, want := range references {
		if (!exact || len(name) == len(want)) && bytes.EqualFold(name, []byte(want)) {
			return want
		}
	}
	return ""
}

// refers judges the value of a member that memberName named.
func refers(name string, value []byte) bool {
	switch name {
	case "type":
		return value[0] == '"' && gjson.ParseBytes(value[:min(len(value), 128)]).Str == "item_reference"
	case "audio": // {"id": …}: an earlier answer of the same account
		return value[0] == '{' && gjson.GetBytes(value, "id").Exists()
	default: // a schema may have a property of that name, whose value is an object
		return value[0] == '"' || value[0] == '['
	}
}
