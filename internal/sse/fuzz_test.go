package sse

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type message struct{ Name, Data string }

// interpret is the standard's algorithm, written down plainly for a whole
// stream: what a browser would dispatch.
func interpret(stream string) (out []message) {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(stream, "\r\n", "\n")
	stream = strings.ReplaceAll(stream, "\r", "\n")
	lines := strings.Split(stream, "\n")
	name, data := "", ""
	for _, line := range lines[:len(lines)-1] { // the last line has not ended
		if line == "" {
			if data != "" {
				out = append(out, message{name, strings.TrimSuffix(data, "\n")})
			}
			name, data = "", ""
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "data":
			data += value + "\n"
		}
	}
	return out
}

func FuzzAnyChunkingGivesTheSameEvents(f *testing.F) {
	for _, s := range []string{
		"data: a\n\ndata: b\n\n", "event: x\r\ndata: a\r\ndata: b\r\n\r\n", "a\r\rb\n\r\n\r", "\ufeffdata: x\n\n", "\xef\xbbdata\n\n",
		": ping\n\n\n\ndata\n\n", "data: " + strings.Repeat("long", 30) + "\n\ndata: short\n\n", "data: [DONE]",
	} {
		f.Add(s, []byte{1, 3, 0, 200}, uint8(0))
		f.Add(s, []byte{1}, uint8(20))
	}
	f.Fuzz(func(t *testing.T, stream string, sizes []byte, limit uint8) {
		var cuts []int
		for at := 0; len(sizes) > 0 && at < len(stream) && len(cuts) < 1000; {
			size := int(sizes[len(cuts)%len(sizes)])
			at = min(at+max(size, 1), len(stream))
			cuts = append(cuts, at)
		}
		whole, wholeRest := split(t, NewSplitter(int(limit)), stream)
		parts, partsRest := split(t, NewSplitter(int(limit)), stream, cuts...)
		if d := cmp.Diff(whole, parts); d != "" || wholeRest != partsRest {
			t.Fatalf("cut at %v: rest %q and %q, %s", cuts, wholeRest, partsRest, d)
		}
		if slices.Contains(whole, tooLong) {
			return
		}
		var got []message
		for _, event := range whole {
			if data, name, ok := Data([]byte(event)); ok {
				got = append(got, message{string(name), string(data)})
			}
		}
		if d := cmp.Diff(interpret(stream), got); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzWhatIsAppendedIsRead(f *testing.F) {
	f.Add("error", "a\r\nb\rc\n")
	f.Add("", "")
	f.Add("a\nb: c", " x")
	f.Fuzz(func(t *testing.T, name, data string) {
		stream := string(AppendEvent(AppendEvent(nil, name, []byte(data)), "", []byte("next")))
		wantName := strings.NewReplacer("\r", "", "\n", "").Replace(name)
		wantData := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(data)
		if d := cmp.Diff([]message{{wantName, wantData}, {"", "next"}}, interpret(stream)); d != "" {
			t.Fatal(d)
		}
		events, _ := split(t, NewSplitter(0), stream)
		if len(events) != 2 {
			t.Fatalf("%d events of %q", len(events), stream)
		}
		gotData, gotName, ok := Data([]byte(events[0]))
		if string(gotName) != wantName || string(gotData) != wantData || !ok {
			t.Fatalf("%q, %q, %v", gotName, gotData, ok)
		}
	})
}
