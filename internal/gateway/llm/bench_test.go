package llm

import (
	"strings"
	"testing"
)

const answer = `{"id":"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012","object":"chat.completion","created":1732272000,"model":"gpt-4o-mini-2024-07-18",` +
	`"choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I help you today?","refusal":null},"logprobs":null,"finish_reason":"stop"}],` +
	`"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},` +
	`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"system_fingerprint":"fp_0705bf87c0"}`

func BenchmarkUsageOf(b *testing.B) {
	body := []byte(answer)
	b.ReportAllocs()
	for b.Loop() {
		if UsageOf(body).InputTokens != 19 {
			b.Fatal()
		}
	}
}

// BenchmarkPeek reads what decides of a request: a short chat, and 50 KB of
// prose, of turns and of text that a client wrote in ASCII.
func BenchmarkPeek(b *testing.B) {
	sentence := "The quick brown fox jumps over the lazy dog, and then it does so again. "
	for _, c := range []struct {
		name, turn string
		turns      int
	}{
		{"1k", strings.Repeat(sentence, 12), 1},
		{"prose50k", strings.Repeat(sentence, 700), 1},
		{"chat50k", strings.Repeat(sentence+`\n\"`, 7), 95},
		{"ascii50k", strings.Repeat(`\u4f60\u597d`, 4200), 1},
	} {
		body := []byte(`{"model":"openai/gpt-4o","messages":[` + strings.TrimSuffix(strings.Repeat(`{"role":"user","content":"`+c.turn+`"},`, c.turns), ",") + `],"stream":true,"max_tokens":100}`)
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if call, err := Peek(ChatCompletions, body); err != nil || call.Stored != "" {
					b.Fatal(err, call)
				}
			}
		})
	}
}
