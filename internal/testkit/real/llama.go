package real

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

//go:embed llama_server.py
var llamaScript string

// Model is a running model server that speaks OpenAI's chat, completions,
// responses and embeddings, and Anthropic's messages.
type Model struct {
	BaseURL string // ends in /v1
	Name    string
}

// Llama starts a llama.cpp server with SmolLM2-135M. It needs no key, does not
// call tools well, and answers a short prompt in about a second.
func Llama(t testing.TB) *Model {
	t.Helper()
	c := need(t, "llama")
	dir, port, name := t.TempDir(), freePort(t), "smollm2"
	if err := os.WriteFile(filepath.Join(dir, "llama_server.py"), []byte(llamaScript), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, spec{
		name: "llama", dir: dir, argv: []string{c.values["python"], "llama_server.py"},
		env: []string{"MODEL=" + c.values["model"], "PORT=" + strconv.Itoa(port), "NAME=" + name},
	})
	p.waitHTTP(t, newClient(t, nil), fmt.Sprintf("http://127.0.0.1:%d/health", port), 60*time.Second)
	return &Model{BaseURL: fmt.Sprintf("http://127.0.0.1:%d/v1", port), Name: name}
}
