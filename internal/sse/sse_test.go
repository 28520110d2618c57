package sse

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const tooLong = "<too long>"

// split feeds the stream to a Splitter in chunks that end at the cuts and
// gives its events. Every byte must be accounted for, in order.
func split(t *testing.T, s *Splitter, stream string, cuts ...int) (events []string, rest string) {
	t.Helper()
	passed, from := "", 0
	for _, to := range append(cuts, len(stream)) {
		chunk := []byte(stream[from:to])
		from = to
		for len(chunk) > 0 {
			event, n, err := s.Next(chunk)
			if n <= 0 || n > len(chunk) {
				t.Fatalf("Next dealt with %d of %d bytes", n, len(chunk))
			}
			passed += string(chunk[:n])
			switch {
			case errors.Is(err, ErrTooLong):
				events = append(events, tooLong)
			case event != nil:
				events = append(events, string(event))
			case n != len(chunk):
				t.Fatalf("Next stopped at %d of %d without an event", n, len(chunk))
			}
			clear(chunk[:n]) // a kept part must be a copy
			chunk = chunk[n:]
		}
	}
	if passed != stream {
		t.Fatalf("passed on %q of %q", passed, stream)
	}
	return events, string(s.Rest())
}

func TestSplitterFindsTheSameEventsHoweverTheStreamIsCut(t *testing.T) {
	tests := []struct {
		name, stream string
		want         []string
		rest         string
	}{
		{"LF", "data: a\n\ndata: b\n\n", []string{"data: a\n", "data: b\n"}, ""},
		{"CRLF", "data: a\r\n\r\ndata: b\r\n\r\n", []string{"data: a\r\n", "data: b\r\n"}, ""},
		{"CR", "data: a\r\rdata: b\r\r", []string{"data: a\r", "data: b\r"}, ""},
		{"mixed", "a\r\n\nb\n\rc\r\r\nd\n\r\ne\n", []string{"a\r\n", "b\n", "c\r", "d\n"}, "e\n"},
		{"several lines", "event: x\ndata: a\ndata: b\n\n", []string{"event: x\ndata: a\ndata: b\n"}, ""},
		{"byte order mark", "\ufeffdata: a\n\n", []string{"data: a\n"}, ""},
		{"byte order mark alone", "\ufeff", nil, ""},
		{"byte order mark, then empty lines", "\ufeff\n\n\r\ndata: a\n\n", []string{"data: a\n"}, ""},
		{"second mark is text", "\ufeff\ufeffa\n\n", []string{"\ufeffa\n"}, ""},
		{"mark in a later event is text", "a\n\n\ufeffb\n\n", []string{"a\n", "\ufeffb\n"}, ""},
		{"beginning of a mark is text", "\xef\xbbdata\n\n", []string{"\xef\xbbdata\n"}, ""},
		{"beginning of a mark, then a line end", "\xef\n\n", []string{"\xef\n"}, ""},
		{"comment", ": ping\n\n", []string{": ping\n"}, ""},
		{"empty lines make no events", "\n\r\r\n\n", nil, ""},
		{"empty lines between", "a\n\n\n\nb\n\n", []string{"a\n", "b\n"}, ""},
		{"unfinished line", "a\n\nb", []string{"a\n"}, "b"},
		{"unfinished event", "a\n\nb\r\n", []string{"a\n"}, "b\r\n"},
		{"long line", "data: " + strings.Repeat("x", 50) + "\n\n", []string{"data: " + strings.Repeat("x", 50) + "\n"}, ""},
		{"vertical tab and form feed are text", "a\vb\fc\n\n", []string{"a\vb\fc\n"}, ""},
		{"high bytes are text", "data: \x8a\x8d\u2028\u0085\n\n", []string{"data: \x8a\x8d\u2028\u0085\n"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check := func(cuts ...int) {
				t.Helper()
				events, rest := split(t, NewSplitter(0), tt.stream, cuts...)
				if d := cmp.Diff(tt.want, events); d != "" || rest != tt.rest {
					t.Fatalf("cut at %v: rest %q, events %s", cuts, rest, d)
				}
			}
			check()
			every := []int{}
			for i := range len(tt.stream) {
				check(i)
				every = append(every, i)
				for j := i; j < len(tt.stream); j++ {
					check(i, j)
				}
			}
			check(every...)
		})
	}
}

