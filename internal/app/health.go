package app

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gatehouse-ai/gatehouse/internal/authn/keyring"
	"github.com/gatehouse-ai/gatehouse/internal/secret"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// health answers /livez and /readyz. It is not ready only without a snapshot
// or while draining; what is merely degraded stands in the body.
type health struct {
	publisher *snapshot.Publisher
	ring      *keyring.Ring
	secrets   *secret.Cache
	manifests *manifestWatcher // nil without manifests.dir
	draining  atomic.Bool
	now       func() time.Time
}

// report is the body of /readyz on the operator's listener.
type report struct {
	Status       string             `json:"status"`
	Revision     uint64             `json:"revision"`
	Degradations []degradation      `json:"degradations,omitempty"`
	Problems     []snapshot.Problem `json:"problems,omitempty"`
}

// degradation is something that does not work as it should, though requests
// are served.
type degradation struct {
	Part    string `json:"part"`
	Name    string `json:"name,omitempty"`
	Message string `json:"message"`
}

func (h *health) ready() bool { return h.publisher.Load() != nil && !h.draining.Load() }

func (h *health) report() report {
	state := h.publisher.Health()
	r := report{Status: "ready", Revision: state.Head.Revision}
	switch {
	case h.draining.Load():
		r.Status = "draining"
	case !state.Present:
		r.Status = "no configuration"
	}
	if state.Problem != nil {
		r.Degradations = append(r.Degradations, degradation{Part: "database", Message: "configuration cannot be read since " + state.Confirmed.UTC().Format(time.RFC3339)})
	}
	for _, s := range h.ring.Status() {
		if s.LastError != "" || s.Expired {
			r.Degradations = append(r.Degradations, degradation{Part: "identity-provider", Name: s.Name, Message: s.URL + ": " + s.LastError})
		}
	}
	for _, s := range h.secrets.Status() {
		if !s.Ready || s.Stale {
			r.Degradations = append(r.Degradations, degradation{Part: "secret", Name: s.ResourceName + " " + s.Path, Message: s.LastError})
		}
	}
	if h.manifests != nil {
		if err := h.manifests.problem(); err != nil {
			r.Degradations = append(r.Degradations, degradation{Part: "manifests", Name: h.manifests.dir + h.manifests.file, Message: err.Error()})
		}
	}
	if s := h.publisher.Load(); s != nil {
		r.Problems = s.Problems()
	}
	return r
}

// public answers without detail, for load balancers.
func (h *health) public(mux *http.ServeMux) {
	alive := func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") }
	mux.HandleFunc("GET /health", alive)
	mux.HandleFunc("GET /livez", alive)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !h.ready() {
			plain(w, http.StatusServiceUnavailable, "not ready\n")
			return
		}
		plain(w, http.StatusOK, "ok\n")
	})
}

// detailed answers on the operator's listener.
func (h *health) detailed(mux *http.ServeMux) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !h.ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(h.report()) // the client is gone: nobody to tell
	})
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client is gone: nobody to tell
}
