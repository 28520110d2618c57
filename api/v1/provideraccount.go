package v1

import (
	"strconv"
	"strings"
	"time"
)

// ProviderAccount is an account at a model provider: its address, its real
// key, which callers never see, and its models.
type ProviderAccount struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       ProviderAccountSpec `json:"spec"`
}

// Provider is a kind of model provider.
type Provider string

// The providers of this version.
const (
	ProviderOpenAI           Provider = "openai"
	ProviderAzureOpenAI      Provider = "azure-openai"
	ProviderAnthropic        Provider = "anthropic"
	ProviderOpenAICompatible Provider = "openai-compatible"
	// ProviderEcho is built in: it answers with what it was asked.
	ProviderEcho Provider = "echo"
)

// WildcardModel is the name of the entry that stands for any other model of
// the provider.
const WildcardModel = "*"

// ProviderAccountSpec is the account's settings.
type ProviderAccountSpec struct {
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Provider is openai, azure-openai, anthropic, openai-compatible or echo.
	Provider Provider `json:"provider"`
	// BaseURL is where requests go, up to and without the endpoint's name:
	// https://api.openai.com/v1. Default: the provider's own. Required for
	// azure-openai (https://NAME.openai.azure.com) and openai-compatible.
	BaseURL string `json:"baseURL,omitempty"`
	// APIVersion is Azure's api-version parameter. With "v1" requests go to
	// Azure's /openai/v1 paths. Default for azure-openai: v1.
	APIVersion string `json:"apiVersion,omitempty"`
	// Organization is sent as OpenAI-Organization.
	Organization string `json:"organization,omitempty"`
	// Project is sent as OpenAI-Project.
	Project string `json:"project,omitempty"`
	// Credentials hold the provider's key.
	Credentials ProviderCredentials `json:"credentials,omitzero"`
	// Models are the models that callers may be given. Nothing else is reachable.
	Models []Model `json:"models,omitempty"`
	// Collaborators have a role on the whole account.
	Collaborators []Collaborator `json:"collaborators,omitempty"`
	// Timeouts override upstream.firstByteTimeout and upstream.streamIdleTimeout.
	Timeouts Timeouts `json:"timeouts,omitzero"`
	// CACert is trusted for this account alone.
	CACert *CACert `json:"caCert,omitempty"`
	// InsecureHTTP allows a plain-http baseURL that is not loopback.
	InsecureHTTP bool `json:"insecureHTTP,omitempty"`
	// AllowPrivateNetwork allows a baseURL in a private address range.
	AllowPrivateNetwork bool `json:"allowPrivateNetwork,omitempty"`
	// Echo tells the built-in provider how to behave.
	Echo *Echo `json:"echo,omitempty"`
}

// ProviderCredentials hold the provider's key.
type ProviderCredentials struct {
	// APIKey is the key. A server that wants none has none.
	APIKey *SecretValue `json:"apiKey,omitempty"`
}

// Timeouts limit waiting, not answering: a slow answer is not cut.
type Timeouts struct {
	// FirstByte is the wait for the first byte of the answer. At most 24h.
	FirstByte Duration `json:"firstByte,omitempty"`
	// StreamIdle is the longest silence within a stream. At most 24h.
	StreamIdle Duration `json:"streamIdle,omitempty"`
}

// ModelType is something that a model can do.
type ModelType string

// The model types: which endpoints a model serves.
const (
	ModelChat       ModelType = "chat"
	ModelCompletion ModelType = "completion"
	ModelResponses  ModelType = "responses"
	ModelEmbedding  ModelType = "embedding"
	ModelImage      ModelType = "image"
	ModelSpeech     ModelType = "speech"
	ModelTranscript ModelType = "transcription"
	ModelModeration ModelType = "moderation"
	ModelRerank     ModelType = "rerank"
	ModelMessages   ModelType = "messages"
)

// Model is one model of an account.
type Model struct {
	// Name is how callers name it, after the account: account/NAME. "*" is any
	// other model of the provider.
	Name string `json:"name"`
	// Model is the provider's id, or Azure's deployment. Default: the name.
	Model string `json:"model,omitempty"`
	// Enabled: false hides the model and refuses calls. Default true.
	Enabled *bool `json:"enabled,omitempty"`
	// Types limit the endpoints. Absent: every endpoint.
	Types []ModelType `json:"types,omitempty"`
	// Cost is the price, for accounting.
	Cost *Cost `json:"cost,omitempty"`
	// Collaborators, where present, narrow the model to them; managers of the
	// account keep access. An empty list narrows it to nobody else.
	Collaborators []Collaborator `json:"collaborators,omitzero"`
}

// Cost is in US dollars per million tokens.
type Cost struct {
	// Input is the price of a million prompt tokens.
	Input Decimal `json:"input,omitempty"`
	// Output is the price of a million completion tokens.
	Output Decimal `json:"output,omitempty"`
}

// Echo tells the built-in provider how to behave.
type Echo struct {
	// Delay is the wait before the first byte.
	Delay Duration `json:"delay,omitempty"`
	// ChunkDelay is the wait between the chunks of a stream.
	ChunkDelay Duration `json:"chunkDelay,omitempty"`
	// Status other than 200 makes every call fail with it (400 to 599).
	Status int `json:"status,omitempty"`
	// RetryAfter is sent as Retry-After with a failing status.
	RetryAfter Duration `json:"retryAfter,omitempty"`
}

func (a *ProviderAccount) Type() *TypeMeta   { return &a.TypeMeta }
func (a *ProviderAccount) Meta() *ObjectMeta { return &a.ObjectMeta }

