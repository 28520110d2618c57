package client_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-ai/gatehouse/client"
)

// answering is a transport that answers by a function.
type answering func(*http.Request) (*http.Response, error)

func (f answering) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func exporter(t *testing.T, f answering) *client.Client {
	t.Helper()
	c, err := client.New("https://gateway.example.com", client.Options{HTTPClient: &http.Client{Transport: f, Timeout: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func export(r *http.Request, status int, form string, body io.Reader) (*http.Response, error) {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {form}}, Body: io.NopCloser(body), Request: r}, nil
}

func TestAnExportMayTakeLongerThanTheServerMayTakeToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var request context.Context
		c := exporter(t, func(r *http.Request) (*http.Response, error) {
			request = r.Context()
			out, in := io.Pipe()
			go func() {
				for range 3 {
					time.Sleep(10 * time.Minute)
					if request.Err() != nil {
						_ = in.CloseWithError(request.Err())
					}
					_, _ = io.WriteString(in, "{}\n")
				}
				_ = in.Close()
			}()
			return export(r, http.StatusOK, "application/jsonl; charset=utf-8", out)
		})
		in, err := c.ExportAudit(t.Context(), 7)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(in); err != nil || string(text) != "{}\n{}\n{}\n" {
			t.Errorf("%q %v", text, err)
		}
		if err := in.Close(); err != nil || request.Err() == nil {
			t.Errorf("%v, and the request is still held", err)
		}
	})
}

func TestAnExportThatDoesNotBeginIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := exporter(t, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		})
		begun := time.Now()
		_, err := c.ExportAudit(t.Context(), 0)
		if err == nil || !strings.Contains(err.Error(), "has not begun to answer within 1m0s") || time.Since(begun) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
	})
}

func TestWhatIsNoExportIsNotTakenForOne(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		form, body string
		code       string
	}{
		"refused":       {403, "application/problem+json", `{"code":"permission_denied","detail":"you may not"}`, "permission_denied"},
		"a page":        {200, "text/html", "<!doctype html>", "unexpected_answer"},
		"JSON":          {200, "application/json", "{}", "unexpected_answer"},
		"half of it":    {206, "application/jsonl", "{}", "unexpected_answer"},
		"without media": {200, "", "{}", "unexpected_answer"},
	} {
		cl := exporter(t, func(r *http.Request) (*http.Response, error) {
			return export(r, c.status, c.form, strings.NewReader(c.body))
		})
		in, err := cl.ExportAudit(t.Context(), 0)
		if in != nil || !client.IsCode(err, c.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
