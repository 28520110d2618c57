package v1

import "unicode/utf8"

// Team is a group of people. Everybody is in the implicit team "everyone",
// which cannot be written.
type Team struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       TeamSpec `json:"spec"`
}

// TeamSpec says who belongs to a team.
type TeamSpec struct {
	// Description is for people.
	Description string `json:"description,omitempty"`
	// DisplayName is how people call the team; a directory that renames its
	// group changes this, while the name, by which grants refer to the team,
	// stays. Default: the name.
	DisplayName string `json:"displayName,omitempty"`
	// Managers are e-mail addresses; they are members who may also add and
	// remove members.
	Managers Strings `json:"managers,omitempty"`
	// Members are e-mail addresses.
	Members Strings `json:"members,omitempty"`
	// IdentityProviderGroups lists groups whose people belong to the team for
	// as long as their token says so.
	IdentityProviderGroups []GroupRef `json:"identityProviderGroups,omitempty"`
}

// GroupRef is a group as one identity provider asserts it, in a token or at
// sign-in. One of identityProvider and ssoConnection is set.
type GroupRef struct {
	// IdentityProvider is the name of an IdentityProvider: the group stands in
	// its tokens.
	IdentityProvider string `json:"identityProvider,omitempty"`
	// SsoConnection is the name of an SsoConnection: the group is told when
	// somebody signs in by it.
	SsoConnection string `json:"ssoConnection,omitempty"`
	// Group is the value in the token, compared exactly.
	Group string `json:"group"`
}

func (t *Team) Type() *TypeMeta        { return &t.TypeMeta }
func (t *Team) Meta() *ObjectMeta      { return &t.ObjectMeta }
func (t *Team) Secrets() []SecretField { return nil }

// Default normalises e-mail addresses.
func (t *Team) Default() {
	for _, list := range []Strings{t.Spec.Managers, t.Spec.Members} {
		for i := range list {
			list[i] = NormalizeEmail(list[i])
		}
	}
}

// Validate reports everything that is wrong with the team.
func (t *Team) Validate() FieldErrors {
	errs := validateMeta(KindTeam, t.TypeMeta, t.ObjectMeta)
	if utf8.RuneCountInString(t.Spec.DisplayName) > 256 {
		errs.addf("spec.displayName", "is longer than 256 characters")
	}
	if t.Name == "everyone" {
		errs.addf("metadata.name", "everyone is built in; choose another name")
	}
	for _, f := range []struct {
		path string
		list Strings
	}{{"spec.managers", t.Spec.Managers}, {"spec.members", t.Spec.Members}} {
		for i, m := range f.list {
			if !ValidEmail(m) {
				errs.addf(index(f.path, i), "%q is not an e-mail address%s", m, emailHint(m))
			}
		}
	}
	for i, g := range t.Spec.IdentityProviderGroups {
		p := index("spec.identityProviderGroups", i)
		switch {
		case g.IdentityProvider != "" && g.SsoConnection != "":
			errs.addf(p+".ssoConnection", "use identityProvider or ssoConnection, not both; write two entries")
		case g.SsoConnection != "":
			errs.name(p+".ssoConnection", g.SsoConnection)
		default:
			errs.name(p+".identityProvider", g.IdentityProvider)
		}
		if g.Group == "" {
			errs.addf(p+".group", "is required")
		}
	}
	return errs
}
