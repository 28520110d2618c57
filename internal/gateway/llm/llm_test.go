package llm

import (
	"bytes"
	"strings"
	"testing"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/jsonpeek"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/tidwall/gjson"
	"pgregory.net/rapid"
)

func TestEveryEndpointIsDescribed(t *testing.T) {
	paths := map[string]bool{}
	for _, e := range Calls() {
		if e.Path() == "" || e.String() == "unknown" || e.ModelType() == "none" || paths[e.Path()] {
			t.Errorf("endpoint %d: %q %q %q", e, e, e.Path(), e.ModelType())
		}
		paths[e.Path()] = true
		for _, p := range []v1.Provider{v1.ProviderOpenAI, v1.ProviderAzureOpenAI, v1.ProviderOpenAICompatible, v1.ProviderAnthropic} {
			if got, want := e.Speaks(p), (p == v1.ProviderAnthropic) == (e.Dialect() == Anthropic); got != want {
				t.Errorf("%s at %s: %v", e, p, got)
			}
		}
		if e.Speaks("some-new-provider") || !e.Speaks(v1.ProviderEcho) {
			t.Errorf("%s: an unknown provider serves it, or echo does not", e)
		}
	}
	if endpointCount.Speaks(v1.ProviderEcho) || None.Speaks(v1.ProviderEcho) || ModelsList.Speaks(v1.ProviderOpenAI) {
		t.Error("something that is no call is served")
	}
}

func TestUsageIsReadInBothDialects(t *testing.T) {
	for _, c := range []struct {
		body string
		want record.Usage
	}{
		{`{"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}`, record.Usage{InputTokens: 10, OutputTokens: 5, CachedTokens: 4}},
		{`{"usage":{"input_tokens":10,"output_tokens":5,"input_tokens_details":{"cached_tokens":4}}}`, record.Usage{InputTokens: 10, OutputTokens: 5, CachedTokens: 4}},
		{`{"usage":{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":7,"cache_creation_input_tokens":3}}`, record.Usage{InputTokens: 20, OutputTokens: 5, CachedTokens: 7}},
		{`{"usage":null}`, record.Usage{}},
		{`{"choices":[{"message":{"content":"\"usage\":{\"prompt_tokens\":1}"}}]}`, record.Usage{}},
	} {
		if got := UsageOf([]byte(c.body)); got != c.want {
			t.Errorf("%s: %+v", c.body, got)
		}
	}
}

func TestUsageOfAStreamDoesNotDependOnItsChunks(t *testing.T) {
	streams := map[string]record.Usage{
		"data: {\"choices\":[],\"usage\":null}\n\ndata: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n": {InputTokens: 3, OutputTokens: 9},
		"event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":2,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":8}}\n\n": {
			InputTokens: 7, OutputTokens: 8, CachedTokens: 2,
		},
		"event: response.completed\r\ndata: {\"response\":{\"usage\":{\"input_tokens\":4,\"output_tokens\":6}}}": {InputTokens: 4, OutputTokens: 6},
	}
	rapid.Check(t, func(t *rapid.T) {
		for text, want := range streams {
			var m Meter
			for rest := []byte(text); len(rest) > 0; {
				n := rapid.IntRange(1, len(rest)).Draw(t, "n")
				m.See(rest[:n])
				rest = rest[n:]
			}
			m.End()
			if m.Usage != want {
				t.Fatalf("%q: %+v, want %+v", text, m.Usage, want)
			}
		}
	})
}

func part(header, content string) string { return "--b\r\n" + header + "\r\n\r\n" + content + "\r\n" }

