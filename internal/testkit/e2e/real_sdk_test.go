//go:build real

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/testkit"
	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// sdkGatehouse has one account before an upstream, and somebody who may not
// use a second model of it.
func sdkGatehouse(t *testing.T, account, provider, baseURL, model string) (g *testkit.Gatehouse, token string) {
	t.Helper()
	g = testkit.Start(t, testkit.Options{Manifests: fmt.Sprintf(`
apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: sdk}
spec: {}
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: %s}
spec:
  provider: %s
  baseURL: %s
  credentials: {apiKey: {value: the-real-key}}
  models:
    - {name: %q}
    - {name: secret-model, collaborators: []}
  collaborators: [{subject: "virtual-account:sdk", role: provider-account-user}]
`, account, provider, baseURL, model)})
	return g, accountToken(t, g, "sdk")
}

// through are the settings that only make sense before a gateway.
func through(account string) []string {
	return []string{"BAD_API_KEY=not-a-token", "UNAUTHORIZED_CODE=invalid_token", "FORBIDDEN_MODEL=" + account + "/secret-model", "EXPECT_REQUEST_ID=1"}
}

// patience is how often the small model is asked: now and then it closes a
// connection, or ends a stream before its first event, whoever asks.
const patience = 4

// comparison is a script, directly and through Gatehouse.
type comparison struct {
	script          string
	direct, gateway real.SDKTarget
	attempts        int
}

// passing runs a script until each of its checks has passed, or the attempts
// are over.
func passing(t *testing.T, script, how string, target real.SDKTarget, attempts int) map[string]bool {
	t.Helper()
	passed := map[string]bool{}
	for range attempts {
		again := false
		for _, check := range real.SDKChecks(t, script, target) {
			switch {
			case check.Outcome == real.SDKPassed:
				passed[check.Name] = true
			case check.Outcome == real.SDKFailed && !passed[check.Name]:
				again = true
				t.Logf("%s, %s: %s", how, check.Name, check.Why)
			}
		}
		if !again {
			break
		}
	}
	return passed
}

// compare wants to pass through Gatehouse what passes directly, and the
// refusals that only Gatehouse can make.
func compare(t *testing.T, c comparison) {
	t.Helper()
	t.Run(c.script, func(t *testing.T) {
		want := passing(t, c.script, "directly", c.direct, c.attempts)
		got := passing(t, c.script, "through Gatehouse", c.gateway, c.attempts)
		want["unauthorized"], want["forbidden"] = true, true
		for _, check := range slices.Sorted(maps.Keys(want)) {
			t.Run(check, func(t *testing.T) {
				if !got[check] {
					t.Error("passes directly and not through Gatehouse")
				}
			})
		}
		if len(want) < 8 {
			t.Errorf("only %d checks pass directly", len(want))
		}
	})
}

func TestRealOpenAISDKsPassThroughGatehouseBeforeTheValidator(t *testing.T) {
	v := real.Validator(t)
	w := before(t, v.URL, nil)
	g, token := sdkGatehouse(t, "openai", "openai", w.URL, "*")
	env := func(prefix string) []string {
		return []string{"EXAMPLE_ANSWERS=1", "AUDIO_MODEL=" + prefix + "whisper-1", "IMAGE_MODEL=" + prefix + "gpt-image-1", "MODERATION_MODEL=" + prefix + "omni-moderation-latest"}
	}
	for _, script := range []string{"openai_python.py", "openai_node.mjs"} {
		compare(t, comparison{
			script,
			real.SDKTarget{BaseURL: v.URL, APIKey: "none", Model: "gpt-4o", Env: env("")},
			real.SDKTarget{BaseURL: g.URL() + "/v1", APIKey: token, Model: "openai/gpt-4o", Env: append(env("openai/"), through("openai")...)},
			1,
		})
	}
	all := w.all()
	for request := range refused(all) {
		t.Errorf("the validator refuses what Gatehouse sends: %s", request)
	}
	paths := map[string]bool{}
	for _, s := range all {
		paths[s.Path] = s.Valid == "true"
		if got := s.Header.Get("Authorization"); got != "Bearer the-real-key" {
			t.Errorf("%s went upstream with Authorization %q", s.Path, got)
		}
		if text := fmt.Sprint(s.Header, s.Query); strings.Contains(text, token) {
			t.Errorf("%s carried the caller's token upstream: %s", s.Path, text)
		}
	}
	for _, path := range []string{"/chat/completions", "/completions", "/embeddings", "/responses", "/audio/transcriptions", "/images/generations", "/moderations"} {
		if !paths[path] {
			t.Errorf("nothing reached %s: the comparison proves nothing about it", path)
		}
	}
}

func TestRealSDKsPassThroughGatehouseBeforeARealModel(t *testing.T) {
	m := real.Llama(t)
	root := strings.TrimSuffix(m.BaseURL, "/v1")
	g, token := sdkGatehouse(t, "llama", "openai-compatible", m.BaseURL, m.Name)
	openai := []string{
		"SKIP_CHECKS=transcription,images,moderations", "EXPECT_MODEL_LISTED=1", "EXPECT_STREAM_USAGE=1",
		"EXPECT_EMBEDDINGS=1", "EXPECT_EVENTS_IN_ORDER=1", "EXPECT_RESPONSE_FIELD=timings",
	}
	for _, script := range []string{"openai_python.py", "openai_node.mjs"} {
		compare(t, comparison{
			script,
			real.SDKTarget{BaseURL: m.BaseURL, APIKey: "none", Model: m.Name, Env: openai},
			real.SDKTarget{BaseURL: g.URL() + "/v1", APIKey: token, Model: "llama/" + m.Name, Env: append(through("llama"), openai...)},
			patience,
		})
	}
	a, key := sdkGatehouse(t, "claude", "anthropic", root, m.Name)
	for script, auth := range map[string]string{"anthropic_python.py": "AUTH=x-api-key", "anthropic_node.mjs": "AUTH=bearer"} {
		compare(t, comparison{
			script,
			real.SDKTarget{BaseURL: root, APIKey: "none", Model: m.Name, Env: []string{auth}},
			real.SDKTarget{BaseURL: a.URL(), APIKey: key, Model: "claude/" + m.Name, Env: append(through("claude"), auth, "EXPECT_MODEL_LISTED=1")},
			patience,
		})
	}
}

