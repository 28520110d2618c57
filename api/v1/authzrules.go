package v1

import "strings"

// AuthzRules adds grants: each rule lets its users use its models. It never
// restricts. A bare file with the top-level key authz_rules is accepted as one.
type AuthzRules struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       AuthzRulesSpec `json:"spec"`
}

// AuthzRulesSpec is the list of rules.
type AuthzRulesSpec struct {
	// Rules are independent of each other; their grants add up.
	Rules []AuthzRule `json:"rules"`
}

// AuthzRule lets every one of its users use every one of its models.
type AuthzRule struct {
	// Models are fully qualified names, account/model.
	Models Strings `json:"models"`
	// Users are e-mail addresses, user names, or subjects (team:research).
	Users Strings `json:"users"`
}

func (r *AuthzRules) Type() *TypeMeta        { return &r.TypeMeta }
func (r *AuthzRules) Meta() *ObjectMeta      { return &r.ObjectMeta }
func (r *AuthzRules) Secrets() []SecretField { return nil }

// Default lower-cases e-mail addresses.
func (r *AuthzRules) Default() {
	for _, rule := range r.Spec.Rules {
		for i, u := range rule.Users {
			if kind, name, ok := ParseSubject(u); ok {
				rule.Users[i] = kind + ":" + name
			} else if ValidEmail(NormalizeEmail(u)) {
				rule.Users[i] = NormalizeEmail(u)
			}
		}
	}
}

// Validate reports everything that is wrong with the rules.
func (r *AuthzRules) Validate() FieldErrors {
	errs := validateMeta(KindAuthzRules, r.TypeMeta, r.ObjectMeta)
	if r.Spec.Rules == nil {
		errs.addf("spec.rules", "is required")
	}
	for i, rule := range r.Spec.Rules {
		p := index("spec.rules", i)
		if len(rule.Models) == 0 {
			errs.addf(p+".models", "name at least one model as account/model")
		}
		for j, m := range rule.Models {
			if _, _, ok := SplitFQN(m); !ok {
				errs.addf(index(p+".models", j), "%q is not a fully qualified model name; write account/model", m)
			}
		}
		if len(rule.Users) == 0 {
			errs.addf(p+".users", "name at least one user")
		}
		for j, u := range rule.Users {
			errs.authzUser(index(p+".users", j), u)
		}
	}
	return errs
}

func (e *FieldErrors) authzUser(path, u string) {
	if u == "" || strings.TrimSpace(u) != u || len(u) > 254 {
		e.addf(path, "%q is not a user; write an e-mail address, a user name or a subject", u)
		return
	}
	switch {
	case strings.Contains(u, ":"):
		e.subject(path, u, grantees()...)
	case strings.Contains(u, "@") && emailHint(u) != "":
		e.addf(path, "%q is not an e-mail address%s", u, emailHint(u))
	}
}
