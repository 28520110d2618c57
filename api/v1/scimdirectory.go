package v1

import (
	"slices"
	"strings"
)

// ScimDirectory is a directory (Okta, Entra ID, …) that pushes its people and
// groups to /scim/v2 with tokens of its own.
type ScimDirectory struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       ScimDirectorySpec `json:"spec"`
}

// ScimDirectorySpec says for whom the directory speaks.
type ScimDirectorySpec struct {
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Issuers are the issuers (an IdentityProvider's or SsoConnection's) whose
	// people come by this directory alone: a token or a sign-in of theirs
	// creates nobody.
	Issuers Strings `json:"issuers,omitempty"`
	// Teams are names of teams, a name may end in *, that a group of this
	// directory may become though grants name the team already. Without it such
	// a group gets a name of its own, because otherwise whoever names groups in
	// the directory would take what was granted to another team.
	Teams Strings `json:"teams,omitempty"`
}

func (d *ScimDirectory) Type() *TypeMeta        { return &d.TypeMeta }
func (d *ScimDirectory) Meta() *ObjectMeta      { return &d.ObjectMeta }
func (d *ScimDirectory) Secrets() []SecretField { return nil }

// Default changes nothing: there is nothing to default.
func (d *ScimDirectory) Default() {}

// Validate reports everything that is wrong with the directory.
func (d *ScimDirectory) Validate() FieldErrors {
	errs := validateMeta(KindScimDirectory, d.TypeMeta, d.ObjectMeta)
	for i, s := range d.Spec.Issuers {
		switch {
		case s == "":
			errs.addf(index("spec.issuers", i), "must not be empty")
		case slices.Index(d.Spec.Issuers, s) < i:
			errs.addf(index("spec.issuers", i), "%q stands there twice", s)
		}
	}
	for i, s := range d.Spec.Teams {
		if prefix, open := strings.CutSuffix(s, "*"); (prefix != "" || !open) && !validNamePrefix(prefix, open) {
			errs.addf(index("spec.teams", i), "%q is not a team's name, nor the beginning of one with a * behind it", s)
		}
	}
	return errs
}

// validNamePrefix reports whether s is a name, or with open can begin one.
func validNamePrefix(s string, open bool) bool {
	if open {
		s += "a"
	}
	return nameRE.MatchString(s)
}
