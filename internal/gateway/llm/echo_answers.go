package llm

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"math"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/sse"
	"github.com/tidwall/gjson"
)

// echoAnswer makes the answers of the echo provider to one request.
type echoAnswer struct {
	endpoint Endpoint
	model    string
	request  []byte
}

func (a *echoAnswer) get(path string) gjson.Result { return gjson.GetBytes(a.request, path) }

// text returns what to echo: the last user's message, prompt or input.
func (a *echoAnswer) text() string {
	switch a.endpoint {
	case ChatCompletions, Messages, CountTokens:
		return lastUser(a.get("messages"))
	case Responses:
		if in := a.get("input"); in.IsArray() {
			return lastUser(in)
		}
		return a.get("input").String()
	case Completions:
		return first(a.get("prompt"))
	default:
		return first(a.get("input"))
	}
}

func first(v gjson.Result) string {
	if v.IsArray() {
		return v.Get("0").String()
	}
	return v.String()
}

func lastUser(messages gjson.Result) string {
	text := ""
	messages.ForEach(func(_, m gjson.Result) bool {
		if role := m.Get("role").Str; role == "user" || role == "" {
			text = contentText(m.Get("content"))
		}
		return true
	})
	return text
}

func contentText(content gjson.Result) string {
	if !content.IsArray() {
		return content.String()
	}
	var parts []string
	content.ForEach(func(_, part gjson.Result) bool {
		if t := part.Get("text"); t.Exists() {
			parts = append(parts, t.String())
		}
		return true
	})
	return strings.Join(parts, " ")
}

// inputTokens counts the words of everything that was said.
func (a *echoAnswer) inputTokens() int {
	total := 0
	count := func(list gjson.Result) {
		list.ForEach(func(_, m gjson.Result) bool {
			total += len(strings.Fields(contentText(m.Get("content"))))
			return true
		})
	}
	switch a.endpoint {
	case ChatCompletions, Messages, CountTokens:
		count(a.get("messages"))
		total += len(strings.Fields(contentText(a.get("system"))))
	case Responses:
		if in := a.get("input"); in.IsArray() {
			count(in)
			return total
		}
		total = len(strings.Fields(a.text()))
	default:
		total = len(strings.Fields(a.text()))
	}
	return total
}

// words splits a text so that its pieces joined are the text.
func words(text string) []string { return strings.SplitAfter(text, " ") }

func chatUsage(in, out int) object {
	return object{"prompt_tokens": in, "completion_tokens": out, "total_tokens": in + out}
}

func inOutUsage(in, out int) object {
	return object{"input_tokens": in, "output_tokens": out}
}

// whole makes the answer that is not a stream.
func (a *echoAnswer) whole() (contentType string, body []byte) {
	const js = "application/json"
	text := a.text()
	in, out := a.inputTokens(), len(strings.Fields(text))
	switch a.endpoint {
	case ChatCompletions:
		choice := object{"index": 0, "message": object{"role": "assistant", "content": text, "refusal": nil}, "logprobs": nil, "finish_reason": "stop"}
		return js, object{"id": "chatcmpl-echo", "object": "chat.completion", "created": 0, "model": a.model, "choices": []object{choice}, "usage": chatUsage(in, out)}.bytes()
	case Completions:
		choice := object{"index": 0, "text": text, "logprobs": nil, "finish_reason": "stop"}
		return js, object{"id": "cmpl-echo", "object": "text_completion", "created": 0, "model": a.model, "choices": []object{choice}, "usage": chatUsage(in, out)}.bytes()
	case Responses:
		return js, a.response("completed", text, in, out).bytes()
	case Embeddings:
		return js, a.embeddings(in)
	case Moderations:
		result := object{"flagged": false, "categories": object{}, "category_scores": object{}, "category_applied_input_types": object{}}
		return js, object{"id": "modr-echo", "model": a.model, "results": []object{result}}.bytes()
	case Rerank:
		return js, a.rerank()
	case ImageGenerations, ImageEdits:
		return js, object{"created": 0, "data": []object{{"b64_json": onePixel}}}.bytes()
	case AudioSpeech:
		return "audio/wav", silence()
	case AudioTranscriptions, AudioTranslations:
		return js, object{"text": "echo"}.bytes()
	case Messages:
		block := object{"type": "text", "text": text}
		return js, object{"id": "msg_echo", "type": "message", "role": "assistant", "model": a.model, "content": []object{block}, "stop_reason": "end_turn", "stop_sequence": nil, "usage": inOutUsage(in, out)}.bytes()
	case CountTokens:
		return js, object{"input_tokens": in}.bytes()
	default:
		return js, object{}.bytes()
	}
}

