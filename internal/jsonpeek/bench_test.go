package jsonpeek

import (
	"encoding/json"
	"strings"
	"testing"
)

var sentence = "The quick brown fox jumps over the lazy dog, and then it does so again. "

// bodies are the shapes that the gateway sees: one long prompt, a long chat
// with escapes, and text that the client wrote in ASCII.
func bodies() map[string][]byte {
	chat := func(n int, content string) []byte {
		msgs := strings.TrimSuffix(strings.Repeat(`{"role":"user","content":"`+content+`"},`, n), ",")
		return []byte(`{"model":"openai/gpt-4o","messages":[` + msgs + `],"stream":true,"stream_options":{"include_usage":true},"max_tokens":100}`)
	}
	return map[string][]byte{
		"small":       chat(1, "Say hello."),
		"prompt50k":   chat(1, strings.Repeat(sentence, 50<<10/len(sentence))),
		"chat50k":     chat(100, strings.Repeat(sentence+`\n`, 7)),
		"escaped50k":  chat(1, strings.Repeat(`\u4f60\u597d`, 50<<10/12)),
		"pretty50k":   []byte(strings.ReplaceAll(string(chat(900, "ok")), ",", ",\n    ")),
		"nonascii50k": chat(1, strings.Repeat("你好", 50<<10/6)),
	}
}

func BenchmarkScan(b *testing.B) {
	for name, body := range bodies() {
		b.Run(name, func(b *testing.B) {
			out := make([]Value, len(wanted))
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := Scan(body, wanted, out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodingJSONValid(b *testing.B) {
	for name, body := range bodies() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if !json.Valid(body) {
					b.Fatal()
				}
			}
		})
	}
}

func TestScanningAllocatesNothing(t *testing.T) {
	known := map[string]bool{"openai/gpt-4o": true}
	inner := []string{"include_usage"}
	names := append([]string{"max_tokens", "messages"}, wanted...)
	for name, body := range bodies() {
		allocs := testing.AllocsPerRun(20, func() {
			var out [6]Value
			var usage [1]Value
			if Scan(body, names, out[:]) != nil || Members(body, out[5], inner, usage[:]) != nil {
				t.Error("refused")
			}
			model, err := Text(body, out[2])
			on, _ := Boolean(body, out[3])
			n, _ := Int(body, out[0])
			if err != nil || !known[string(model)] || !on || n != 100 {
				t.Error("misread")
			}
			msgs := 0
			if Elements(body, out[1], func(Value) bool { msgs++; return true }) != nil || msgs == 0 {
				t.Error("no messages")
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

// A single escaped name is rare but honest; it is unescaped on the stack.
func TestAnEscapedNameAllocatesNothing(t *testing.T) {
	body := []byte(`{"mod\u0065l":"m","x\ty":1}`)
	if allocs := testing.AllocsPerRun(20, func() {
		var out [4]Value
		if Scan(body, wanted, out[:]) != nil || out[0].Kind != String {
			t.Error("misread")
		}
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
