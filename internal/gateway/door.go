package gateway

import (
	"net/http"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// operation is what a route leads to; it, and never a path, is what is
// authorised.
type operation struct {
	g        *Gateway
	endpoint llm.Endpoint
	method   string // empty: any
	handle   func(*Exchange) error
}

// ServeHTTP makes an operation a handler of the mux.
func (o *operation) ServeHTTP(w http.ResponseWriter, r *http.Request) { o.g.run(o, w, r) }

// routes registers every path. Methods are judged by the operation, so that a
// wrong one is refused in the caller's dialect.
func (g *Gateway) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, e := range llm.Calls() {
		mux.Handle("/v1"+e.Path(), &operation{g, e, http.MethodPost, (*Exchange).callModel})
	}
	mux.Handle("/v1/models", &operation{g, llm.ModelsList, http.MethodGet, (*Exchange).listModels})
	mux.Handle("/v1/models/{model...}", &operation{g, llm.ModelsGet, http.MethodGet, (*Exchange).getModel})
	mux.Handle("/", &operation{g, llm.None, "", (*Exchange).notFound})
	return mux
}

// enter is the door: paths and preflights, before routing.
func (g *Gateway) enter(w http.ResponseWriter, r *http.Request) {
	if err := CheckPath(r); err != nil {
		g.run(&operation{g, llm.None, "", func(*Exchange) error { return err }}, w, r)
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" && g.cors(w, r, origin) {
		return
	}
	g.mux.ServeHTTP(w, r)
}

// modelsTail is the one place where an encoded slash is part of a name.
const modelsTail = "/v1/models/"

// CheckPath refuses paths that two readers could understand differently:
// dot segments, empty segments, backslashes, control characters, what is
// encoded twice, and encoded
// slashes, dots and backslashes, except for %2F in the name of GET
// /v1/models/NAME. Error: invalid_request. app calls it before its own routing.
func CheckPath(r *http.Request) error {
	path, raw := r.URL.Path, r.URL.RawPath // RawPath is set where the encoding is not the usual one
	bad := path == "" || path[0] != '/' || strings.Contains(path, "//") || strings.Contains(path, "/../") || strings.Contains(path, "/./") ||
		strings.HasSuffix(path, "/..") || strings.HasSuffix(path, "/.")
	for i := 0; i < len(path) && !bad; i++ {
		bad = path[i] < ' ' || path[i] == '\\' || path[i] == '%' || path[i] == 0x7f
	}
	if raw != "" && !bad {
		lower := strings.ToLower(raw)
		bad = strings.Contains(lower, "%2e") || strings.Contains(lower, "%5c") || strings.Contains(lower, "%25") ||
			strings.Contains(lower, "%2f") && !strings.HasPrefix(raw, modelsTail)
	}
	if bad {
		return identity.Errorf(identity.CodeInvalidRequest, "the path is not in its canonical form")
	}
	return nil
}

// cors answers a preflight, and lets pages of the configured origins read
// answers. It reports whether the request is dealt with.
func (g *Gateway) cors(w http.ResponseWriter, r *http.Request, origin string) bool {
	h := w.Header()
	h.Add("Vary", "Origin")
	allowed := g.origins[origin]
	if allowed {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "x-request-id, x-gatehouse-model, x-upstream-request-id, retry-after, server-timing")
	}
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	if allowed {
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "authorization, x-api-key, content-type, anthropic-version, anthropic-beta, openai-beta, idempotency-key, "+
			"x-gatehouse-metadata, x-gatehouse-team, traceparent, tracestate, x-client-request-id, "+stainless)
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

// stainless are the headers that the official JavaScript clients add.
const stainless = "x-stainless-lang, x-stainless-package-version, x-stainless-os, x-stainless-arch, x-stainless-runtime, " +
	"x-stainless-runtime-version, x-stainless-retry-count, x-stainless-timeout, x-stainless-helper-method"

func (e *Exchange) notFound() error {
	return identity.Errorf(identity.CodeNotFound, "there is no such endpoint")
}
