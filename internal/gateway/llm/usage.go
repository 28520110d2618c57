package llm

import (
	"bytes"
	"unsafe"

	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/sse"
	"github.com/tidwall/gjson"
)

var usageWord = []byte(`"usage"`)

// UsageOf reads the usage out of a whole JSON answer.
func UsageOf(body []byte) record.Usage {
	var u record.Usage
	if bytes.Contains(body, usageWord) {
		readUsage(&u, gjson.Get(text(body), "usage"))
	}
	return u
}

// text looks at bytes as a string, for as long as they do not change: nothing
// of it is kept but numbers.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Meter reads the usage out of an event stream that passes. The zero Meter is
// ready.
type Meter struct {
	Usage    record.Usage
	splitter sse.Splitter
}

// See looks at the bytes that passed.
func (m *Meter) See(chunk []byte) {
	for len(chunk) > 0 {
		event, n, _ := m.splitter.Next(chunk) // an event that is too long is passed on unread
		if event != nil {
			m.event(event)
		}
		chunk = chunk[n:]
	}
}

// End looks at what came after the last whole event.
func (m *Meter) End() {
	if rest := m.splitter.Rest(); rest != nil {
		m.event(rest)
	}
}

// event reads the three places where usage stands: at the top (OpenAI's last
// chunk, Anthropic's message_delta), in response (Responses) and in message
// (Anthropic's message_start). Numbers are totals so far; the last ones count.
func (m *Meter) event(event []byte) {
	if !bytes.Contains(event, usageWord) {
		return
	}
	data, _, ok := sse.Data(event)
	if !ok || len(data) == 0 || data[0] != '{' {
		return
	}
	for _, path := range []string{"usage", "response.usage", "message.usage"} {
		if v := gjson.Get(text(data), path); v.IsObject() {
			readUsage(&m.Usage, v)
			return
		}
	}
}

// readUsage knows both families' names. Anthropic counts cached tokens beside
// input_tokens, OpenAI within them; InputTokens holds all of them.
func readUsage(u *record.Usage, v gjson.Result) {
	if !v.IsObject() {
		return
	}
	var created, read int64
	beside := false
	v.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "prompt_tokens", "input_tokens":
			u.InputTokens = value.Int()
		case "completion_tokens", "output_tokens":
			u.OutputTokens = value.Int()
		case "prompt_tokens_details", "input_tokens_details":
			u.CachedTokens = value.Get("cached_tokens").Int()
		case "cache_read_input_tokens":
			read, beside = value.Int(), true
		case "cache_creation_input_tokens":
			created, beside = value.Int(), true
		}
		return true
	})
	if beside && v.Get("input_tokens").Exists() {
		u.InputTokens += read + created
		u.CachedTokens = read
	}
}