var modelMember = regexp.MustCompile(`("model"\s*:\s*")`)

// asTheUser stands between openai-go's suite and Gatehouse and does what a user
// of the SDK would have set: the suite has its key and the models' names
// compiled in.
func asTheUser(t *testing.T, g *testkit.Gatehouse, token, account string) string {
	t.Helper()
	to, err := url.Parse(g.URL() + "/v1")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.Header.Set("Authorization", "Bearer "+token)
		if model, ok := strings.CutPrefix(p.In.URL.Path, "/models/"); ok {
			p.Out.URL.Path = "/models/" + account + "/" + model
			p.Out.URL.RawPath = ""
		}
		p.SetURL(to)
		if p.In.Method != http.MethodPost {
			return
		}
		body, err := io.ReadAll(p.In.Body)
		if err != nil {
			t.Error(err)
		}
		body = modelMember.ReplaceAll(body, []byte("${1}"+account+"/"))
		if bytes.Contains(body, []byte(`name="model"`)) {
			body = bytes.Replace(body, []byte("name=\"model\"\r\n\r\n"), []byte("name=\"model\"\r\n\r\n"+account+"/"), 1)
		}
		p.Out.Body, p.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		p.Out.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}

// suiteOutcomes reads the output of go test -v: which tests passed, and what those
// that failed said.
func suiteOutcomes(out string) (passed map[string]bool, failed map[string]string) {
	passed, failed = map[string]bool{}, map[string]string{}
	name, said := "", strings.Builder{}
	for line := range strings.Lines(out) {
		trimmed := strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(trimmed, "=== "); ok {
			if f := strings.Fields(rest); len(f) == 2 && f[1] != name {
				name = f[1]
				said.Reset()
			}
			continue
		}
		word, rest, _ := strings.Cut(strings.TrimPrefix(trimmed, "--- "), ": ")
		switch test, _, _ := strings.Cut(rest, " "); {
		case !strings.HasPrefix(trimmed, "--- "):
			said.WriteString(line)
		case word == "PASS":
			passed[test] = true
		case word == "FAIL":
			failed[test] = said.String()
		}
	}
	return passed, failed
}

// offered are the requests that interfaces.md lists below /v1, as the suite's
// output shows those that failed. The rest of OpenAI's API is not compared.
var offered = regexp.MustCompile(`_test\.go:\d+: (POST /(chat/completions|completions|responses|embeddings|images/(generations|edits)|audio/(speech|transcriptions|translations)|moderations)|GET /models(/\S+)?)(\?\S*)? HTTP/1\.1`)

// noSuchRoute is how a request for another part of OpenAI's API ends.
var noSuchRoute = regexp.MustCompile(`OpenAI API error: (404 Not Found|405 Method Not Allowed)`)

func TestRealOpenAIGoSuitePassesThroughGatehouse(t *testing.T) {
	v := real.Validator(t)
	w := before(t, v.URL, nil)
	direct, _ := real.OpenAIGoSuite(t, w.URL, "none", "^Test") // what fails directly is not looked at
	want, _ := suiteOutcomes(direct)
	refusedDirectly := refused(w.all())
	g := testkit.Start(t, testkit.Options{Manifests: `
apiVersion: gatehouse.dev/v1
kind: VirtualAccount
metadata: {name: suite}
spec: {}
---
apiVersion: gatehouse.dev/v1
kind: ProviderAccount
metadata: {name: openai}
spec:
  provider: openai
  baseURL: ` + w.URL + `
  credentials: {apiKey: {value: the-real-key}}
  models: [{name: "*"}]
  collaborators: [{subject: "virtual-account:suite", role: provider-account-manager}] # its requests refer to stored things
`})
	out, _ := real.OpenAIGoSuite(t, asTheUser(t, g, accountToken(t, g, "suite"), "openai"), "none", "^Test")
	got, failed := suiteOutcomes(out)
	notOffered := 0
	for _, test := range slices.Sorted(maps.Keys(want)) {
		said := failed[test]
		switch {
		case got[test]:
		case noSuchRoute.MatchString(said) && !offered.MatchString(said):
			notOffered++ // another part of OpenAI's API
		default:
			t.Errorf("%s passes directly and not through Gatehouse:\n%s", test, said)
		}
	}
	t.Logf("%d tests pass directly, %d through Gatehouse, %d are of endpoints that Gatehouse does not have", len(want), len(got), notOffered)
	for _, test := range []string{
		"TestChatCompletionNewWithOptionalParams", "TestCompletionNewWithOptionalParams", "TestEmbeddingNewWithOptionalParams", "TestImageGenerateWithOptionalParams",
		"TestImageEditWithOptionalParams", "TestAudioSpeechNewWithOptionalParams", "TestAudioTranscriptionNewWithOptionalParams",
		"TestAudioTranslationNewWithOptionalParams", "TestModerationNewWithOptionalParams", "TestModelGet", "TestModelList",
	} {
		if !got[test] {
			t.Errorf("%s did not pass through Gatehouse:\n%s", test, failed[test])
		}
	}
	for request := range refused(w.all()) {
		if !refusedDirectly[request] {
			t.Errorf("the validator refuses what it took directly: %s", request)
		}
	}
}
