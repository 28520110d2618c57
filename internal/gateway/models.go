package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authz"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// catalogueWait is how long a list waits for catalogues that were never
// fetched.
const catalogueWait = 2 * time.Second

// openAIModel is a model in OpenAI's shape.
type openAIModel struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// anthropicModel is a model in Anthropic's shape.
type anthropicModel struct {
	Type        string `json:"type"`
	ID          string `json:"id"`
	DisplayName string `json:"display_name"`
	CreatedAt   string `json:"created_at"`
}

func (e *Exchange) modelOf(fqn string, a *snapshot.Account) any {
	var created time.Time
	if t := a.Resource.CreationTimestamp; t != nil {
		created = *t
	}
	if e.dialect == llm.Anthropic {
		return anthropicModel{Type: "model", ID: fqn, DisplayName: fqn, CreatedAt: created.UTC().Format(time.RFC3339)}
	}
	m := openAIModel{ID: fqn, Object: "model", OwnedBy: a.Name}
	if !created.IsZero() {
		m.Created = created.Unix()
	}
	return m
}

// listModels answers with what the caller may use: the same decision, for each
// candidate, as for a call.
func (e *Exchange) listModels() error {
	ctx, cancel := context.WithTimeout(e.r.Context(), catalogueWait)
	defer cancel()
	var wild []*snapshot.Account
	for _, a := range e.snap.Accounts() {
		if a.Wildcard != nil {
			wild = append(wild, a)
		}
	}
	e.g.pool.Warm(ctx, wild)
	list := []any{}
	first, last := "", ""
	authz.Models(e.snap, e.caller.Principal, e.caller.Grant, e.g.opt.Now(), e.g.pool.Names, func(fqn string, m *snapshot.Model) {
		if _, name, _ := strings.Cut(fqn, "/"); !llm.ValidModel(name) {
			return // could not be called either
		}
		if first == "" {
			first = fqn
		}
		last = fqn
		list = append(list, e.modelOf(fqn, m.Account))
	})
	if e.dialect == llm.Anthropic {
		return e.answer(map[string]any{"data": list, "has_more": false, "first_id": orNull(first), "last_id": orNull(last)})
	}
	return e.answer(map[string]any{"object": "list", "data": list})
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// getModel answers for one model; the first slash splits its name.
func (e *Exchange) getModel() error {
	e.call.Model = e.r.PathValue("model")
	if e.call.Model == "" || strings.HasSuffix(e.call.Model, "/") {
		return e.notFound()
	}
	if err := e.authorize(); err != nil {
		return err
	}
	return e.answer(e.modelOf(e.call.Model, e.account))
}

// answer sends JSON of our own.
func (e *Exchange) answer(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	e.authzDone = time.Since(e.start) - e.authDone
	h := e.w.Header()
	h.Set("X-Request-Id", e.id)
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", "no-store")
	h.Set("Server-Timing", e.timings())
	e.began = true
	e.rec.Status, e.rec.BytesOut = http.StatusOK, int64(len(b))
	e.w.WriteHeader(http.StatusOK)
	_, _ = e.w.Write(b) // the caller may have gone
	return nil
}