// An event ends with its CR: waiting for an LF would hold it back until the
// next one comes.
func TestSplitterDoesNotWaitForTheLineFeedAfterACarriageReturn(t *testing.T) {
	var s Splitter
	event, n, err := s.Next([]byte("data: a\r\n\r"))
	if string(event) != "data: a\r\n" || n != 10 || err != nil {
		t.Fatalf("%q, %d, %v", event, n, err)
	}
	if event, n, err = s.Next([]byte("\n")); event != nil || n != 1 || err != nil {
		t.Errorf("the late LF gave %q, %d, %v", event, n, err)
	}
	// The LF of a CRLF that came whole is passed on with its event.
	if _, n, _ := s.Next([]byte("a\r\n\r\nb")); n != 5 {
		t.Errorf("dealt with %d bytes", n)
	}
}

func TestSecurityAnEventThatIsTooLongIsNotKept(t *testing.T) {
	stream := "data: ok\n\ndata: 789012\n\ndata: ok\r\n\r\n" + strings.Repeat("x", 40) + "\n" + strings.Repeat("y", 40) + "\n\nz\n\n" + strings.Repeat("w", 14)
	want := []string{"data: ok\n", tooLong, "data: ok\r\n", tooLong, "z\n", tooLong}
	for i := range len(stream) {
		for j := i; j < len(stream); j++ {
			s := NewSplitter(12)
			events, rest := split(t, s, stream, i, j)
			if d := cmp.Diff(want, events); d != "" || rest != "" {
				t.Fatalf("cut at %d, %d: rest %q, %s", i, j, rest, d)
			}
			if cap(s.buf) > 64 {
				t.Fatalf("kept %d bytes", cap(s.buf))
			}
		}
	}
	events, _ := split(t, NewSplitter(13), "data: 789012\n\n", 3)
	if d := cmp.Diff([]string{"data: 789012\n"}, events); d != "" {
		t.Error("an event of just the limit:", d)
	}
}

func TestSecurityTheDefaultLimitHoldsForTheZeroSplitter(t *testing.T) {
	var s Splitter
	var err error
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	for range DefaultMaxEvent / len(chunk) {
		if _, _, err = s.Next(chunk); err != nil {
			t.Fatal("too early:", err)
		}
	}
	if _, _, err = s.Next([]byte("y")); !errors.Is(err, ErrTooLong) {
		t.Errorf("a byte more than the limit: %v", err)
	}
}

func TestResetForgetsTheStream(t *testing.T) {
	s := NewSplitter(10)
	for _, before := range []string{"data: half", "a\r", "a\n\n", "\ufeff", "\xef", strings.Repeat("x", 11)} {
		s.Reset()
		if _, _, err := s.Next([]byte(before)); err != nil && len(before) <= 10 {
			t.Fatal(err)
		}
		s.Reset()
		events, rest := split(t, s, "\ufeff\nb\n\n0123456789a\n\n")
		if d := cmp.Diff([]string{"b\n", tooLong}, events); d != "" || rest != "" {
			t.Errorf("after %q: rest %q, %s", before, rest, d)
		}
	}
	big := NewSplitter(1 << 20)
	if _, _, err := big.Next(make([]byte, 1<<19)); err != nil {
		t.Fatal(err)
	}
	if big.Reset(); cap(big.buf) > keptBuffer {
		t.Errorf("kept %d bytes", cap(big.buf))
	}
}

