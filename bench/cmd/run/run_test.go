package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bench/internal/chat"
	"bench/internal/load"
)

// A count of no cut streams says nothing unless a cut one would be counted.
func TestCutStreamsAreCounted(t *testing.T) {
	const chunks = 5
	cases := map[string]struct {
		events int
		done   bool
		abort  bool
		errors int
	}{
		"whole":                         {chunks, true, false, 0},
		"connection ends in the middle": {3, false, true, 4},
		"clean end without [DONE]":      {chunks, false, false, 4},
		"an event is missing":           {chunks - 1, true, false, 4},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for i := range c.events {
					w.Write(chat.Event(i, chunks))
					http.NewResponseController(w).Flush()
				}
				if c.abort {
					panic(http.ErrAbortHandler)
				}
				if c.done {
					w.Write(chat.Done)
				}
			}))
			defer srv.Close()
			s := &started{target: &target{Model: "m"}, addr: srv.Listener.Addr().String(), path: "/"}
			res, err := load.Run(load.Plan{
				Addr: s.addr, Request: s.request(true, 1<<10), Workers: 2, Max: 4, For: time.Minute,
				Check: func(body []byte) error { return wholeStream(body, chunks) },
			})
			if err != nil || res.Errors != c.errors || res.Requests+res.Errors != 4 {
				t.Errorf("%d requests, %d errors (%s), %v; want %d errors of 4", res.Requests, res.Errors, res.FirstError, err, c.errors)
			}
		})
	}
}

func TestResultsAreWrittenBetweenTheirMarkersOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.md")
	text := "head\n<!-- begin a -->\nold\n<!-- end a -->\n<!-- begin b -->\nkept\n<!-- end b -->\ntail\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := between(file, "a", "new"); err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(file)
	if want := strings.Replace(text, "old", "\nnew\n", 1); string(b) != want {
		t.Errorf("got %q, want %q", b, want)
	}
	if err := between(file, "c", "new"); err == nil {
		t.Error("a file without the markers was written")
	}
}

func TestBenchmarkLinesAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "micro.txt")
	text := "goos: linux\nBenchmarkDecide/warm-2   \t 100\t 261.5 ns/op\t 0 B/op\t 0 allocs/op\nBenchmarkPassThrough/c1/gatehouse \t 100\t 90000 ns/op\t 9000 B/op\t 95 allocs/op\nPASS\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := readMicro(file)
	want := "[{Decide/warm 261.5 0 0} {PassThrough/c1/gatehouse 90000 9000 95}]"
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v %v, want %s", got, err, want)
	}
}
