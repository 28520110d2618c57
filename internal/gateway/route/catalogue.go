package route

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/gateway/llm"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
	"github.com/tidwall/gjson"
)

const (
	catalogueTimeout = 30 * time.Second
	catalogueRetry   = 30 * time.Second
	maxCatalogue     = 4 << 20
	maxNames         = 10000
)

// catalogue is a provider's list of models. The last good one is used while
// the provider cannot be asked.
type catalogue struct {
	mu    sync.Mutex
	names []string
	due   time.Time     // when it is fetched again
	busy  chan struct{} // closed when the fetch that is running ends
	ready bool          // fetched at least once
}

// Warm fetches the catalogues that were never fetched, all at once, and
// returns when they are there or ctx ends.
func (p *Pool) Warm(ctx context.Context, accounts []*snapshot.Account) {
	var waits []chan struct{}
	for _, a := range accounts {
		if _, wait := p.names(a); wait != nil {
			waits = append(waits, wait)
		}
	}
	for _, wait := range waits {
		select {
		case <-ctx.Done():
			return
		case <-wait:
		}
	}
}

// Names lists the models of an account's provider, sorted, as they were known
// last; a list that is old is fetched again in the background. It never waits.
func (p *Pool) Names(a *snapshot.Account) []string {
	names, _ := p.names(a)
	return names
}

// names returns what is known, and what to wait for where nothing is.
func (p *Pool) names(a *snapshot.Account) ([]string, chan struct{}) {
	if a.Resource.Spec.Provider == v1.ProviderEcho {
		return []string{llm.EchoModel}, nil
	}
	t, err := p.Target(a)
	if err != nil || !t.Upstream.Lists() {
		return nil, nil
	}
	c := t.catalogue
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy == nil && !p.opt.Now().Before(c.due) {
		p.fetch(a, t)
	}
	if c.ready {
		return c.names, nil
	}
	return nil, c.busy
}

// fetch starts a fetch. The caller holds the catalogue's lock.
func (p *Pool) fetch(a *snapshot.Account, t *Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	c := t.catalogue
	c.busy = make(chan struct{})
	p.work.Go(func() {
		names, err := p.ask(a, t)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			c.due = p.opt.Now().Add(catalogueRetry)
			p.opt.Log.Warn("a provider's models cannot be listed", "account", a.Name, "error", err)
		} else {
			c.names, c.ready, c.due = names, true, p.opt.Now().Add(p.opt.CatalogueAge)
		}
		close(c.busy)
		c.busy = nil
	})
}

func (p *Pool) ask(a *snapshot.Account, t *Target) ([]string, error) {
	ctx, cancel := context.WithTimeout(p.ctx, catalogueTimeout)
	defer cancel()
	h := http.Header{"Accept": {"application/json"}, "User-Agent": {"gatehouse"}}
	apiKey := ""
	if a.Resource.Spec.Credentials.APIKey != nil {
		var err error
		if p.opt.Keys == nil {
			return nil, fmt.Errorf("there is nobody to ask for keys")
		}
		if apiKey, err = p.opt.Keys.Key(a); err != nil {
			return nil, err
		}
	}
	t.Upstream.Authorize(h, apiKey)
	req := t.Upstream.Request(llm.ModelsList, "").WithContext(ctx)
	if a.Resource.Spec.Provider == v1.ProviderAnthropic {
		u := *req.URL
		u.RawQuery = "limit=1000"
		req.URL = &u
	}
	req.Header = h
	resp, err := t.Transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the provider answered %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxCatalogue+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxCatalogue || !gjson.ValidBytes(body) {
		return nil, fmt.Errorf("the provider's list is too long, or is not JSON")
	}
	var names []string
	gjson.GetBytes(body, "data").ForEach(func(_, m gjson.Result) bool {
		if id := m.Get("id"); id.Type == gjson.String && id.Str != "" && len(id.Str) <= 256 {
			names = append(names, id.Str)
		}
		return len(names) < maxNames
	})
	slices.Sort(names)
	return slices.Compact(names), nil
}