func TestDataReadsOneEvent(t *testing.T) {
	tests := []struct {
		name, event  string
		data, event2 string
		ok           bool
	}{
		{"plain", "data: {\"a\":1}\n", `{"a":1}`, "", true},
		{"named", "event: message_start\ndata: x\n", "x", "message_start", true},
		{"name after data", "data: x\nevent: late\n", "x", "late", true},
		{"last name counts", "event: a\nevent: b\ndata: x\n", "x", "b", true},
		{"no space", "data:x\n", "x", "", true},
		{"one space only is taken", "data:  x \n", " x ", "", true},
		{"a tab is not a space", "data:\tx\n", "\tx", "", true},
		{"colon in the value", "data: a: b\n", "a: b", "", true},
		{"two lines", "data: a\ndata: b\n", "a\nb", "", true},
		{"four lines and others between", "data: a\r\n: c\r\ndata\r\nid: 7\r\ndata:\r\ndata: b\r\n", "a\n\n\nb", "", true},
		{"CR", "event: x\rdata: a\rdata: b\r", "a\nb", "x", true},
		{"no line end", "data: a", "a", "", true},
		{"the closing line too", "data: a\n\n", "a", "", true},
		{"empty data", "data\n", "", "", true},
		{"no data", "event: ping\n", "", "ping", false},
		{"comment", ": data: x\n", "", "", false},
		{"other fields", "id: 1\nretry: 10\nDATA: x\n data: y\ndata : z\n", "", "", false},
		{"nothing", "", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := []byte(tt.event)
			data, name, ok := Data(in)
			if string(data) != tt.data || string(name) != tt.event2 || ok != tt.ok {
				t.Errorf("got %q, %q, %v", data, name, ok)
			}
			if string(in) != tt.event {
				t.Errorf("the event was changed to %q", in)
			}
		})
	}
}

func TestAppendEvent(t *testing.T) {
	tests := []struct{ name, event, data, want string }{
		{"plain", "", `{"a":1}`, "data: {\"a\":1}\n\n"},
		{"named", "error", "x", "event: error\ndata: x\n\n"},
		{"empty data", "", "", "data: \n\n"},
		{"line ends", "", "a\nb\r\nc\rd\n", "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"},
		{"leading space", "", " a", "data:  a\n\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(AppendEvent([]byte("before\n\n"), tt.event, []byte(tt.data))); got != "before\n\n"+tt.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestSecurityANameCannotWriteFields(t *testing.T) {
	got := string(AppendEvent(nil, "a\r\ndata: forged\n\nb", []byte("x")))
	if want := "event: adata: forgedb\ndata: x\n\n"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestAnEventWithOneDataLineAllocatesNothing(t *testing.T) {
	stream := bytes.Repeat([]byte("event: content_block_delta\ndata: {\"delta\":{\"text\":\"hello\"}}\n\n"), 50)
	s := NewSplitter(0)
	out := make([]byte, 0, 256)
	for _, size := range []int{len(stream), 100, 7} {
		run := func() {
			s.Reset()
			events := 0
			for from := 0; from < len(stream); from += size {
				for chunk := stream[from:min(from+size, len(stream))]; len(chunk) > 0; {
					event, n, err := s.Next(chunk)
					if err != nil {
						t.Error(err)
					}
					chunk = chunk[n:]
					if event == nil {
						continue
					}
					events++
					data, name, ok := Data(event)
					if !ok || string(name) != "content_block_delta" {
						t.Errorf("%q %q", name, data)
					}
					out = AppendEvent(out[:0], "delta", data)
				}
			}
			if events != 50 {
				t.Errorf("%d events", events)
			}
		}
		run() // the buffer for split events is made once
		if n := testing.AllocsPerRun(10, run); n != 0 {
			t.Errorf("chunks of %d: %v allocations", size, n)
		}
	}
}

func BenchmarkNextAndData(b *testing.B) {
	stream := bytes.Repeat([]byte("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n"), 200)
	s := NewSplitter(0)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		for chunk := stream; len(chunk) > 0; {
			event, n, _ := s.Next(chunk)
			if event != nil {
				Data(event)
			}
			chunk = chunk[n:]
		}
	}
}
