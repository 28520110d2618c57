package settings

import (
	"net/url"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// The names that the environment's resources have. A manifest of the same kind
// and name takes precedence.
const (
	EnvProvider = "env"
	EnvCallers  = "env-callers"
)

// EnvResources returns the resources that the environment stands for, to be
// applied by the manager "env": the identity provider env and the external
// identity env-callers where AUTH_OIDC_ISSUER is set, the providers of
// OIDC_CONFIG_FILE_PATH, and, under dev or where AUTH_OIDC_ISSUER is set, an
// account for each provider whose usual variable is set. All have their defaults
// and are valid. What is wrong with the issuer or the file is an error; a
// provider's variable that cannot be used leaves its account out, with a notice.
func EnvResources(c Compat, environ []string, dev bool) ([]v1.Resource, []Notice, error) {
	var list []v1.Resource
	var notices []Notice
	if c.Issuer != "" {
		idp, err := envProvider(c)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, idp, envCallers())
	}
	if c.OIDCConfigFile != "" {
		providers, said, err := ReadOIDCConfig(c.OIDCConfigFile)
		if err != nil {
			return nil, nil, err
		}
		for _, p := range providers {
			if c.Issuer != "" && p.Name == EnvProvider {
				return nil, nil, &Error{Setting: envOIDCConfig, Message: "the id env is taken by " + envIssuer + "; choose another"}
			}
			list = append(list, p)
		}
		notices = append(notices, said...)
	}
	if dev || c.Issuer != "" {
		accounts, said := ProviderAccounts(environ)
		for _, a := range accounts {
			list = append(list, a)
		}
		notices = append(notices, said...)
	}
	return list, notices, nil
}

// envProvider is the Inference Gateway's trust: any token of the issuer for the
// audience is somebody.
func envProvider(c Compat) (*v1.IdentityProvider, error) {
	p := &v1.IdentityProvider{
		TypeMeta:   v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindIdentityProvider},
		ObjectMeta: v1.ObjectMeta{Name: EnvProvider},
		Spec: v1.IdentityProviderSpec{
			Description:  "From " + envIssuer + ".",
			Issuer:       c.Issuer,
			Audiences:    v1.Strings{c.Audience},
			AudienceFrom: v1.Strings{"client_id", "azp"},
			LinkBy:       v1.LinkByEmail, EmailDomains: v1.Strings{"*"}, EmailVerified: v1.EmailVerifiedAssumed,
			Resolve: v1.Resolve{Users: v1.UsersCreate},
			// The operator named the address on the host itself, and an identity
			// provider beside the gateway has a private one.
			AllowPrivateNetwork: true,
		},
	}
	p.Default()
	if errs := p.Validate(); len(errs) > 0 {
		e := &Error{Setting: envIssuer, Message: errs[0].Message}
		if strings.HasPrefix(c.Issuer, "http://") {
			e.Message = "plain http is accepted on loopback only; use https, or replace the AUTH_OIDC_* variables by an IdentityProvider manifest with insecureHTTP: true"
		}
		return nil, e
	}
	return p, nil
}

func envCallers() *v1.ExternalIdentity {
	return &v1.ExternalIdentity{
		TypeMeta:   v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindExternalIdentity},
		ObjectMeta: v1.ObjectMeta{Name: EnvCallers},
		Spec:       v1.ExternalIdentitySpec{Description: "Everybody with a token of the provider env.", IdentityProvider: EnvProvider},
	}
}

// usual is a provider and the variables by which its own tools know it.
type usual struct {
	name     string
	provider v1.Provider
	// key and url name variables. A provider without a base URL of its own
	// (Ollama, vLLM, Azure) needs the second, one with needs the first.
	key, url string
	base     string
	// path is added to an address that has none: Ollama is told by host alone.
	path string
}

