package apply

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
)

// checker collects what is wrong between resources, each thing at its place.
type checker struct {
	*plan
	it   *item
	errs v1.FieldErrors
	// wrong: an error is about the document itself, whatever is there.
	wrong bool
	fail  error // the database
}

// references checks every document against the others and what is stored.
func (p *plan) references() error {
	var errs manifest.Errors
	wrong, digests := false, map[string]bool{}
	for _, it := range p.items {
		c := &checker{plan: p, it: it}
		c.check(it.new(), digests)
		if c.fail != nil {
			return c.fail
		}
		errs, wrong = append(errs, it.doc.Locate(c.errs)...), wrong || c.wrong
	}
	if wrong {
		return invalid(errs)
	}
	return conflicting(errs)
}

// errorf reports what contradicts what is there.
func (c *checker) errorf(path, format string, args ...any) {
	c.errs = append(c.errs, v1.FieldError{Path: path, Message: fmt.Sprintf(format, args...)})
}

// wrongf reports what is wrong wherever it is sent.
func (c *checker) wrongf(path, format string, args ...any) {
	c.errorf(path, format, args...)
	c.wrong = true
}

func (c *checker) warnf(path, format string, args ...any) {
	w := string(c.it.ref()) + " " + path + ": " + fmt.Sprintf(format, args...)
	if !slices.Contains(c.warnings, w) {
		c.warnings = append(c.warnings, w)
	}
}

func (c *checker) check(r v1.Resource, digests map[string]bool) {
	for _, g := range grantsOf(r) {
		c.roleExists(g)
		c.warnMissing(g)
	}
	switch r := r.(type) {
	case *v1.Role:
		c.checkRole(r)
	case *v1.IdentityProvider:
		if sameIssuer(r.Spec.Issuer, c.opt.ExternalURL) {
			c.wrongf("spec.issuer", "is Gatehouse's own; no identity provider may claim it")
		}
	case *v1.SsoConnection:
		if r.Spec.Enabled {
			c.unshared("spec.domains", r.Spec.Domains, "leads to", func(other v1.Resource) v1.Strings {
				if o, ok := other.(*v1.SsoConnection); ok && o.Spec.Enabled {
					return o.Spec.Domains
				}
				return nil
			})
		}
	case *v1.ScimDirectory:
		c.unshared("spec.issuers", r.Spec.Issuers, "is claimed by", func(other v1.Resource) v1.Strings {
			if o, ok := other.(*v1.ScimDirectory); ok {
				return o.Spec.Issuers
			}
			return nil
		})
	case *v1.ExternalIdentity:
		c.mustExist("spec.identityProvider", v1.KindIdentityProvider, r.Spec.IdentityProvider)
	case *v1.Team:
		for i, g := range r.Spec.IdentityProviderGroups {
			at := fmt.Sprintf("spec.identityProviderGroups[%d].", i)
			if g.SsoConnection != "" {
				c.mustExist(at+"ssoConnection", v1.KindSsoConnection, g.SsoConnection)
				continue
			}
			c.mustExist(at+"identityProvider", v1.KindIdentityProvider, g.IdentityProvider)
		}
	case *v1.VirtualAccount:
		if r.Spec.Team != "" {
			c.mustExist("spec.team", v1.KindTeam, r.Spec.Team)
		}
		for i, m := range r.Spec.IdentityProviderMappings {
			if !c.actor.system && c.mayAdmin(c.it.ref()) != nil {
				break // mayIdentify refuses a new one, there or not
			}
			c.mustExist(fmt.Sprintf("spec.identityProviderMappings[%d].identityProvider", i), v1.KindIdentityProvider, m.IdentityProvider)
		}
		c.checkDigests(r, digests)
	}
}

