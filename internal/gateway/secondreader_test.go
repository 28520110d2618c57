package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// TestSecurityTheBoundaryThatWasReadIsTheOnlyOneSent: a reader that prefers
// boundary= to boundary*= (RFC 2231) sees another form within the first one.
func TestSecurityTheBoundaryThatWasReadIsTheOnlyOneSent(t *testing.T) {
	part := func(boundary, name, value string) string {
		return "--" + boundary + "\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	inner := part("A", "model", "main/private") + "--A--\r\n"
	body := part("B", "model", "main/gpt") + part("B", "prompt", "\r\n"+inner) + "--B--\r\n"
	for _, kind := range []string{
		"multipart/form-data; boundary=A; boundary*=utf-8''B",
		"multipart/form-data; boundary*=utf-8''B; boundary=A",
		"multipart/form-data; boundary=A; boundary*0=B",
		"multipart/form-data; boundary*0=\"B\"; boundary=A",
		"multipart/form-data; boundary=\"\\B\"",
	} {
		var up seen
		w := newWorld(t, up.handler(okJSON(`{}`)), nil)
		a := w.call(http.MethodPost, "/v1/audio/transcriptions", "member", body, "Content-Type", kind)
		if a.status == http.StatusOK && (strings.Contains(up.header.Get("Content-Type"), "A") || strings.ContainsAny(up.header.Get("Content-Type"), "*\\")) {
			t.Errorf("%s: sent as %q", kind, up.header.Get("Content-Type"))
		}
	}
}

// TestSecurityAPartHasOneName: what follows the file's name may name the field
// again, and some readers take the last name.
func TestSecurityAPartHasOneName(t *testing.T) {
	for _, disposition := range []string{
		`form-data; name="file"; filename="a"; name="model"`,
		`form-data; name="file"; filename=a; name=model`,
		`form-data; name="file"; filename*=utf-8''a; name="model"`,
		`form-data; name="file"; filename="a"; name*=utf-8''model`,
		`form-data; name="file"; filename="a"; filename="b"`,
	} {
		var up seen
		w := newWorld(t, up.handler(okJSON(`{}`)), nil)
		body := "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nmain/gpt\r\n" +
			"--B\r\nContent-Disposition: " + disposition + "\r\n\r\nprivate\r\n--B--\r\n"
		if a := w.call(http.MethodPost, "/v1/audio/transcriptions", "member", body, "Content-Type", "multipart/form-data; boundary=B"); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d", disposition, a.status)
		}
	}
}

// TestSecurityStoredThingsAreFoundWithoutTheirType: OpenAI reads {"id": …} as
// an item reference, and an image's id as the image.
func TestSecurityStoredThingsAreFoundWithoutTheirType(t *testing.T) {
	for name, call := range map[string][2]string{
		"item reference without a type":  {"/v1/responses", `"input":[{"id":"msg_of_another"}]`},
		"item reference of type null":    {"/v1/responses", `"input":[{"type":null,"id":"msg_of_another"}]`},
		"an image made by another":       {"/v1/responses", `"input":[{"type":"image_generation_call","id":"ig_of_another"}]`},
		"an escaped id of a voice":       {"/v1/chat/completions", `"messages":[{"role":"assistant","audio":{"\u0069d":"audio_of_another"}}]`},
		"reference within nested input":  {"/v1/responses", `"input":[{"role":"user","content":[{"type":"input_file","\u0066ile_id":"file-1"}]}]`},
		"a mask of the image tool":       {"/v1/responses", `"input":"x","tools":[{"type":"image_generation","input_image_mask":{"file_id":"file-1"}}]`},
		"prompt with an id":              {"/v1/responses", `"prompt":{"id":"pmpt_1"},"input":"x"`},
		"previous response in a stream":  {"/v1/responses", `"stream":true,"previous_response_id":"resp_1","input":"x"`},
		"previous response, nested":      {"/v1/responses", `"input":[{"previous_response_id":"resp_1"}]`},
		"file of an image generation":    {"/v1/images/generations", `"prompt":"x","image":{"file_id":"file-1"}`},
		"vector store in tool resources": {"/v1/chat/completions", `"messages":[],"tool_resources":{"file_search":{"vector_store_ids":["vs_1"]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			var up seen
			w := newWorld(t, up.handler(okJSON(`{}`)), nil)
			a := w.call(http.MethodPost, call[0], "member", `{"model":"main/gpt",`+call[1]+`}`)
			if a.status != http.StatusForbidden || up.count != 0 {
				t.Errorf("%d, and the upstream was asked %d times", a.status, up.count)
			}
		})
	}
}

// TestSecurityABodyCannotNameASecondModel: routers and proxies behind an
// openai-compatible account take fallbacks from the body, and OpenAI's image
// tool takes a model of its own.
func TestSecurityABodyCannotNameASecondModel(t *testing.T) {
	for name, call := range map[string][2]string{
		"models (OpenRouter)":       {"/v1/chat/completions", `{"model":"wild/cheap","models":["expensive"],"messages":[]}`},
		"fallbacks (LiteLLM)":       {"/v1/chat/completions", `{"model":"wild/cheap","fallbacks":["expensive"],"messages":[]}`},
		"the image tool's model":    {"/v1/responses", `{"model":"main/gpt","input":"x","tools":[{"type":"image_generation","model":"gpt-image-1"}]}`},
		"api_base (LiteLLM)":        {"/v1/chat/completions", `{"model":"wild/cheap","api_base":"https://evil.example","messages":[]}`},
		"base_url (LiteLLM)":        {"/v1/chat/completions", `{"model":"wild/cheap","base_url":"https://evil.example","messages":[]}`},
		"engine of an older client": {"/v1/chat/completions", `{"model":"wild/cheap","deployment_id":"expensive","messages":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			var up seen
			w := newWorld(t, up.handler(okJSON(`{}`)), nil)
			if a := w.call(http.MethodPost, call[0], "member", call[1]); a.status == http.StatusOK {
				t.Errorf("sent: %s", up.body)
			}
		})
	}
}

