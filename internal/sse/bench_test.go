package sse

import (
	"fmt"
	"testing"
)

// BenchmarkSplitter is the events of one answer, each in a chunk of its own as
// providers send them, and their data read.
func BenchmarkSplitter(b *testing.B) {
	const events = 50
	chunks, size := make([][]byte, events), 0
	for i := range chunks {
		chunks[i] = fmt.Appendf(nil, `data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word %d"}}]}`+"\n\n", i)
		size += len(chunks[i])
	}
	s := &Splitter{}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		s.Reset()
		n := 0
		for _, c := range chunks {
			event, _, err := s.Next(c)
			if err != nil {
				b.Fatal(err)
			}
			if _, _, ok := Data(event); ok {
				n++
			}
		}
		if n != events {
			b.Fatalf("%d events", n)
		}
	}
}
