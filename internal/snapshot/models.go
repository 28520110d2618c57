package snapshot

import (
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// Account is a provider account.
type Account struct {
	Name string
	UID  string
	// Resource is what was written. Do not change it.
	Resource *v1.ProviderAccount
	Target   *Target
	// Wildcard is the entry "*", or nil.
	Wildcard *Model
	// models are the named entries, and names that somebody was given a role
	// on although only the wildcard covers them.
	models map[string]*Model
	// reserved are the upstream ids of named entries without their dates:
	// the wildcard must not be a way around a named entry.
	reserved map[string]bool
}

// Model is one model of an account.
type Model struct {
	Account *Account
	// Name is the name within the account; "*" for the wildcard.
	Name string
	// FQN is account/name.
	FQN string
	// Spec is the entry in the account; the wildcard's for a name that only
	// the wildcard covers; nil where nothing does.
	Spec   *v1.Model
	Target *Target
	// Listed: there is an entry of this very name.
	Listed bool
}

// Serves reports whether a model can do something.
func (m *Model) Serves(t v1.ModelType) bool {
	return m.Spec != nil && (m.Spec.Types == nil || slices.Contains(m.Spec.Types, t))
}

// Enabled reports whether the model exists and is switched on.
func (m *Model) Enabled() bool { return m.Spec != nil && m.Spec.IsEnabled() }

// Upstream returns the provider's id of the model for a requested name.
func (m *Model) Upstream(requested string) string {
	if m.Spec == nil || m.Spec.Name == v1.WildcardModel {
		return requested
	}
	return m.Spec.Model
}

// Account finds a provider account by name.
func (s *Snapshot) Account(name string) (*Account, bool) {
	a, ok := s.cfg.accounts[name]
	return a, ok
}

// Accounts lists the provider accounts by name. Do not change the list.
func (s *Snapshot) Accounts() []*Account { return s.cfg.accountList }

// Model finds a model by its account and its name within it. For a name that
// only the wildcard covers it returns the wildcard, or an entry of that name
// below it where somebody has a role on just that name.
func (s *Snapshot) Model(account, name string) (*Model, bool) {
	a, ok := s.cfg.accounts[account]
	if !ok || name == v1.WildcardModel {
		return nil, false
	}
	m, ok := a.models[name]
	if ok && m.Listed {
		return m, true
	}
	if a.Wildcard == nil || !wildcardCovers(name) || a.isReserved(name) {
		return nil, false
	}
	if ok {
		return m, true
	}
	return a.Wildcard, true
}

// Named lists the named entries of an account, sorted.
func (a *Account) Named() []*Model {
	var list []*Model
	for _, m := range a.models {
		if m.Listed {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(x, y *Model) int { return strings.Compare(x.Name, y.Name) })
	return list
}

// Granted lists, sorted, the names that only the wildcard covers and on which
// somebody was given a role.
func (a *Account) Granted() []string {
	var list []string
	for name, m := range a.models {
		if !m.Listed {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// versions are the forms of what makers put behind a model's name to pin or
// float it, where d stands for a digit: gpt-4o-2024-11-20,
// gemini-1.5-pro-002, claude-3-5-sonnet-latest. A longer form comes before one
// that it ends in.
var versions = [...]string{"dddd-dd-dd", "dd-dd", "dddddddd", "dddddd", "dddd", "ddd", "latest"}

// undated takes what pins a version off a model id, so that gpt-4o-2024-11-20
// and gpt-4o are seen to be one model.
func undated(id string) string {
	id = strings.TrimPrefix(strings.ToLower(id), "models/") // as Gemini also writes it
	for {
		n := versionAt(id)
		if n <= 0 {
			return id
		}
		id = id[:n]
	}
}

// versionAt returns where the version that ends an id begins, with the sign
// before it; -1 for none.
func versionAt(id string) int {
	for _, form := range versions {
		n := len(id) - len(form) - 1
		if n >= 0 && (id[n] == '-' || id[n] == '@' || id[n] == ':') && hasForm(id[n+1:], form) {
			return n
		}
	}
	return -1
}

func hasForm(s, form string) bool {
	for i := range len(form) {
		if form[i] == 'd' && form != "latest" {
			if s[i] < '0' || s[i] > '9' {
				return false
			}
		} else if s[i] != form[i] {
			return false
		}
	}
	return true
}

// isReserved reports whether a name is a way to write the upstream id of a
// named entry: with a version, or with a tag as llama3:8b and gpt-4o:nitro.
func (a *Account) isReserved(name string) bool {
	if a.reserved[undated(name)] {
		return true
	}
	for i := range len(name) {
		if (name[i] == ':' || name[i] == '@') && a.reserved[undated(name[:i])] {
			return true
		}
	}
	return false
}

// wildcardCovers keeps the wildcard to names that mean the same to every
// reader: what an upstream might trim, unescape or resolve could be a named
// entry in disguise.
func wildcardCovers(name string) bool {
	if name == "" || len(name) > 256 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`\%?#"*`, c) >= 0 {
			return false
		}
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func (c *compiler) account(r *v1.ProviderAccount) {
	a := &Account{Name: r.Name, UID: r.UID, Resource: r, models: map[string]*Model{}, reserved: map[string]bool{}}
	source := identity.AccountRef(r.Name)
	a.Target = c.target(source, c.cfg.tenant)
	c.collaborators(a.Target, string(source), r.Spec.Collaborators)
	c.cfg.accounts[r.Name] = a
	c.cfg.accountList = append(c.cfg.accountList, a)
	for i := range r.Spec.Models {
		spec := &r.Spec.Models[i]
		m := c.model(a, spec.Name, a.Target)
		m.Spec, m.Listed = spec, true
		if spec.Name == v1.WildcardModel {
			a.Wildcard = m
		} else {
			a.reserved[undated(spec.Model)] = true
			a.models[spec.Name] = m
		}
		if spec.Collaborators != nil {
			m.Target.Narrowed = true
			c.collaborators(m.Target, string(m.Target.Ref), spec.Collaborators)
		}
	}
}

func (c *compiler) model(a *Account, name string, above *Target) *Model {
	m := &Model{Account: a, Name: name, FQN: a.Name + "/" + name}
	m.Target = &Target{Ref: identity.ModelRef(m.FQN), Above: above, Model: m}
	c.cfg.targets[m.Target.Ref] = m.Target
	return m
}

// modelTarget finds the target of a grant on one model, and makes one for a
// name that has no entry of its own.
func (c *compiler) modelTarget(fqn string) *Target {
	account, name, ok := v1.SplitFQN(fqn)
	if !ok {
		return nil
	}
	if t, ok := c.cfg.targets[identity.ModelRef(fqn)]; ok {
		return t
	}
	a, ok := c.cfg.accounts[account]
	if !ok {
		return nil
	}
	above := a.Target
	if a.Wildcard != nil {
		above = a.Wildcard.Target
	}
	m := c.model(a, name, above)
	if a.Wildcard != nil {
		m.Spec = a.Wildcard.Spec
	}
	a.models[name] = m
	return m.Target
}