// TestSecurityABodyThatDoesNotComeIsGivenUp: headers have a limit, and so must
// a body's silence.
func TestSecurityABodyThatDoesNotComeIsGivenUp(t *testing.T) {
	w := newWorld(t, http.NotFoundHandler(), func(o *Options, _ *[]*v1.ProviderAccount) { o.StreamIdleTimeout = 300 * time.Millisecond })
	c := dialRaw(t, w, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer member\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{")
	_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			t.Error("a caller who sends nothing holds a megabyte and a goroutine for ever")
		}
	}
}

// TestSecurityAnswersCannotCommandTheProxyInFrontOfUs: X-Accel-Redirect makes
// nginx send a file of its own, X-Sendfile Apache.
func TestSecurityAnswersCannotCommandTheProxyInFrontOfUs(t *testing.T) {
	names := []string{
		"X-Accel-Redirect", "X-Accel-Expires", "X-Accel-Charset", "X-Sendfile", "X-Lighttpd-Send-File", "X-Reproxy-Url", "Surrogate-Control", "Link", "Content-Location",
		"Set-Cookie", "Location", "Clear-Site-Data", "Access-Control-Allow-Credentials", "X-Gatehouse-Model-Other", "Authorization",
	}
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, n := range names {
			w.Header().Set(n, "/etc/passwd")
		}
		_, _ = w.Write([]byte("{}"))
	}), nil)
	a := w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt"))
	for _, n := range names {
		if a.header.Get(n) != "" {
			t.Errorf("%s was passed on", n)
		}
	}
}

func dialRaw(t *testing.T, w *world, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSecurityRequestsThatTwoReadersCutDifferentlyAreOne: whatever follows must
// not become a request of its own that reaches the upstream as somebody's.
func TestSecurityRequestsThatTwoReadersCutDifferentlyAreOne(t *testing.T) {
	body := chat("main/gpt")
	hidden := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer member\r\nContent-Type: application/json\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(body))
	for name, text := range map[string]string{
		"two lengths":            head + length + "Content-Length: 3\r\n\r\n" + body,
		"a list of lengths":      head + fmt.Sprintf("Content-Length: %d, 3\r\n\r\n", len(body)) + body,
		"a signed length":        head + fmt.Sprintf("Content-Length: +%d\r\n\r\n", len(body)) + body,
		"an unknown coding":      head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"a coding twice":         head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a folded coding":        head + "Transfer-Encoding:\r\n chunked\r\n" + length + "\r\n" + body,
		"space before the colon": head + "Content-Length : 3\r\n" + length + "\r\n" + body,
		"a bare LF in a chunk":   head + "Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\n{\r\n0\r\n\r\n",
		"two hosts":              "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nHost: y\r\n" + length + "\r\n" + body,
		"an upgrade to h2c":      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var up seen
			w := newWorld(t, up.handler(okJSON(`{}`)), nil)
			c := dialRaw(t, w, text+hidden)
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err == nil {
				_ = resp.Body.Close()
			}
			if err == nil && resp.StatusCode == http.StatusOK || up.count != 0 {
				t.Errorf("accepted: %v, %d", resp, up.count)
			}
		})
	}
}

