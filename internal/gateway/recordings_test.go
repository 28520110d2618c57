package gateway

import (
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// recording is one exchange in go-vcr's format.
type recording struct {
	Interactions []struct {
		Request struct {
			Body    string      `yaml:"body"`
			Headers http.Header `yaml:"headers"`
			URL     string      `yaml:"url"`
		} `yaml:"request"`
		Response struct {
			Body    string      `yaml:"body"`
			Headers http.Header `yaml:"headers"`
			Code    int         `yaml:"code"`
		} `yaml:"response"`
	} `yaml:"interactions"`
}

// TestRecordingsPassByteForByte replays exchanges with OpenAI that others
// recorded: the provider's bytes come to the caller as they were, and the
// caller's bytes come to the provider with the model alone renamed.
func TestRecordingsPassByteForByte(t *testing.T) {
	files, _ := filepath.Glob(filepath.FromSlash("../../../shared/data/recordings/*.yaml"))
	if len(files) == 0 {
		t.Skip("no recordings: ../shared/data/recordings is not beside the project")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var rec recording
			if err := yaml.Unmarshal(raw, &rec); err != nil {
				t.Fatal(err)
			}
			for _, i := range rec.Interactions {
				replay(t, i.Request.URL, i.Request.Body, i.Response.Code, i.Response.Headers, i.Response.Body)
			}
		})
	}
	t.Logf("%d recordings", len(files))
}

func replay(t *testing.T, url, sent string, code int, header http.Header, body string) {
	t.Helper()
	_, path, ok := strings.Cut(url, "api.openai.com")
	if !ok {
		t.Fatalf("%s is not OpenAI's", url)
	}
	header = header.Clone()
	header.Del("Content-Length") // of the body as it was before it was recorded
	if strings.Contains(header.Get("Content-Type"), "audio/") {
		if b, err := base64.StdEncoding.DecodeString(body); err == nil {
			body = string(b)
		}
	}
	var up seen
	w := newWorld(t, up.handler(func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}), func(_ *Options, list *[]*v1.ProviderAccount) {
		(*list)[0].Spec.Collaborators = append((*list)[0].Spec.Collaborators, v1.Collaborator{Subject: "user:member@example.com", Role: identity.RoleProviderAccountManager})
		(*list)[0].Spec.Models = append((*list)[0].Spec.Models, v1.Model{Name: "*"})
	})
	kind, model, want := "application/json", gjson.Get(sent, "model").Str, sent
	if strings.HasPrefix(sent, "[multipart") { // what was uploaded was not recorded
		model = "whisper-1"
		sent, kind = form(t, "main/whisper-1", "RIFF")
		want = strings.Replace(sent, "\r\nmain/whisper-1\r\n", "\r\nwhisper-1\r\n", 1)
	} else {
		renamed, err := sjson.Set(sent, "model", "main/"+model)
		if err != nil {
			t.Fatal(err)
		}
		sent = renamed
	}
	a := w.call(http.MethodPost, path, "member", sent, "Content-Type", kind)
	if up.count != 1 || up.uri != path || up.body != want {
		t.Errorf("upstream got %s (-want +got):\n%s", up.uri, cmp.Diff(want, up.body))
	}
	if a.status != code || a.body != body {
		t.Errorf("status %d, want %d; body (-want +got):\n%s", a.status, code, cmp.Diff(body, a.body))
	}
	for name, values := range header {
		if !withheld(name) && cmp.Diff(values, a.header[name]) != "" {
			t.Errorf("header %s: %v, want %v", name, a.header[name], values)
		}
	}
	usage := w.book.last(t).Usage
	for _, member := range []string{"prompt_tokens", "input_tokens"} {
		if at := strings.LastIndex(body, `"`+member+`"`); code == 200 && at >= 0 && usage.InputTokens != gjson.Get("{"+body[at:], member).Int() {
			t.Errorf("usage %+v, the answer says %s", usage, body[at:])
		}
	}
}
