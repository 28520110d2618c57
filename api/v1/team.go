package v1

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
	// Managers are e-mail addresses; they are members who may also add and
	// remove members.
	Managers Strings `json:"managers,omitempty"`
	// Members are e-mail addresses.
	Members Strings `json:"members,omitempty"`
	// IdentityProviderGroups lists groups whose people belong to the team for
	// as long as their token says so.
	IdentityProviderGroups []GroupRef `json:"identityProviderGroups,omitempty"`
}

// GroupRef is a group as one identity provider asserts it.
type GroupRef struct {
	// IdentityProvider is the name of an IdentityProvider.
	IdentityProvider string `json:"identityProvider"`
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
		errs.name(p+".identityProvider", g.IdentityProvider)
		if g.Group == "" {
			errs.addf(p+".group", "is required")
		}
	}
	return errs
}
