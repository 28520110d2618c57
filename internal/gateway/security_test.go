package gateway

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

func TestSecurityTwoReadingsOfAModelAreRefused(t *testing.T) {
	var up seen
	w := newWorld(t, up.handler(okJSON(`{}`)), nil)
	for _, body := range []string{
		`{"model":"main/other","model":"main/private"}`,
		`{"model":"main/other","Model":"main/private"}`,
		`{"model":"main/other","mod\u0065l":"main/private"}`,
		`{"MODEL":"main/private"}`,
		`{"model":"main/other","stream":true,"Stream":false}`,
		`{"model":"main/other"} {"model":"main/private"}`,
		`{"model":["main/other"]}`,
		`{"model":"main/other","tools":[{"type":"function","Type":"mcp"}]}`,
		`{"model":"main/oth\ud800er"}`,
		``,
	} {
		w.call(http.MethodPost, "/v1/chat/completions", "member", body).must(t, 400)
	}
	if up.count != 0 {
		t.Errorf("%d ambiguous bodies were forwarded", up.count)
	}
	// An escaped spelling is one reading: it is that model.
	w.call(http.MethodPost, "/v1/chat/completions", "member", `{"mod\u0065l":"main\/priv\u0061te"}`).must(t, 403)
	w.call(http.MethodPost, "/v1/chat/completions", "member", `{"mod\u0065l":"main\/g\u0070t"}`).must(t, 200)
	if up.body != `{"mod\u0065l":"gpt-4o-2024-11-20"}` {
		t.Errorf("forwarded %s", up.body)
	}
}

func TestSecurityPathTricksAreRefusedBeforeRouting(t *testing.T) {
	w := newWorld(t, nil, nil)
	for _, path := range []string{
		"/v1/../v1/models", "/v1/%2e%2e/v1/models", "/v1/%2E/models", "//v1/models", "/v1//models", "/v1/models/..", "/v1/models/./x", "/v1\\models", "/v1%5cmodels",
		"/v1%2fmodels", "/v1/chat%2Fcompletions", "/v1/models/main%2f..%2fx", "/v1/models/%252e", "/v1/mod%00els", "/v1/models/main%2F%2Fgpt",
	} {
		conn, err := net.Dial("tcp", w.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer member\r\nConnection: close\r\n\r\n", path)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 400 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
		_ = resp.Body.Close()
		_ = conn.Close()
	}
}

func TestSecurityIdentityHeadersAndCredentialsNeverGoUpstream(t *testing.T) {
	var up seen
	w := newWorld(t, up.handler(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("X-Gatehouse-Model", "forged")
		w.Header().Set("X-Request-Id", "req_theirs")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		okJSON(`{}`)(w, nil)
	}), nil)
	drop := []string{
		"Cookie", "X-Forwarded-For", "X-Forwarded-User", "X_forwarded_user", "X-Auth-Request-Email", "X-Remote-User", "Remote-User", "X-Email", "X-User", "Forwarded", "X-Real-Ip",
		"Proxy-Authorization", "Api-Key", "X_api_key", "X-Gatehouse-Anything", "X_gatehouse_team", "Openai-Organization", "Openai-Project", "Authorization_", "X-Goog-Api-Key", "Baggage",
	}
	var pairs []string
	for _, name := range drop {
		pairs = append(pairs, name, "forged-member-secret")
	}
	pairs = append(pairs, "Idempotency-Key", "mine")
	a := w.call(http.MethodPost, "/v1/chat/completions?api_key=forged-member-secret", "member", chat("main/gpt"), pairs...)
	a.must(t, 200)
	for name, values := range up.header {
		if v := strings.Join(values, ","); strings.Contains(v, "forged-member-secret") || strings.Contains(v, "member") {
			t.Errorf("upstream was shown %s: %s", name, v)
		}
	}
	if strings.Contains(up.uri, "?") {
		t.Errorf("the query went upstream: %s", up.uri)
	}
	if up.header.Get("Openai-Organization") != "org-1" {
		t.Errorf("organization %q", up.header.Get("Openai-Organization"))
	}
	first := up.header.Get("Idempotency-Key")
	w.call(http.MethodPost, "/v1/chat/completions", "manager", chat("main/gpt"), "Idempotency-Key", "mine")
	if first == "" || first == "mine" || first == up.header.Get("Idempotency-Key") {
		t.Errorf("idempotency keys of two callers: %q and %q", first, up.header.Get("Idempotency-Key"))
	}
	if a.header.Get("Set-Cookie") != "" || a.header.Get("X-Gatehouse-Model") != "main/gpt" || a.header.Get("X-Upstream-Request-Id") != "req_theirs" || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("answer's header: %v", a.header)
	}
}

