package sso

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// sendInPart writes a request of which the body has one byte of a thousand, and
// returns what is answered before the connection is closed.
func sendInPart(t *testing.T, to net.Addr, method, path string) (status int) {
	t.Helper()
	c, err := net.Dial(to.Network(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second)) // a test that hangs says so
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nl", method, path)
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Errorf("%s %s: no answer: %v", method, path, err)
		return 0
	}
	res.Body.Close()
	for {
		if _, err := in.ReadByte(); err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Errorf("%s %s: the connection is held", method, path)
			}
			return res.StatusCode
		}
	}
}

func TestSecurityASlowFormIsCut(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	w.h.formTime = 50 * time.Millisecond
	server := httptest.NewServer(w.h)
	defer server.Close()
	for path, want := range map[string]int{
		"POST /sso/main/backchannel-logout": http.StatusBadRequest,
		"POST /sso/break-glass":             http.StatusRequestTimeout,
		"POST /sso/logout":                  http.StatusOK, // which reads none
		"GET /sso/login":                    http.StatusOK,
		"POST /sso/nothing":                 http.StatusNotFound,
	} {
		method, path, _ := strings.Cut(path, " ")
		if status := sendInPart(t, server.Listener.Addr(), method, path); status != want {
			t.Errorf("%s %s: %d, want %d", method, path, status, want)
		}
	}
}

// The time is for the form alone, not for what is done with it.
func TestAFormThatIsThereMayTakeItsTime(t *testing.T) {
	w := newWorld(t, nil)
	w.setUp()
	var set []time.Time
	r := httptest.NewRequest(http.MethodPost, ours+"/sso/break-glass", strings.NewReader(url.Values{"password": {goodPassword}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(deadlineWriter{rec, &set}, r)
	if rec.Code != http.StatusSeeOther || len(set) != 2 || set[0].IsZero() || !set[1].IsZero() {
		t.Errorf("%d, deadlines %v", rec.Code, set)
	}
}

// deadlineWriter notes the deadlines that are set.
type deadlineWriter struct {
	http.ResponseWriter
	set *[]time.Time
}

func (d deadlineWriter) SetReadDeadline(at time.Time) error { *d.set = append(*d.set, at); return nil }
