package v1

import "time"

// Role is a custom list of permissions that can be bound like a built-in role.
type Role struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       RoleSpec `json:"spec"`
}

// RoleSpec lists what a role may do.
type RoleSpec struct {
	// Description is for people.
	Description string `json:"description,omitempty"`
	// Permissions are names of the catalogue, such as model:use.
	Permissions Strings `json:"permissions"`
}

func (r *Role) Type() *TypeMeta        { return &r.TypeMeta }
func (r *Role) Meta() *ObjectMeta      { return &r.ObjectMeta }
func (r *Role) Secrets() []SecretField { return nil }

// Default has nothing to fill in.
func (r *Role) Default() {}

// Validate reports everything that is wrong with the role, except permission
// names, which the catalogue in package identity knows.
func (r *Role) Validate() FieldErrors {
	errs := validateMeta(KindRole, r.TypeMeta, r.ObjectMeta)
	if len(r.Spec.Permissions) == 0 {
		errs.addf("spec.permissions", "name at least one permission")
	}
	return errs
}

// RoleBinding gives a role to subjects on resources.
type RoleBinding struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       RoleBindingSpec `json:"spec"`
}

// RoleBindingSpec says who gets which role where.
type RoleBindingSpec struct {
	// Subjects get the role.
	Subjects Strings `json:"subjects"`
	// Role is the name of a built-in or custom role.
	Role string `json:"role"`
	// Resources are where the role holds; "tenant" is everywhere.
	Resources Strings `json:"resources"`
	// ExpiresAt ends the binding by itself (RFC 3339).
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
}

func (b *RoleBinding) Type() *TypeMeta        { return &b.TypeMeta }
func (b *RoleBinding) Meta() *ObjectMeta      { return &b.ObjectMeta }
func (b *RoleBinding) Secrets() []SecretField { return nil }

// Default normalises subjects.
func (b *RoleBinding) Default() {
	for i, s := range b.Spec.Subjects {
		if kind, name, ok := ParseSubject(s); ok {
			b.Spec.Subjects[i] = kind + ":" + name
		}
	}
}

// Validate reports everything that is wrong with the binding.
func (b *RoleBinding) Validate() FieldErrors {
	errs := validateMeta(KindRoleBinding, b.TypeMeta, b.ObjectMeta)
	if len(b.Spec.Subjects) == 0 {
		errs.addf("spec.subjects", "name at least one subject")
	}
	for i, s := range b.Spec.Subjects {
		errs.subject(index("spec.subjects", i), s, grantees()...)
	}
	errs.name("spec.role", b.Spec.Role)
	if len(b.Spec.Resources) == 0 {
		errs.addf("spec.resources", "name at least one resource; \"tenant\" is everywhere")
	}
	for i, r := range b.Spec.Resources {
		errs.resource(index("spec.resources", i), r)
	}
	return errs
}