// TestSecurityConnectionCannotStripOrAddHeaders: Connection names headers of
// one hop; ours towards the upstream do not depend on it.
func TestSecurityConnectionCannotStripOrAddHeaders(t *testing.T) {
	var up seen
	w := newWorld(t, up.handler(okJSON(`{}`)), nil)
	w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt"), "Connection", "authorization, content-type, x-api-key, openai-organization",
		"Te", "trailers", "Upgrade", "h2c", "Http2-Settings", "AAAA", "Proxy-Authorization", "Basic eDp5", "X-Forwarded-User", "admin", "X-Remote-User", "admin",
		"X_gatehouse_team", "research", "Cookie", "a=b", "Openai-Organization", "org-evil", "Openai-Project", "evil", "Api-Key", "evil", "X-Http-Method-Override", "DELETE")
	if up.header.Get("Authorization") != "Bearer "+providerKey || up.header.Get("Openai-Organization") != "org-1" {
		t.Errorf("upstream's header: %v", up.header)
	}
	for _, n := range []string{"Connection", "Te", "Upgrade", "Http2-Settings", "Proxy-Authorization", "X-Forwarded-User", "X-Remote-User", "X_gatehouse_team", "Cookie", "Openai-Project", "Api-Key", "X-Http-Method-Override"} {
		if up.header.Get(n) != "" {
			t.Errorf("%s went upstream", n)
		}
	}
}

// TestSecurityWhatTheUpstreamSaysAboutTheConnectionStaysThere walks answers
// that would lead a client, or us, elsewhere.
func TestSecurityWhatTheUpstreamSaysAboutTheConnectionStaysThere(t *testing.T) {
	var other seen
	elsewhere := httptest.NewServer(other.handler(okJSON(`{}`)))
	defer elsewhere.Close()
	for name, text := range map[string]string{
		"redirect":           "HTTP/1.1 307 Temporary Redirect\r\nLocation: " + elsewhere.URL + "/x\r\nContent-Length: 0\r\n\r\n",
		"switched protocols": "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"endless interim":    strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 50) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"huge header":        "HTTP/1.1 200 OK\r\nX-Huge: " + strings.Repeat("a", 1<<20) + "\r\nContent-Length: 0\r\n\r\n",
		"two lengths":        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"split header":       "HTTP/1.1 200 OK\r\nX-A: b\rSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var done sync.WaitGroup
			done.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
						_, _ = io.WriteString(c, text)
					}
					_ = c.Close()
				}
			})
			defer done.Wait()
			defer func() { _ = l.Close() }()
			w := newWorld(t, nil, func(_ *Options, list *[]*v1.ProviderAccount) { *list = accounts("http://" + l.Addr().String()) })
			a := w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt"))
			if a.header.Get("Location") != "" || a.header.Get("Set-Cookie") != "" || a.header.Get("Upgrade") != "" || len(a.header.Get("X-Huge")) > 0 {
				t.Errorf("%d %v", a.status, a.header)
			}
			if name != "endless interim" && a.status != http.StatusBadGateway {
				t.Errorf("status %d", a.status)
			}
		})
	}
	if other.count != 0 {
		t.Error("a redirect was followed")
	}
}

// TestSecurityNoByteOfAnotherCallersRequestOrAnswerAppears runs 64 callers at
// once, of which some leave in the middle, with bodies on both sides of every
// buffer's size.
func TestSecurityNoByteOfAnotherCallersRequestOrAnswerAppears(t *testing.T) {
	w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mark := r.Header.Get("X-Client-Request-Id")
		if strings.HasSuffix(mark, "7") { // answers before it has read the body
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, mark)
			return
		}
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Mark", mark)
		if strings.HasSuffix(mark, "3") {
			w.Header().Set("Content-Type", "text/event-stream")
		}
		_, _ = w.Write(b)
	}), nil)
	var callers sync.WaitGroup
	for n := range 64 {
		callers.Go(func() {
			for round := range 6 {
				mark := fmt.Sprintf("<%d.%d.%d", n, round, n%10)
				size := []int{10, 4000, 16300, 17000, 33000, 70000}[(n+round)%6]
				body := `{"model":"main/gpt","x":"` + strings.Repeat(mark, size/len(mark)) + `"}`
				ctx, cancel := context.WithCancel(context.Background())
				if n%8 == 5 {
					time.AfterFunc(time.Duration(round)*time.Millisecond, cancel)
				}
				resp, err := w.start(ctx, http.MethodPost, "/v1/chat/completions", "member", strings.NewReader(body), "X-Client-Request-Id", mark)
				if err == nil {
					got, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					want := strings.Replace(body, "main/gpt", "gpt-4o-2024-11-20", 1)
					if resp.StatusCode == http.StatusBadRequest {
						want = mark
					}
					switch {
					case resp.StatusCode >= 500:
					case err == nil && string(got) != want, !strings.HasPrefix(want, string(got)):
						t.Errorf("%s got %.80q", mark, got)
					}
				}
				cancel()
			}
		})
	}
	callers.Wait()
}