func TestSecurityFormsWithTwoReadingsAreRefused(t *testing.T) {
	const model = "Content-Disposition: form-data; name=\"model\""
	good := part(model, "a/b") + "--b--\r\n"
	peek := func(body string) (Call, error) {
		return PeekMultipart(strings.NewReader(body), int64(len(body)), "multipart/form-data; boundary=b")
	}
	for _, body := range []string{good, strings.TrimSuffix(good, "\r\n"), part("Content-Disposition: form-data; name=model\r\nContent-Type: text/plain; charset=utf-8", "a/b") + "--b--\r\n"} {
		c, err := peek(body)
		if err != nil || c.Model != "a/b" || body[c.Start:c.End] != "a/b" {
			t.Errorf("%q: %+v, %v", body, c, err)
		}
	}
	for name, body := range map[string]string{
		"two models":             part(model, "a/b") + part(model, "a/c") + "--b--\r\n",
		"another spelling":       part(model, "a/b") + part("Content-Disposition: form-data; name=\"Model\"", "a/c") + "--b--\r\n",
		"space in the name":      part("Content-Disposition: form-data; name=\" model\"", "a/c") + "--b--\r\n",
		"model as a file":        part(model+"; filename=\"x\"", "a/b") + "--b--\r\n",
		"two dispositions":       part(model+"\r\nContent-Disposition: form-data; name=\"x\"", "a/b") + "--b--\r\n",
		"two names":              part(model+"; name=\"x\"", "a/b") + "--b--\r\n",
		"extended name":          part("Content-Disposition: form-data; name*=utf-8''model", "a/b") + "--b--\r\n",
		"escaped name":           part("Content-Disposition: form-data; name=\"m\\odel\"", "a/b") + "--b--\r\n",
		"base64":                 part(model+"\r\nContent-Transfer-Encoding: base64", "YS9i") + "--b--\r\n",
		"utf-16":                 part(model+"\r\nContent-Type: text/plain; charset=utf-16", "a/b") + "--b--\r\n",
		"folded header":          part("Content-Disposition: form-data;\r\n name=\"model\"", "a/b") + "--b--\r\n",
		"line feeds alone":       strings.ReplaceAll(good, "\r\n", "\n"),
		"preamble":               "x\r\n" + good,
		"epilogue":               good + part(model, "a/c") + "--b--\r\n",
		"boundary in a line":     part(model, "a/b") + part("Content-Disposition: form-data; name=\"x\"", "y--b") + "--b--\r\n",
		"boundary after LF":      part(model, "a/b") + part("Content-Disposition: form-data; name=\"x\"", "y\n--b\r\nContent-Disposition: form-data; name=\"z\"\r\n\r\nq") + "--b--\r\n",
		"boundary with padding":  "--b \r\n" + model + "\r\n\r\na/b\r\n--b--\r\n",
		"longer boundary inside": part(model, "a/b") + part("Content-Disposition: form-data; name=\"x\"", "\r\n--bc\r\n") + "--b--\r\n",
		"no end":                 part(model, "a/b"),
		"no model":               part("Content-Disposition: form-data; name=\"x\"", "a/b") + "--b--\r\n",
		"empty":                  "",
	} {
		if c, err := peek(body); err == nil {
			t.Errorf("%s: read as %+v", name, c)
		} else if s := identity.CodeOf(err).Status(); s != 400 {
			t.Errorf("%s: %d %v", name, s, err)
		}
	}
	for _, kind := range []string{"multipart/form-data", "multipart/mixed; boundary=b", "application/json", "multipart/form-data; boundary=b; boundary=c", "multipart/form-data; boundary=\"" + strings.Repeat("b", 71) + "\""} {
		if _, err := PeekMultipart(strings.NewReader(good), int64(len(good)), kind); err == nil {
			t.Errorf("%s was accepted", kind)
		}
	}
}

func TestFormBoundaryIsFoundAcrossWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := formWindow + rapid.IntRange(-40, 40).Draw(t, "size")
		body := part("Content-Disposition: form-data; name=\"file\"; filename=\"f\"", strings.Repeat("-", size)) + part("Content-Disposition: form-data; name=\"model\"", "a/b") + "--b--\r\n"
		body = strings.ReplaceAll(body, "--b", "--boundary-of-some-length")
		c, err := PeekMultipart(strings.NewReader(body), int64(len(body)), "multipart/form-data; boundary=boundary-of-some-length")
		if err != nil || c.Model != "a/b" {
			t.Fatalf("size %d: %+v, %v", size, c, err)
		}
	})
}

