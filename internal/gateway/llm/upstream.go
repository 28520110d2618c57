package llm

import (
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// anthropicVersion is sent where the caller sent none.
const anthropicVersion = "2023-06-01"

// Upstream is where and how a provider account wants its requests. It is made
// once an account and used by any number of requests at once.
type Upstream struct {
	provider  v1.Provider
	templates [endpointCount]*http.Request
	base      url.URL
	perModel  bool // Azure's paths by deployment
	query     string
	extra     http.Header
	auth      atomic.Pointer[authorization]
}

// authorization is the header value of a key, made once a key.
type authorization struct {
	key   string
	value []string
}

// NewUpstream prepares an account that is not the echo provider.
func NewUpstream(spec *v1.ProviderAccountSpec) (*Upstream, error) {
	base, err := url.Parse(spec.BaseURL)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("baseURL %q is not an absolute URL", spec.BaseURL)
	}
	if base.Path == "" {
		base.Path = "/" // JoinPath would make a relative path
	}
	u := &Upstream{provider: spec.Provider, base: *base, extra: http.Header{}}
	switch spec.Provider {
	case v1.ProviderOpenAI, v1.ProviderOpenAICompatible:
		if spec.Organization != "" {
			u.extra["Openai-Organization"] = []string{spec.Organization}
		}
		if spec.Project != "" {
			u.extra["Openai-Project"] = []string{spec.Project}
		}
	case v1.ProviderAnthropic:
		u.base = *base.JoinPath("v1")
	case v1.ProviderAzureOpenAI:
		if spec.APIVersion == "v1" || spec.APIVersion == "" {
			u.base = *base.JoinPath("openai", "v1")
		} else {
			u.base, u.perModel = *base.JoinPath("openai"), true
			u.query = url.Values{"api-version": {spec.APIVersion}}.Encode()
		}
	default:
		return nil, fmt.Errorf("provider %q has no address", spec.Provider)
	}
	for e := ModelsList; e < endpointCount; e++ {
		if e == ModelsList || e.Speaks(spec.Provider) {
			u.templates[e] = u.template(e, "")
		}
	}
	return u, nil
}

// template builds the request line from parts; nothing of it comes from the
// caller but a deployment's name, which is escaped.
func (u *Upstream) template(e Endpoint, model string) *http.Request {
	target := u.base
	if model != "" {
		target = *target.JoinPath("deployments", url.PathEscape(model))
	}
	target = *target.JoinPath(e.Path())
	target.RawQuery = u.query
	method := http.MethodPost
	if e == ModelsList {
		method = http.MethodGet
	}
	return &http.Request{Method: method, URL: &target, Host: target.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
}

// Request returns what to clone (WithContext) for a call; its header is nil.
// It is nil for an endpoint that the provider does not have. Do not change it.
func (u *Upstream) Request(e Endpoint, model string) *http.Request {
	if u.perModel && e != Responses && e != ModelsList && u.templates[e] != nil {
		return u.template(e, model)
	}
	return u.templates[e]
}

// Authorize puts the provider's key, and what else the provider wants, into a
// header. An empty key is none.
func (u *Upstream) Authorize(h http.Header, key string) {
	for name, value := range u.extra {
		h[name] = value
	}
	if u.provider == v1.ProviderAnthropic {
		if _, ok := h["Anthropic-Version"]; !ok {
			h["Anthropic-Version"] = []string{anthropicVersion}
		}
	}
	if key == "" {
		return
	}
	a := u.auth.Load()
	if a == nil || a.key != key {
		value := key
		if u.provider == v1.ProviderOpenAI || u.provider == v1.ProviderOpenAICompatible {
			value = "Bearer " + key
		}
		a = &authorization{key: key, value: []string{value}}
		u.auth.Store(a)
	}
	switch u.provider {
	case v1.ProviderAnthropic:
		h["X-Api-Key"] = a.value
	case v1.ProviderAzureOpenAI:
		h["Api-Key"] = a.value
	default:
		h["Authorization"] = a.value
	}
}

// Lists reports whether the provider's /models names what can be called.
// Azure's lists what could be deployed instead.
func (u *Upstream) Lists() bool { return u.provider != v1.ProviderAzureOpenAI }