// Secrets returns the provider's key.
func (a *ProviderAccount) Secrets() []SecretField {
	if a.Spec.Credentials.APIKey == nil {
		return nil
	}
	s, ca := &a.Spec, CACert{}
	if s.CACert != nil {
		ca = *s.CACert
	}
	return []SecretField{{Path: "spec.credentials.apiKey", Value: s.Credentials.APIKey, Destination: destination(
		string(s.Provider), s.BaseURL, s.APIVersion, ca.File, ca.PEM, strconv.FormatBool(s.InsecureHTTP))}}
}

// Default fills in the provider's address and the models' upstream ids.
func (a *ProviderAccount) Default() {
	if a.Spec.BaseURL == "" {
		switch a.Spec.Provider {
		case ProviderOpenAI:
			a.Spec.BaseURL = "https://api.openai.com/v1"
		case ProviderAnthropic:
			a.Spec.BaseURL = "https://api.anthropic.com"
		}
	}
	a.Spec.BaseURL = strings.TrimRight(a.Spec.BaseURL, "/")
	if a.Spec.Provider == ProviderAzureOpenAI && a.Spec.APIVersion == "" {
		a.Spec.APIVersion = "v1"
	}
	for i := range a.Spec.Models {
		m := &a.Spec.Models[i]
		if m.Model == "" && m.Name != WildcardModel {
			m.Model = m.Name
		}
		normalizeCollaborators(m.Collaborators)
	}
	normalizeCollaborators(a.Spec.Collaborators)
}

// Validate reports everything that is wrong with the account.
func (a *ProviderAccount) Validate() FieldErrors {
	errs := validateMeta(KindProviderAccount, a.TypeMeta, a.ObjectMeta)
	if a.Name == "virtual" {
		errs.addf("metadata.name", "virtual is where virtual models live; choose another name")
	}
	s := &a.Spec
	oneOf(&errs, "spec.provider", s.Provider, ProviderOpenAI, ProviderAzureOpenAI, ProviderAnthropic, ProviderOpenAICompatible, ProviderEcho)
	switch {
	case s.Provider == ProviderEcho:
		if s.BaseURL != "" || s.Credentials.APIKey != nil {
			errs.addf("spec", "the echo provider is built in and takes neither baseURL nor credentials")
		}
	case s.BaseURL == "":
		errs.addf("spec.baseURL", "is required for %s", s.Provider)
	default:
		errs.url("spec.baseURL", s.BaseURL, s.InsecureHTTP)
		if strings.Contains(s.BaseURL, "?") {
			errs.addf("spec.baseURL", "must not have a query")
		}
	}
	if s.APIVersion != "" && s.Provider != ProviderAzureOpenAI {
		errs.addf("spec.apiVersion", "is for azure-openai")
	}
	errs.secret("spec.credentials.apiKey", s.Credentials.APIKey)
	errs.caCert("spec.caCert", s.CACert)
	errs.duration("spec.timeouts.firstByte", s.Timeouts.FirstByte, time.Second, 24*time.Hour)
	errs.duration("spec.timeouts.streamIdle", s.Timeouts.StreamIdle, time.Second, 24*time.Hour)
	errs.models("spec.models", s.Models)
	errs.collaborators("spec.collaborators", s.Collaborators)
	errs.echo("spec.echo", s)
	return errs
}

func (e *FieldErrors) models(path string, models []Model) {
	seen := map[string]bool{}
	for i, m := range models {
		p := index(path, i)
		switch {
		case m.Name == "":
			e.addf(p+".name", "is required")
		case len(m.Name) > 256 || strings.ContainsAny(m.Name, " \t\r\n\\%?#\"") || strings.HasPrefix(m.Name, "/") || strings.Contains("/"+m.Name+"/", "/../") || strings.Contains(m.Name, "//"):
			e.addf(p+".name", "%q must have at most 256 characters and no spaces, backslashes, quotes, %%, ?, # or empty path segments", m.Name)
		case seen[m.Name]:
			e.addf(p+".name", "%q is listed twice", m.Name)
		case m.Name == WildcardModel && m.Model != "":
			e.addf(p+".model", "the wildcard stands for many models; leave this out")
		}
		seen[m.Name] = true
		for j, t := range m.Types {
			oneOf(e, index(p+".types", j), t, ModelChat, ModelCompletion, ModelResponses, ModelEmbedding, ModelImage,
				ModelSpeech, ModelTranscript, ModelModeration, ModelRerank, ModelMessages)
		}
		if m.Types != nil && len(m.Types) == 0 {
			e.addf(p+".types", "an empty list serves nothing; leave it out, or use enabled: false")
		}
		if m.Cost != nil {
			e.decimal(p+".cost.input", m.Cost.Input)
			e.decimal(p+".cost.output", m.Cost.Output)
		}
		e.collaborators(p+".collaborators", m.Collaborators)
	}
}

func (e *FieldErrors) echo(path string, s *ProviderAccountSpec) {
	if s.Echo == nil {
		return
	}
	if s.Provider != ProviderEcho {
		e.addf(path, "is for the echo provider")
	}
	e.duration(path+".delay", s.Echo.Delay, 0, time.Hour)
	e.duration(path+".chunkDelay", s.Echo.ChunkDelay, 0, time.Hour)
	e.duration(path+".retryAfter", s.Echo.RetryAfter, 0, time.Hour)
	if s.Echo.Status != 0 && s.Echo.Status != 200 && (s.Echo.Status < 400 || s.Echo.Status > 599) {
		e.addf(path+".status", "must be 200, or 400 to 599")
	}
}

// IsEnabled reports whether the model may be called.
func (m *Model) IsEnabled() bool { return m.Enabled == nil || *m.Enabled }