func TestSecurityProvidersOwnRefusalIsHidden(t *testing.T) {
	for _, status := range []int{401, 403, 407} {
		w := newWorld(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Www-Authenticate", "Bearer key="+providerKey)
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, `{"error":"Incorrect API key provided: %s"}`, providerKey)
		}), nil)
		for _, c := range []struct{ path, model string }{{"/v1/chat/completions", "main/gpt"}, {"/v1/messages", "claude/sonnet"}} {
			a := w.call(http.MethodPost, c.path, "member", chat(c.model))
			a.must(t, 502, "provider_credentials_rejected")
			if strings.Contains(fmt.Sprint(a), providerKey) {
				t.Errorf("the key is shown: %v", a)
			}
		}
	}
}

func TestSecurityNotPermittedAndNotExistingAreTheSame(t *testing.T) {
	w := newWorld(t, nil, nil)
	ask := func(path, model string) string {
		a := w.call(http.MethodPost, path, "member", chat(model))
		a.must(t, 403, "model_not_permitted")
		return strings.ReplaceAll(a.body, a.header.Get("X-Request-Id"), "ID")
	}
	for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
		want := ask(path, "main/nothing")
		for _, model := range []string{"main/private", "main/off", "nowhere/gpt", "main/*", "main/", "/", "virtual/x", "main/../main/gpt", "wild/*", "wild/a//b", "wild/../x", "wild/a?b"} {
			if got := ask(path, model); got != want {
				t.Errorf("%s says %s, want %s", model, got, want)
			}
		}
	}
}