// The walk over raw bytes must find every reference that a decoder would see.
func TestSecurityStoredReferenceIsFoundWhereverItStands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z"\\{}\[\]:, é]{0,20}`).Draw(t, "text")
		quoted := string(object{"x": text}.bytes())
		depth := rapid.IntRange(0, 6).Draw(t, "depth")
		name := rapid.SampledFrom([]string{`file_id`, `File_Id`, `file\u005fid`, `\u0066ile_id`, `vector_store_ids`, `ﬁle_id`}).Draw(t, "name")
		inner := `{"a":` + quoted + `, "` + name + `" : "x"}`
		for range depth {
			inner = `[` + quoted + `,{"b": ` + inner + `}]`
		}
		found := storedReference(OpenAI, []byte(`{"q":`+quoted+`,"z":`+inner+`}`))
		if want := name != `ﬁle_id`; (found != "") != want {
			t.Fatalf("%s in %s: found %q", name, inner, found)
		}
		if harmless := `{"q":` + quoted + `}`; storedReference(OpenAI, []byte(harmless)) != "" {
			t.Fatalf("found something in %s", harmless)
		}
	})
}

// FuzzStoredReference holds the look at what might be a reference to the walk
// that decides.
func FuzzStoredReference(f *testing.F) {
	for _, s := range []string{
		`{"file_id":"x"}`, `{"a":{"FILE\u005fID" : ["x"]}}`, `{"type":"item_reference"}`, `{"t\u0079pe":"item_reference"}`, `{"audio":{"id":"x"}}`,
		`{"audio":{"\u0069d":1}}`, `{"input":{"file_id":"x"}}`, `{"input":{"a":1},"file_id":"x"}`, `{"x":"\"file_id\":\"y\""}`, `{"file_id":{"type":"string"}}`,
		`{"\u0070\u0072\u0065\u0076\u0069\u006f\u0075\u0073\u005f\u0072\u0065\u0073\u0070\u006f\u006e\u0073\u0065\u005f\u0069\u0064":"x"}`,
		"{\"vector_\u017ftore_id\"\n:\t\"x\"}", `{"x\"file_id":"y"}`, `{"":"file_id","a":"b:"}`, `{"type" : "message","x":[{"container_id":[1]}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if jsonpeek.Scan(body, nil, nil) != nil {
			return
		}
		for _, d := range []Dialect{OpenAI, Anthropic} {
			if got, want := storedReference(d, body), walkReferences(d, body); got != want {
				t.Fatalf("%s: %q, want %q", body, got, want)
			}
		}
	})
}

func TestErrorBodiesHaveTheirDialectsShape(t *testing.T) {
	b := ErrorBody(OpenAI, identity.CodeModelNotPermitted, "no \"such\" model", "id-1")
	if !gjson.ValidBytes(b) || gjson.GetBytes(b, "error.code").Str != "model_not_permitted" || gjson.GetBytes(b, "error.message").Str != `no "such" model` || gjson.GetBytes(b, "error.param").Raw != "null" {
		t.Errorf("%s", b)
	}
	b = ErrorBody(Anthropic, identity.CodeBodyTooLarge, "m", "id-1")
	if gjson.GetBytes(b, "error.type").Str != "request_too_large" || gjson.GetBytes(b, "type").Str != "error" || gjson.GetBytes(b, "request_id").Str != "id-1" {
		t.Errorf("%s", b)
	}
	if e := ErrorEvent(Messages, identity.CodeUpstreamBroke, "m", "i"); !bytes.HasPrefix(e, []byte("event: error\ndata: {")) {
		t.Errorf("%s", e)
	}
}

func FuzzPeekMultipart(f *testing.F) {
	f.Add("--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na/b\r\n--b--\r\n")
	f.Fuzz(func(t *testing.T, body string) {
		c, err := PeekMultipart(strings.NewReader(body), int64(len(body)), "multipart/form-data; boundary=b")
		if err == nil && body[c.Start:c.End] != c.Model {
			t.Errorf("%q: %+v", body, c)
		}
	})
}
