package settings

import (
	"slices"
	"strconv"
	"strings"
)

// environ is the environment of the process.
type environ struct {
	values map[string]string
	names  []string // sorted
}

func newEnviron(list []string) environ {
	e := environ{values: map[string]string{}}
	for _, entry := range list {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			continue
		}
		if _, twice := e.values[name]; !twice {
			e.names = append(e.names, name)
		}
		e.values[name] = value
	}
	slices.Sort(e.names)
	return e
}

// get returns a variable of another product. There an empty variable means an
// absent one, because templates and compose files leave empty ones behind.
func (e environ) get(name string) string { return strings.TrimSpace(e.values[name]) }

// notSettings are the variables with our prefix that are not settings of the
// process: the CLI's, and the name of the settings file.
func notSettings(name string) bool {
	switch name {
	case "GATEHOUSE_URL", "GATEHOUSE_TOKEN", "GATEHOUSE_CONFIG", "GATEHOUSE_PORT":
		return true
	}
	// Kubernetes makes the SERVICE and PORT variables for a Service of our name.
	for _, prefix := range []string{"GATEHOUSE_SERVICE_", "GATEHOUSE_PORT_", "GATEHOUSE_TEST_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func (l *loader) environment(env environ) (values map[string]any, origins map[string]string) {
	values, origins = map[string]any{}, map[string]string{}
	byName := map[string]Field{}
	known := make([]string, 0, len(l.fields))
	for _, f := range l.fields {
		byName[f.Env] = f
		known = append(known, f.Env)
	}
	for _, name := range env.names {
		f, isSetting := byName[name]
		switch {
		case !strings.HasPrefix(name, "GATEHOUSE_") || notSettings(name):
		case !isSetting:
			l.errorf(name, "is not a setting"+suggest(name, known, ""))
		case strings.TrimSpace(env.values[name]) == "":
			// Absent, empty and all are three different values; nobody can tell
			// which of them an empty variable was meant to be.
			l.errorf(name, "is empty; give it a value, or unset it")
		default:
			values[f.Name], origins[f.Name] = listed(f, env.values[name]), name
		}
	}
	return values, origins
}

// The variables of the Inference Gateway.
const (
	envAuthEnable   = "AUTH_ENABLE"
	envAuthEnabled  = "AUTH_ENABLED"
	envIssuer       = "AUTH_OIDC_ISSUER"
	envClientID     = "AUTH_OIDC_CLIENT_ID"
	envClientSecret = "AUTH_OIDC_CLIENT_SECRET"
	envAudience     = "AUTH_OIDC_AUDIENCE"
	envOIDCConfig   = "OIDC_CONFIG_FILE_PATH"
)

func authVariables() []string {
	return []string{envAuthEnable, envAuthEnabled, envIssuer, envClientID, envClientSecret, envAudience}
}

// compat reads the variables of others. An unknown AUTH_ variable is an error:
// a misspelt switch must never mean "open".
func (l *loader) compat(env environ) Compat {
	for _, name := range env.names {
		if !strings.HasPrefix(name, "AUTH_") || slices.Contains(authVariables(), name) {
			continue
		}
		switch name {
		case "AUTH_ISSUER_URL":
			l.errorf(name, "is not read; did you mean "+envIssuer+"?")
		case "AUTH_CLIENT_ID", "AUTH_CLIENT_SECRET":
			l.errorf(name, "is not read; did you mean "+strings.Replace(name, "AUTH_", "AUTH_OIDC_", 1)+"?")
		default:
			l.errorf(name, "is not a variable that Gatehouse knows"+suggest(name, authVariables(), "")+
				" (unknown AUTH_* variables stop the start, because one may be a misspelt switch)")
		}
	}
	c := Compat{
		AuthEnabled: true, Issuer: env.get(envIssuer), ClientID: env.get(envClientID),
		Audience: env.get(envAudience), OIDCConfigFile: env.get(envOIDCConfig),
	}
	_ = c.ClientSecret.UnmarshalText([]byte(env.get(envClientSecret))) // never fails
	if c.Audience == "" {
		c.Audience = c.ClientID
	}
	l.authSwitch(env, &c)
	l.issuer(env, c)
	return c
}

func (l *loader) authSwitch(env environ, c *Compat) {
	first := ""
	for _, name := range []string{envAuthEnable, envAuthEnabled} {
		text := env.get(name)
		if text == "" {
			continue
		}
		on, err := parseSwitch(text)
		switch {
		case err != nil:
			l.errorf(name, err.Error())
		case c.Set && on != c.AuthEnabled:
			l.errorf(name, "contradicts "+first+"; set one of them, or both to the same")
		default:
			c.Set, c.AuthEnabled, first = true, on, name
		}
	}
}

func (l *loader) issuer(env environ, c Compat) {
	if c.Issuer != "" && c.Audience == "" {
		l.errorf(envClientID, "is required with "+envIssuer+": it is the audience that tokens must carry; or set "+envAudience)
	}
	if c.Issuer != "" {
		return
	}
	for _, name := range []string{envClientID, envClientSecret, envAudience} {
		if env.get(name) != "" {
			l.notice(name, "has no effect without "+envIssuer)
		}
	}
}

// parseSwitch reads true and false, and what other gateways write for them.
func parseSwitch(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, &wordError{got: s, words: []string{"true", "false"}}
}

type wordError struct {
	got   string
	words []string
}

func (e *wordError) Error() string {
	return strconv.Quote(e.got) + " is not known; use " + strings.Join(e.words, " or ")
}
