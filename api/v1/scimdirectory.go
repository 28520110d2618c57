package v1

import "slices"

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
	return errs
}