// unshared refuses what another resource of the kind has already: it can belong
// to one only. Two replicas that are told at the same moment do not see each
// other; what comes of that is among the snapshot's problems.
func (c *checker) unshared(path string, mine v1.Strings, has string, of func(v1.Resource) v1.Strings) {
	others := map[identity.ResourceKey]v1.Resource{}
	for r := range c.snap.Resources {
		if key := keyOf(r); key.Kind == c.it.key.Kind {
			others[key] = r
		}
	}
	for key := range c.gone {
		delete(others, key)
	}
	for key, it := range c.inSet {
		others[key] = it.new()
	}
	delete(others, c.it.key)
	for i, value := range mine {
		for _, key := range slices.SortedFunc(maps.Keys(others), func(a, b identity.ResourceKey) int { return strings.Compare(a.Name, b.Name) }) {
			if slices.Contains(of(others[key]), value) {
				c.errorf(fmt.Sprintf("%s[%d]", path, i), "%s %s %s already; remove it from one of the two", value, has, identity.KindRef(key.Kind, key.Name))
				break
			}
		}
	}
}

func (c *checker) checkRole(r *v1.Role) {
	if _, builtin := identity.BuiltinRole(r.Name); builtin {
		c.wrongf("metadata.name", "%s is built in; choose another name", r.Name)
	}
	admin := identity.AdminOnly()
	for i, name := range r.Spec.Permissions {
		path := fmt.Sprintf("spec.permissions[%d]", i)
		switch perm := identity.Permission(name); {
		case !perm.Known():
			c.wrongf(path, "%q is not a permission; GET /api/v1/permissions lists them", name)
		case admin.Has(perm):
			c.wrongf(path, "%s is for tenant-admin alone", name)
		}
	}
}

// checkDigests keeps one token from meaning two accounts.
func (c *checker) checkDigests(v *v1.VirtualAccount, seen map[string]bool) {
	for i, t := range v.Spec.Tokens {
		d, ok := identity.ParseDigest(t.Digest)
		if !ok {
			continue
		}
		stored, known := c.snap.Token(d)
		own := known && stored.Owner != nil && stored.Owner.VirtualAccount != nil && stored.Owner.VirtualAccount.Name == v.Name
		if seen[t.Digest] || known && !own {
			c.errorf(fmt.Sprintf("spec.tokens[%d].digest", i), "is in use already")
		}
		seen[t.Digest] = true
	}
}

// roleExists knows that a team's managers have a built-in role.
func (c *checker) roleExists(g grant) {
	r, err := c.role(g.role)
	if err != nil {
		c.fail = err
		return
	}
	if r.exists || c.hidesRole(g.role) { // mayGrant refuses it, there or not
		return
	}
	path := g.path
	switch c.it.key.Kind {
	case v1.KindRoleBinding:
		path = "spec.role"
	default:
		path += ".role"
	}
	if !slices.ContainsFunc(c.errs, func(e v1.FieldError) bool { return e.Path == path }) {
		c.errorf(path, "there is no role %s", g.role)
	}
}

// warnMissing: grants may be written before the account they are about.
func (c *checker) warnMissing(g grant) {
	kind, name, _ := strings.Cut(string(g.ref), ":")
	if kind == "model" {
		name, _, _ = strings.Cut(name, "/")
		kind = v1.KindProviderAccount.Slug()
	}
	if kind != v1.KindProviderAccount.Slug() || c.it.key.Kind == v1.KindProviderAccount {
		return
	}
	if ok, err := c.exists(v1.KindProviderAccount, name); err != nil {
		c.fail = err
	} else if !ok {
		c.warnf(g.path, "there is no provider account %s (yet); until there is, this grants nothing", name)
	}
}

func (c *checker) mustExist(path string, kind v1.Kind, name string) {
	ok, err := c.exists(kind, name)
	if err != nil {
		c.fail = err
	} else if !ok {
		c.errorf(path, "there is no %s %s, neither here nor in this set", kind, name)
	}
}

// exists asks the set, then the snapshot, then the store, which may know more.
func (p *plan) exists(kind v1.Kind, name string) (bool, error) {
	key := identity.ResourceKey{Kind: kind, Name: name}
	if p.inSet[key] != nil {
		return true, nil
	}
	if p.gone[key] {
		return false, nil
	}
	if _, ok := p.snap.Resource(key); ok {
		return true, nil
	}
	r, err := p.stored(key)
	return r != nil, err
}

// sameIssuer compares URLs by what they mean, not by how they are written.
func sameIssuer(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	return normalURL(a) == normalURL(b)
}

func normalURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	host := strings.ToLower(u.Hostname())
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return strings.ToLower(u.Scheme) + "://" + host + ":" + port + strings.TrimRight(u.Path, "/")
}
