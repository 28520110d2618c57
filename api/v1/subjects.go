package v1

import (
	"slices"
	"strings"
)

// SubjectKinds are the words before the colon of a subject.
func SubjectKinds() []string {
	return []string{"user", "team", "virtual-account", "external-identity", "agent", "role"}
}

// Collaborator gives one subject one role on the resource that lists it.
type Collaborator struct {
	// Subject is user:EMAIL, team:NAME, virtual-account:NAME,
	// external-identity:NAME or team:everyone.
	Subject string `json:"subject"`
	// Role is a built-in or custom role's name.
	Role string `json:"role"`
}

// ParseSubject splits "team:research" and normalises e-mail addresses.
// It returns ok = false for anything that is not a subject.
func ParseSubject(s string) (kind, name string, ok bool) {
	kind, name, found := strings.Cut(s, ":")
	if !found || !slices.Contains(SubjectKinds(), kind) || name == "" {
		return "", "", false
	}
	if kind == "user" {
		name = NormalizeEmail(name)
		return kind, name, ValidEmail(name)
	}
	return kind, name, ValidName(name)
}

func (e *FieldErrors) subject(path, s string, kinds ...string) {
	kind, _, ok := ParseSubject(s)
	switch {
	case s == "":
		e.addf(path, "is required")
	case !ok:
		e.addf(path, "%q is not a subject; write user:EMAIL, team:NAME, virtual-account:NAME or external-identity:NAME%s", s, emailHint(s))
	case !slices.Contains(kinds, kind):
		e.addf(path, "a %s cannot stand here; use one of %s", kind, strings.Join(kinds, ", "))
	}
}

// grantees are the subjects that can be given a role.
func grantees() []string {
	return []string{"user", "team", "virtual-account", "external-identity", "agent"}
}

func (e *FieldErrors) collaborators(path string, list []Collaborator) {
	seen := map[Collaborator]bool{}
	for i, c := range list {
		p := index(path, i)
		e.subject(p+".subject", c.Subject, grantees()...)
		e.name(p+".role", c.Role)
		if seen[c] {
			e.addf(p, "%s has %s twice", c.Subject, c.Role)
		}
		seen[c] = true
	}
}

func normalizeCollaborators(list []Collaborator) {
	for i := range list {
		if kind, name, ok := ParseSubject(list[i].Subject); ok {
			list[i].Subject = kind + ":" + name
		}
	}
}

// ResourceKinds are the words before the colon of a resource in bindings.
func ResourceKinds() []string {
	kinds := []string{"model", "virtual-model", "mcp-server", "mcp-tool", "agent", "user", "logs", "metrics", "audit"}
	for _, k := range Kinds() {
		kinds = append(kinds, k.Slug())
	}
	return kinds
}

// ParseResource splits "model:openai-main/gpt-4o". "tenant" has no name.
func ParseResource(s string) (kind, name string, ok bool) {
	if s == "tenant" {
		return "tenant", "", true
	}
	kind, name, found := strings.Cut(s, ":")
	if !found || name == "" || !slices.Contains(ResourceKinds(), kind) {
		return "", "", false
	}
	switch kind {
	case "model":
		_, _, ok = SplitFQN(name)
		return kind, name, ok
	case "mcp-tool":
		server, tool, found := strings.Cut(name, "/")
		return kind, name, found && ValidName(server) && tool != ""
	case "user":
		name = NormalizeEmail(name)
		return kind, name, ValidEmail(name)
	default:
		return kind, name, ValidName(name)
	}
}

// SplitFQN splits a model's fully qualified name at the first slash:
// "openai-main/gpt-4o" is the model gpt-4o of the account openai-main.
func SplitFQN(fqn string) (account, model string, ok bool) {
	account, model, found := strings.Cut(fqn, "/")
	return account, model, found && ValidName(account) && model != "" && len(model) <= 256
}

func (e *FieldErrors) resource(path, s string) {
	if _, _, ok := ParseResource(s); !ok {
		e.addf(path, "%q is not a resource; write tenant, provider-account:NAME, model:ACCOUNT/MODEL, team:NAME and so on", s)
	}
}