// stream makes the events of a stream; nil where none was asked for, or the
// endpoint has none.
func (a *echoAnswer) stream() [][]byte {
	if !a.get("stream").Bool() {
		return nil
	}
	switch a.endpoint {
	case ChatCompletions, Completions:
		return a.chunks()
	case Responses:
		return a.responseEvents()
	case Messages:
		return a.messageEvents()
	default:
		return nil
	}
}

func (a *echoAnswer) chunks() [][]byte {
	text := a.text()
	chat := a.endpoint == ChatCompletions
	id, kind := "cmpl-echo", "text_completion"
	if chat {
		id, kind = "chatcmpl-echo", "chat.completion.chunk"
	}
	event := func(o object) []byte {
		o["id"], o["object"], o["created"], o["model"] = id, kind, 0, a.model
		return sse.AppendEvent(nil, "", o.bytes())
	}
	choice := func(text string, finish any) object {
		c := object{"index": 0, "finish_reason": finish, "logprobs": nil, "text": text}
		if chat {
			delete(c, "text")
			c["delta"] = object{}
			if finish == nil {
				c["delta"] = object{"role": "assistant", "content": text}
			}
		}
		return object{"choices": []object{c}}
	}
	var events [][]byte
	for _, w := range words(text) {
		events = append(events, event(choice(w, nil)))
	}
	events = append(events, event(choice("", "stop")))
	if a.get("stream_options.include_usage").Bool() {
		events = append(events, event(object{"choices": []object{}, "usage": chatUsage(a.inputTokens(), len(strings.Fields(text)))}))
	}
	return append(events, sse.AppendEvent(nil, "", []byte("[DONE]")))
}

// response is the object of the Responses API.
func (a *echoAnswer) response(status, text string, in, out int) object {
	r := object{
		"id": "resp_echo", "object": "response", "created_at": 0, "status": status, "model": a.model, "output": []object{},
		"error": nil, "incomplete_details": nil, "instructions": nil, "metadata": object{}, "parallel_tool_calls": true,
		"tool_choice": "auto", "tools": []object{}, "temperature": 1, "top_p": 1,
	}
	if status == "completed" {
		r["output"] = []object{echoItem(status, text)}
		r["usage"] = object{
			"input_tokens": in, "output_tokens": out, "total_tokens": in + out,
			"input_tokens_details": object{"cached_tokens": 0}, "output_tokens_details": object{"reasoning_tokens": 0},
		}
	}
	return r
}

func echoItem(status, text string) object {
	item := object{"type": "message", "id": "msg_echo", "status": status, "role": "assistant", "content": []object{}}
	if status == "completed" {
		item["content"] = []object{{"type": "output_text", "text": text, "annotations": []object{}}}
	}
	return item
}

func (a *echoAnswer) responseEvents() [][]byte {
	text := a.text()
	in, out := a.inputTokens(), len(strings.Fields(text))
	var events [][]byte
	add := func(kind string, o object) {
		o["type"], o["sequence_number"] = kind, len(events)
		events = append(events, sse.AppendEvent(nil, kind, o.bytes()))
	}
	at := func(o object) object {
		o["item_id"], o["output_index"], o["content_index"] = "msg_echo", 0, 0
		return o
	}
	part := func(text string) object {
		return object{"type": "output_text", "text": text, "annotations": []object{}}
	}
	add("response.created", object{"response": a.response("in_progress", "", 0, 0)})
	add("response.output_item.added", object{"output_index": 0, "item": echoItem("in_progress", "")})
	add("response.content_part.added", at(object{"part": part("")}))
	for _, w := range words(text) {
		add("response.output_text.delta", at(object{"delta": w, "logprobs": []object{}}))
	}
	add("response.output_text.done", at(object{"text": text, "logprobs": []object{}}))
	add("response.content_part.done", at(object{"part": part(text)}))
	add("response.output_item.done", object{"output_index": 0, "item": echoItem("completed", text)})
	add("response.completed", object{"response": a.response("completed", text, in, out)})
	return events
}

