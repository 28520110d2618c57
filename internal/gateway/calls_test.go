package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/google/go-cmp/cmp"
)

func TestBodiesGoUpstreamByteForByteExceptForTheModel(t *testing.T) {
	for _, c := range []struct{ model, path, send, uri, body, auth string }{
		{"main/gpt", "/v1/chat/completions", chat("main/gpt"), "/v1/chat/completions", chat("gpt-4o-2024-11-20"), "Authorization: Bearer " + providerKey},
		{"main/gpt", "/v1/responses", "{ \"input\" : \"hi\",\n\t\"model\":\"main\\/gpt\" , \"z\":1e400 }", "/v1/responses", "{ \"input\" : \"hi\",\n\t\"model\":\"gpt-4o-2024-11-20\" , \"z\":1e400 }", "Authorization: Bearer " + providerKey},
		{"wild/any/thing:7b", "/v1/embeddings", `{"model":"wild/any/thing:7b"}`, "/v1/embeddings", `{"model":"any/thing:7b"}`, "Authorization: "},
		{"claude/sonnet", "/v1/messages", `{"model":"claude/sonnet","max_tokens":1}`, "/v1/messages", `{"model":"claude-sonnet-4","max_tokens":1}`, "X-Api-Key: " + providerKey},
		{"claude/sonnet", "/v1/messages/count_tokens", `{"model":"claude/sonnet"}`, "/v1/messages/count_tokens", `{"model":"claude-sonnet-4"}`, "X-Api-Key: " + providerKey},
		{"azure/gpt", "/v1/chat/completions", chat("azure/gpt"), "/openai/v1/chat/completions", chat("dep-1"), "Api-Key: " + providerKey},
		{"azure-old/gpt", "/v1/chat/completions", chat("azure-old/gpt"), "/openai/deployments/dep%201/chat/completions?api-version=2024-10-21", chat("dep 1"), "Api-Key: " + providerKey},
		{"azure-old/gpt", "/v1/responses", `{"model":"azure-old/gpt"}`, "/openai/responses?api-version=2024-10-21", `{"model":"dep 1"}`, "Api-Key: " + providerKey},
	} {
		t.Run(c.path+" "+c.model, func(t *testing.T) {
			var up seen
			w := newWorld(t, up.handler(okJSON(`{"unknown":"survives","usage":{"prompt_tokens":3,"completion_tokens":4}}`)), nil)
			a := w.call(http.MethodPost, c.path, "member", c.send, "X-Stainless-Lang", "go")
			a.must(t, 200, `{"unknown":"survives","usage":{"prompt_tokens":3,"completion_tokens":4}}`)
			if up.uri != c.uri {
				t.Errorf("upstream was asked for %s, want %s", up.uri, c.uri)
			}
			if diff := cmp.Diff(c.body, up.body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			name, value, _ := strings.Cut(c.auth, ": ")
			if got := up.header.Get(name); got != value {
				t.Errorf("upstream was shown %s %q, want %q", name, got, value)
			}
			if up.header.Get("X-Stainless-Lang") != "go" || up.header.Get("Accept-Encoding") != "identity" {
				t.Errorf("header: %v", up.header)
			}
			rec := w.book.last(t)
			if rec.Usage.InputTokens != 3 || rec.Usage.OutputTokens != 4 || rec.Status != 200 || rec.UID != "uid-member" || rec.Account+"/"+rec.Model != c.model || rec.UpstreamModel == "" || rec.ID != a.header.Get("X-Request-Id") {
				t.Errorf("record: %+v", rec)
			}
			if a.header.Get("X-Gatehouse-Model") != c.model || !strings.Contains(a.header.Get("Server-Timing"), "upstream;dur=") {
				t.Errorf("answer's header: %v", a.header)
			}
		})
	}
}

func TestEveryEndpointRefusesAnonymousOutsiderAndWrongMethod(t *testing.T) {
	var up seen
	w := newWorld(t, up.handler(okJSON(`{}`)), nil)
	for _, e := range llm.Calls() {
		path := "/v1" + e.Path()
		body, kind := chat("main/gpt"), "application/json"
		if e.Multipart() {
			body, kind = form(t, "main/gpt", "x")
		}
		a := w.call(http.MethodPost, path, "", body, "Content-Type", kind)
		a.must(t, 401, "no_credential")
		if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="gatehouse"` {
			t.Errorf("%s: WWW-Authenticate %q", path, got)
		}
		a = w.call(http.MethodPost, path, "nobody", body, "Content-Type", kind)
		a.must(t, 401, "invalid_token")
		if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="gatehouse", error="invalid_token"` {
			t.Errorf("%s: WWW-Authenticate %q", path, got)
		}
		w.call(http.MethodPost, path, "outsider", body, "Content-Type", kind).must(t, 403, "model_not_permitted")
		a = w.call(http.MethodGet, path, "member", "")
		a.must(t, 405)
		if a.header.Get("Allow") != "POST" {
			t.Errorf("%s: Allow %q", path, a.header.Get("Allow"))
		}
	}
	if up.count != 0 {
		t.Errorf("%d refused requests reached the upstream", up.count)
	}
	w.call(http.MethodPost, "/v1/nothing", "member", "{}").must(t, 404, `"type":"invalid_request_error"`)
	w.call(http.MethodPost, "/v1/messages/nothing", "member", "{}").must(t, 404, `"type":"error"`, "not_found_error", "request_id")
	w.call(http.MethodPost, "/v1/messages", "", "{}").must(t, 401, `"type":"error"`, "authentication_error")
}

func TestEchoServesEveryEndpoint(t *testing.T) {
	w := newWorld(t, nil, nil)
	for _, c := range []struct{ path, body, want string }{
		{"/v1/chat/completions", chat("echo/echo"), `"content":"hello there"`},
		{"/v1/chat/completions", `{"model":"echo/echo","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":[{"type":"text","text":"a b"}]}]}`, "data: [DONE]\n\n"},
		{"/v1/completions", `{"model":"echo/echo","prompt":"once upon"}`, `"text":"once upon"`},
		{"/v1/completions", `{"model":"echo/echo","prompt":"once upon","stream":true}`, `"text":"once "`},
		{"/v1/responses", `{"model":"echo/echo","input":"hi you"}`, `"text":"hi you"`},
		{"/v1/responses", `{"model":"echo/echo","input":[{"role":"user","content":"hi"}],"stream":true}`, "event: response.completed"},
		{"/v1/embeddings", `{"model":"echo/echo","input":["a","b"]}`, `"index":1`},
		{"/v1/embeddings", `{"model":"echo/echo","input":"a","encoding_format":"base64"}`, `"embedding":"`},
		{"/v1/images/generations", `{"model":"echo/echo","prompt":"x"}`, `b64_json`},
		{"/v1/audio/speech", `{"model":"echo/echo","input":"x","voice":"v"}`, "RIFF"},
		{"/v1/moderations", `{"model":"echo/echo","input":"x"}`, `"flagged":false`},
		{"/v1/rerank", `{"model":"echo/echo","query":"x","documents":["a","b"]}`, `"index":1`},
		{"/v1/messages", `{"model":"echo/echo","max_tokens":9,"messages":[{"role":"user","content":"hi all"}]}`, `"text":"hi all"`},
		{"/v1/messages", `{"model":"echo/echo","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi all"}]}`, "event: message_stop"},
		{"/v1/messages/count_tokens", `{"model":"echo/echo","messages":[{"role":"user","content":"hi all"}]}`, `"input_tokens":2`},
	} {
		w.call(http.MethodPost, c.path, "member", c.body).must(t, 200, c.want)
		if strings.Contains(c.path, "chat") || strings.Contains(c.path, "messages") && strings.Contains(c.body, "hi all") && !strings.Contains(c.path, "count") {
			if u := w.book.last(t).Usage; u.InputTokens != 2 || u.OutputTokens != 2 {
				t.Errorf("%s %s: usage %+v", c.path, c.body, u)
			}
		} else {
			w.book.last(t)
		}
	}
	for _, path := range []string{"/v1/images/edits", "/v1/audio/transcriptions", "/v1/audio/translations"} {
		body, kind := form(t, "echo/echo", "x")
		w.call(http.MethodPost, path, "member", body, "Content-Type", kind).must(t, 200)
	}
}

func TestEchoFailsAsTold(t *testing.T) {
	w := newWorld(t, nil, func(_ *Options, list *[]*v1.ProviderAccount) {
		(*list)[5].Spec.Echo = &v1.Echo{Status: 429, RetryAfter: "7s"}
	})
	a := w.call(http.MethodPost, "/v1/chat/completions", "member", chat("echo/echo"))
	a.must(t, 429)
	if a.header.Get("Retry-After") != "7" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
}

// form makes an upload with a model and a file.
func form(t *testing.T, model, file string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	f, err := m.CreateFormFile("file", "a.wav")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(f, file)
	_ = m.WriteField("model", model)
	_ = m.WriteField("response_format", "json")
	_ = m.Close()
	return b.String(), m.FormDataContentType()
}

func TestUploadOf20MiBPassesWithOnlyTheModelChanged(t *testing.T) {
	var up seen
	dir := ""
	w := newWorld(t, up.handler(okJSON(`{"text":"ok"}`)), func(o *Options, _ *[]*v1.ProviderAccount) { dir = o.SpoolDir })
	file := strings.Repeat("0123456789abcdef", 20<<20/16)
	body, kind := form(t, "main/gpt", file)
	w.call(http.MethodPost, "/v1/audio/transcriptions", "member", body, "Content-Type", kind).must(t, 200, `{"text":"ok"}`)
	want := strings.Replace(body, "\r\nmain/gpt\r\n", "\r\ngpt-4o-2024-11-20\r\n", 1)
	if digest(up.body) != digest(want) {
		t.Errorf("the upload was changed: %d bytes arrived, want %d", len(up.body), len(want))
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("spool files are left: %v", left)
	}
}

func digest(s string) string {
	d := sha256.Sum256([]byte(s))
	return hex.EncodeToString(d[:])
}

func TestModelsListsWhatMayBeCalled(t *testing.T) {
	up := http.NewServeMux()
	up.HandleFunc("/v1/models", okJSON(`{"data":[{"id":"llama:8b"},{"id":"bad name"},{"id":"org/qwen"}]}`))
	w := newWorld(t, up, nil)
	a := w.call(http.MethodGet, "/v1/models", "member", "")
	a.must(t, 200, `"id":"main/gpt"`, `"id":"wild/llama:8b"`, `"id":"wild/org/qwen"`, `"id":"echo/echo"`, `"object":"list"`, `"owned_by":"main"`)
	for _, hidden := range []string{"private", "off", "bad name"} {
		if strings.Contains(a.body, hidden) {
			t.Errorf("the list shows %s: %s", hidden, a.body)
		}
	}
	w.call(http.MethodGet, "/v1/models", "member", "", "Anthropic-Version", "2023-06-01").must(t, 200, `"type":"model"`, `"has_more":false`, `"first_id":"`)
	if a := w.call(http.MethodGet, "/v1/models", "outsider", ""); a.body != `{"data":[],"object":"list"}` {
		t.Errorf("an outsider sees %s", a.body)
	}
	if a := w.call(http.MethodGet, "/v1/models", "narrow", ""); strings.Count(a.body, `"id"`) != 1 || !strings.Contains(a.body, "main/other") {
		t.Errorf("a narrowed token sees %s", a.body)
	}
	w.call(http.MethodGet, "/v1/models", "", "").must(t, 401)
	for _, path := range []string{"/v1/models/main/gpt", "/v1/models/main%2Fgpt", "/v1/models/wild/org%2Fqwen", "/v1/models/wild%2forg%2fqwen"} {
		w.call(http.MethodGet, path, "member", "").must(t, 200, `"object":"model"`)
	}
	none := w.call(http.MethodGet, "/v1/models/main/nothing", "member", "")
	none.must(t, 403, "model_not_permitted")
	if private := w.call(http.MethodGet, "/v1/models/main/private", "member", ""); private.body != none.body {
		t.Errorf("private %s, not existing %s", private.body, none.body)
	}
}

func TestTeamAndMetadataAreChecked(t *testing.T) {
	w := newWorld(t, nil, nil)
	post := func(h ...string) answer {
		return w.call(http.MethodPost, "/v1/chat/completions", "member", chat("echo/echo"), h...)
	}
	post("X-Gatehouse-Team", "research", "X-Gatehouse-Metadata", `{"b":"2", "a":"1"}`).must(t, 200)
	if rec := w.book.last(t); rec.Team != "research" || rec.Metadata != `{"a":"1","b":"2"}` {
		t.Errorf("record: %+v", rec)
	}
	for _, team := range []string{"finance", "everyone", "", "Research"} {
		post("X-Gatehouse-Team", team).must(t, 403, "not_a_team_member")
	}
	for _, bad := range []string{`x`, `null`, `["a"]`, `{"a":1}`, `{"a":null}`, `{"a":"` + strings.Repeat("x", 4096) + `"}`} {
		post("X-Gatehouse-Metadata", bad).must(t, 400, "invalid_request")
	}
}

func TestRefusalsOfConfigurationAndKeys(t *testing.T) {
	w := newWorld(t, nil, func(o *Options, _ *[]*v1.ProviderAccount) {
		o.Keys = keys{identity.Errorf(identity.CodeSecretUnavailable, "the key cannot be read")}
	})
	w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt")).must(t, 503, "secret_unavailable")
	w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/embed")).must(t, 403, "endpoint_not_supported", "/v1/chat/completions")
	w.call(http.MethodPost, "/v1/messages", "member", chat("main/gpt")).must(t, 403, "endpoint_not_supported", "permission_error")
	w.call(http.MethodPost, "/v1/chat/completions", "member", chat("claude/sonnet")).must(t, 403, "endpoint_not_supported")
	w.call(http.MethodPost, "/v1/chat/completions", "member", chat("gpt-4o")).must(t, 403, "model_not_permitted", "account/model")
	w.call(http.MethodPost, "/v1/chat/completions", "cidr", chat("echo/echo")).must(t, 403, "address_not_permitted")
	w.call(http.MethodPost, "/v1/chat/completions", "narrow", chat("main/gpt")).must(t, 403, "model_not_permitted")
	w.call(http.MethodPost, "/v1/chat/completions", "member", "x=1", "Content-Type", "application/x-www-form-urlencoded").must(t, 415)
	w.call(http.MethodPost, "/v1/chat/completions", "member", chat("echo/echo"), "Content-Encoding", "gzip").must(t, 415)
	w.shelf.put(nil)
	a := w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt"))
	a.must(t, 503, "configuration_unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestPreflightAnswersConfiguredOriginsOnly(t *testing.T) {
	w := newWorld(t, nil, func(o *Options, _ *[]*v1.ProviderAccount) { o.CORSOrigins = []string{"https://app.example.com"} })
	for origin, want := range map[string]string{"https://app.example.com": "https://app.example.com", "https://evil.example.com": "", "null": ""} {
		a := w.call(http.MethodOptions, "/v1/models", "", "", "Origin", origin, "Access-Control-Request-Method", "GET")
		a.must(t, 204)
		if got := a.header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: Access-Control-Allow-Origin %q, want %q", origin, got, want)
		}
	}
}
