//go:build real

package real_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/testkit/real"
)

// The scripts run first against upstreams with no gateway between: what fails
// here is the script's or the upstream's fault, never the gateway's.

// llama ends a stream before its first event now and then, whoever asks; what
// the gateway does to the same checks is compared in internal/testkit/e2e.
func TestSDKScriptsPassAgainstTheModelDirectly(t *testing.T) {
	const attempts = 4
	m := real.Llama(t)
	openai := []string{
		"SKIP_CHECKS=transcription,images,moderations", "EXPECT_MODEL_LISTED=1", "EXPECT_STREAM_USAGE=1",
		"EXPECT_EMBEDDINGS=1", "EXPECT_EVENTS_IN_ORDER=1", "EXPECT_RESPONSE_FIELD=timings",
	}
	for _, script := range []string{"openai_python.py", "openai_node.mjs"} {
		t.Run(script, func(t *testing.T) {
			real.RunSDK(t, script, real.SDKTarget{BaseURL: m.BaseURL, APIKey: "none", Model: m.Name, Env: openai, Attempts: attempts})
		})
	}
	for _, script := range []string{"anthropic_python.py", "anthropic_node.mjs"} {
		t.Run(script, func(t *testing.T) {
			real.RunSDK(t, script, real.SDKTarget{BaseURL: strings.TrimSuffix(m.BaseURL, "/v1"), APIKey: "none", Model: m.Name, Attempts: attempts})
		})
	}
}

func TestSDKScriptsSendWhatOpenAIDescribes(t *testing.T) {
	v := real.Validator(t)
	for _, script := range []string{"openai_python.py", "openai_node.mjs"} {
		t.Run(script, func(t *testing.T) {
			real.RunSDK(t, script, real.SDKTarget{
				BaseURL: v.URL, APIKey: "none", Model: "gpt-4o",
				Env: []string{"EXAMPLE_ANSWERS=1", "AUDIO_MODEL=whisper-1", "IMAGE_MODEL=gpt-image-1", "MODERATION_MODEL=omni-moderation-latest"},
			})
		})
	}
}

// refuser answers as a gateway does: by key and by model, in the dialect of the path.
func refuser(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var in struct{ Model string }
	_ = json.Unmarshal(body, &in)
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") + r.Header.Get("x-api-key")
	status, code, kind := http.StatusTooManyRequests, "rate_limit_exceeded", "rate_limit_error"
	switch {
	case key == "bad":
		status, code, kind = http.StatusUnauthorized, "invalid_token", "authentication_error"
	case in.Model == "secret-model":
		status, code, kind = http.StatusForbidden, "model_not_permitted", "permission_error"
	}
	out := map[string]any{"error": map[string]any{"message": "no", "type": "x", "code": code}}
	if strings.HasSuffix(r.URL.Path, "/messages") {
		out = map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": "no"}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out)
}

func TestSDKScriptsSurfaceRefusals(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(refuser))
	defer s.Close()
	const rest = "models-list,chat,chat-stream,chat-tools,chat-tool-result,completions,embeddings,responses,responses-stream," +
		"transcription,images,moderations,messages,messages-stream,messages-events,messages-tools,messages-tool-result,count-tokens"
	for script, suffix := range map[string]string{"openai_python.py": "/v1", "openai_node.mjs": "/v1", "anthropic_python.py": "", "anthropic_node.mjs": ""} {
		t.Run(script, func(t *testing.T) {
			real.RunSDK(t, script, real.SDKTarget{
				BaseURL: s.URL + suffix, APIKey: "good", Model: "m",
				Env: []string{"SKIP_CHECKS=" + rest, "BAD_API_KEY=bad", "FORBIDDEN_MODEL=secret-model", "LIMITED_API_KEY=busy"},
			})
		})
	}
}

func TestOpenAIGoSuitePassesAgainstTheValidator(t *testing.T) {
	v := real.Validator(t)
	out, err := real.OpenAIGoSuite(t, v.URL, "none", "^Test(ChatCompletion|Completion|Embedding|Response|Model|Moderation|Image|Audio(Speech|Transcription|Translation))")
	if err != nil || !strings.Contains(out, "--- PASS: TestChatCompletionNewWithOptionalParams") {
		t.Errorf("%v\n%s", err, out)
	}
}