func (a *echoAnswer) messageEvents() [][]byte {
	text := a.text()
	in, out := a.inputTokens(), len(strings.Fields(text))
	var events [][]byte
	add := func(kind string, o object) {
		o["type"] = kind
		events = append(events, sse.AppendEvent(nil, kind, o.bytes()))
	}
	add("message_start", object{"message": object{
		"id": "msg_echo", "type": "message", "role": "assistant", "model": a.model, "content": []object{},
		"stop_reason": nil, "stop_sequence": nil, "usage": inOutUsage(in, 0),
	}})
	add("content_block_start", object{"index": 0, "content_block": object{"type": "text", "text": ""}})
	for _, w := range words(text) {
		add("content_block_delta", object{"index": 0, "delta": object{"type": "text_delta", "text": w}})
	}
	add("content_block_stop", object{"index": 0})
	add("message_delta", object{"delta": object{"stop_reason": "end_turn", "stop_sequence": nil}, "usage": object{"output_tokens": out}})
	add("message_stop", object{})
	return events
}

const (
	echoDimensions    = 16
	maxEchoDimensions = 4096
)

func (a *echoAnswer) embeddings(tokens int) []byte {
	dims := int(a.get("dimensions").Int())
	if dims <= 0 || dims > maxEchoDimensions {
		dims = echoDimensions
	}
	var data []object
	add := func(text string) {
		vector := echoVector(text, dims)
		item := object{"object": "embedding", "index": len(data), "embedding": vector}
		if a.get("encoding_format").Str == "base64" {
			raw := make([]byte, 0, 4*dims)
			for _, f := range vector {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
			}
			item["embedding"] = base64.StdEncoding.EncodeToString(raw)
		}
		data = append(data, item)
	}
	switch in := a.get("input"); {
	case in.IsArray() && in.Get("0").Type != gjson.Number:
		in.ForEach(func(_, v gjson.Result) bool {
			add(v.Raw)
			return true
		})
	default:
		add(in.Raw)
	}
	return object{"object": "list", "model": a.model, "data": data, "usage": object{"prompt_tokens": tokens, "total_tokens": tokens}}.bytes()
}

// echoVector is a unit vector that depends on the text alone.
func echoVector(text string, dims int) []float32 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(text))
	seed, sum := h.Sum64(), 0.0
	v := make([]float32, dims)
	for i := range v {
		seed = seed*6364136223846793005 + 1442695040888963407
		v[i] = float32(int32(seed>>32)) / math.MaxInt32
		sum += float64(v[i]) * float64(v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

func (a *echoAnswer) rerank() []byte {
	var results []object
	a.get("documents").ForEach(func(_, _ gjson.Result) bool {
		results = append(results, object{"index": len(results), "relevance_score": 1 / float64(len(results)+1)})
		return true
	})
	return object{"id": "rerank-echo", "model": a.model, "results": results, "usage": object{"total_tokens": 0}}.bytes()
}

// onePixel is a transparent PNG of one pixel.
const onePixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="

// silence is a WAV file of 10 ms: mono, 8 kHz, 8 bits.
func silence() []byte {
	const samples = 80
	b := append([]byte("RIFF"), 0, 0, 0, 0)
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	b = binary.LittleEndian.AppendUint16(b, 1) // PCM
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint32(b, 8000)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 8)
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, samples)
	for range samples {
		b = append(b, 128)
	}
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-8))
	return b
}