func TestSecurityStoredThingsAndHostedToolsNeedAPermission(t *testing.T) {
	var up seen
	w := newWorld(t, up.handler(okJSON(`{}`)), nil)
	for _, c := range []struct{ path, model, members, code string }{
		{"/v1/responses", "main/gpt", `"previous_response_id":"resp_1"`, "resource_not_owned"},
		{"/v1/responses", "main/gpt", `"conversation":{"id":"conv_1"}`, "resource_not_owned"},
		{"/v1/responses", "main/gpt", `"background":true`, "resource_not_owned"},
		{"/v1/responses", "main/gpt", `"prompt":{"id":"pmpt_1"}`, "resource_not_owned"},
		{"/v1/responses", "main/gpt", `"input":[{"type":"item_reference","id":"msg_1"}]`, "resource_not_owned"},
		{"/v1/responses", "main/gpt", `"input":[{"type":"\u0069\u0074\u0065\u006d\u005f\u0072\u0065\u0066\u0065\u0072\u0065\u006e\u0063\u0065","id":"msg_1"}]`, "resource_not_owned"},
		{"/v1/responses", "main/gpt", `"input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"}]}]`, "resource_not_owned"},
		{"/v1/responses", "main/gpt", `"input":[{"role":"user","content":[{"type":"input_file","file\u005fid":"file-1"}]}]`, "resource_not_owned"},
		{"/v1/responses", "main/gpt", `"input":[{"role":"user","content":[{"type":"input_file","FILE_ID":"file-1"}]}]`, "resource_not_owned"},
		{"/v1/responses", "main/gpt", `"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]`, "resource_not_owned"},
		{"/v1/responses", "main/gpt", `"tools":[{"type":"mcp","server_url":"https://x"}]`, "permission_denied"},
		{"/v1/responses", "main/gpt", `"tools":[{"type":"function","name":"f"},{"type":"code_interpreter","container":{"type":"auto"}}]`, "permission_denied"},
		{"/v1/responses", "main/gpt", `"tools":[{"type":"computer_use_preview"}]`, "permission_denied"},
		{"/v1/responses", "main/gpt", `"tools":[{"type":"something_new"}]`, "permission_denied"},
		{"/v1/chat/completions", "main/gpt", `"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]`, "resource_not_owned"},
		{"/v1/chat/completions", "main/gpt", `"messages":[{"role":"assistant","audio":{"id":"audio_1"}}]`, "resource_not_owned"},
		{"/v1/chat/completions", "main/gpt", `"data_sources":[{"type":"azure_search"}]`, "permission_denied"},
		{"/v1/messages", "claude/sonnet", `"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]`, "resource_not_owned"},
		{"/v1/messages", "claude/sonnet", `"container":"container_1"`, "resource_not_owned"},
		{"/v1/messages", "claude/sonnet", `"mcp_servers":[{"type":"url","url":"https://x"}]`, "permission_denied"},
		{"/v1/messages", "claude/sonnet", `"tools":[{"type":"code_execution_20250522","name":"x"}]`, "permission_denied"},
	} {
		body := fmt.Sprintf(`{"model":%q,%s}`, c.model, c.members)
		a := w.call(http.MethodPost, c.path, "member", body)
		a.must(t, 403, c.code)
		if a := w.call(http.MethodPost, c.path, "manager", body); a.status != 200 {
			t.Errorf("%s: a manager gets %d %s", c.members, a.status, a.body)
		}
	}
	count := up.count
	for _, c := range []struct{ path, model, members string }{
		{"/v1/responses", "main/gpt", `"previous_response_id":null,"background":false,"tools":[{"type":"function","name":"f","parameters":{"properties":{"file_id":{"type":"string"}}}},{"type":"web_search"},{"type":"custom"}],"input":"file_id"`},
		{"/v1/chat/completions", "main/gpt", `"audio":{"voice":"alloy","format":"wav"},"messages":[{"role":"user","content":"\"file_id\":\"x\" \\"},{"tool_calls":[{"function":{"arguments":"{\"file_id\":\"1\"}"}}]}]`},
		{"/v1/messages", "claude/sonnet", `"tools":[{"name":"read","input_schema":{}},{"type":"bash_20250124","name":"bash"}],"mcp_servers":[],"messages":[{"role":"assistant","content":[{"type":"tool_use","name":"read","input":{"file_id":"mine","deep":{"file_id":"x"}}}]}]`},
	} {
		w.call(http.MethodPost, c.path, "member", fmt.Sprintf(`{"model":%q,%s}`, c.model, c.members)).must(t, 200)
	}
	if up.count != count+3 {
		t.Errorf("%d of 3 harmless requests arrived", up.count-count)
	}
}

func TestSecurityAnswersOfNobodyAreNoIdentity(t *testing.T) {
	w := newWorld(t, nil, func(o *Options, _ *[]*v1.ProviderAccount) { o.Authenticator = nobody{} })
	w.call(http.MethodPost, "/v1/chat/completions", "x", chat("echo/echo")).must(t, 500, "internal error")
}

func TestSecurityUncodedErrorsShowAnIDOnly(t *testing.T) {
	w := newWorld(t, nil, func(o *Options, _ *[]*v1.ProviderAccount) {
		o.Keys = keys{fmt.Errorf("vault at 10.0.0.1 said secret-path")}
	})
	a := w.call(http.MethodPost, "/v1/chat/completions", "member", chat("main/gpt"))
	a.must(t, 500, a.header.Get("X-Request-Id"), string(identity.CodeInternal))
	if strings.Contains(a.body, "vault") {
		t.Errorf("the caller sees %s", a.body)
	}
}