func usuals() []usual {
	const compatible = v1.ProviderOpenAICompatible
	return []usual{
		{name: "openai", provider: v1.ProviderOpenAI, key: "OPENAI_API_KEY", url: "OPENAI_API_URL", base: "https://api.openai.com/v1", path: "/v1"},
		{name: "anthropic", provider: v1.ProviderAnthropic, key: "ANTHROPIC_API_KEY", url: "ANTHROPIC_API_URL", base: "https://api.anthropic.com"},
		{name: "azure-openai", provider: v1.ProviderAzureOpenAI, key: "AZURE_OPENAI_API_KEY", url: "AZURE_OPENAI_ENDPOINT"},
		{name: "ollama", provider: compatible, key: "OLLAMA_API_KEY", url: "OLLAMA_API_URL", path: "/v1"},
		{name: "vllm", provider: compatible, key: "VLLM_API_KEY", url: "VLLM_API_URL", path: "/v1"},
		{name: "groq", provider: compatible, key: "GROQ_API_KEY", url: "GROQ_API_URL", base: "https://api.groq.com/openai/v1", path: "/openai/v1"},
		{name: "mistral", provider: compatible, key: "MISTRAL_API_KEY", url: "MISTRAL_API_URL", base: "https://api.mistral.ai/v1", path: "/v1"},
		{name: "deepseek", provider: compatible, key: "DEEPSEEK_API_KEY", url: "DEEPSEEK_API_URL", base: "https://api.deepseek.com/v1", path: "/v1"},
		{name: "openrouter", provider: compatible, key: "OPENROUTER_API_KEY", url: "OPENROUTER_API_URL", base: "https://openrouter.ai/api/v1", path: "/api/v1"},
		{name: "together", provider: compatible, key: "TOGETHER_API_KEY", url: "TOGETHER_API_URL", base: "https://api.together.xyz/v1", path: "/v1"},
		{name: "fireworks", provider: compatible, key: "FIREWORKS_API_KEY", url: "FIREWORKS_API_URL", base: "https://api.fireworks.ai/inference/v1", path: "/inference/v1"},
		{name: "xai", provider: compatible, key: "XAI_API_KEY", url: "XAI_API_URL", base: "https://api.x.ai/v1", path: "/v1"},
		{name: "cerebras", provider: compatible, key: "CEREBRAS_API_KEY", url: "CEREBRAS_API_URL", base: "https://api.cerebras.ai/v1", path: "/v1"},
		{name: "cohere", provider: compatible, key: "COHERE_API_KEY", url: "COHERE_API_URL", base: "https://api.cohere.ai/compatibility/v1", path: "/compatibility/v1"},
		{name: "google", provider: compatible, key: "GEMINI_API_KEY", url: "GEMINI_API_URL", base: "https://generativelanguage.googleapis.com/v1beta/openai", path: "/v1beta/openai"},
	}
}

// ProviderAccounts returns an account for each provider whose usual variable is
// set: named after the provider, with the model *, usable by everyone and by
// env-callers. The key is a reference to its variable, never the value.
func ProviderAccounts(environ []string) ([]*v1.ProviderAccount, []Notice) {
	env := newEnviron(environ)
	var list []*v1.ProviderAccount
	var notices []Notice
	for _, u := range usuals() {
		a, notice := u.account(env)
		if a != nil {
			list = append(list, a)
		}
		if notice != nil {
			notices = append(notices, *notice)
		}
	}
	return list, notices
}

func (u usual) account(env environ) (*v1.ProviderAccount, *Notice) {
	key, address := env.get(u.key), env.get(u.url)
	switch {
	case u.base != "" && key == "", u.base == "" && address == "":
		return nil, nil
	case u.provider == v1.ProviderAzureOpenAI && key == "":
		return nil, &Notice{Setting: u.url, Message: "is set but " + u.key + " is not; no account was made"}
	}
	a := &v1.ProviderAccount{
		TypeMeta:   v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindProviderAccount},
		ObjectMeta: v1.ObjectMeta{Name: u.name},
		Spec: v1.ProviderAccountSpec{
			Description: "From the environment.",
			Provider:    u.provider, BaseURL: u.base,
			Models: []v1.Model{{Name: v1.WildcardModel}},
			Collaborators: []v1.Collaborator{
				{Subject: "team:everyone", Role: "provider-account-user"},
				{Subject: "external-identity:" + EnvCallers, Role: "provider-account-user"},
			},
		},
	}
	if key != "" {
		a.Spec.Credentials.APIKey = &v1.SecretValue{Env: u.key}
	}
	if address != "" {
		a.Spec.BaseURL = u.complete(address)
		a.Spec.AllowPrivateNetwork = true // named by the operator on the host itself
	}
	a.Default()
	if errs := a.Validate(); len(errs) > 0 {
		message := errs[0].Message
		if strings.HasPrefix(address, "http://") {
			message = "plain http is accepted on loopback only; use https, or a ProviderAccount manifest with insecureHTTP: true"
		}
		return nil, &Notice{Setting: u.url, Message: message + "; the account " + u.name + " was left out"}
	}
	return a, nil
}

// complete gives an address the path that the provider's API has, where it was
// given without one. Anthropic's base has no /v1, which others write.
func (u usual) complete(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return address
	}
	path := strings.TrimRight(parsed.Path, "/")
	if u.provider == v1.ProviderAnthropic {
		path = strings.TrimSuffix(path, "/v1")
	}
	if path == "" {
		path = u.path
	}
	parsed.Path = path
	return parsed.String()
}
