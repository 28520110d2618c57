package identity

import v1 "github.com/gatehouse-ai/gatehouse/api/v1"

// Subject is somebody or something that can be given a role, written
// kind:name — user:ada@example.com, team:research, team:everyone,
// virtual-account:booking-bot, external-identity:partner-acme, role:NAME.
type Subject string

// The subjects that exist without being written down.
const (
	// Everyone is the team that every user is in.
	Everyone Subject = "team:everyone"
	// TenantAdmin is held by those whose word is law in the installation.
	TenantAdmin Subject = "role:" + RoleTenantAdmin
)

// UserSubject returns user:EMAIL.
func UserSubject(email string) Subject { return Subject("user:" + email) }

// UserNameSubject stands for a bare user name in AuthzRules. The colon-less form
// cannot be written as a subject, so nothing else can mean it.
func UserNameSubject(name string) Subject { return Subject("user-name/" + name) }

// TeamSubject returns team:NAME.
func TeamSubject(name string) Subject { return Subject("team:" + name) }

// VirtualAccountSubject returns virtual-account:NAME.
func VirtualAccountSubject(name string) Subject { return Subject("virtual-account:" + name) }

// ExternalIdentitySubject returns external-identity:NAME.
func ExternalIdentitySubject(name string) Subject { return Subject("external-identity:" + name) }

// ParseSubject checks and normalises a subject.
func ParseSubject(s string) (Subject, bool) {
	kind, name, ok := v1.ParseSubject(s)
	return Subject(kind + ":" + name), ok
}

// ResourceRef is what a decision is about, written kind:name —
// model:openai-main/gpt-4o, provider-account:openai-main, team:research — or
// "tenant".
type ResourceRef string

// Tenant is the installation itself, the parent of everything.
const Tenant ResourceRef = "tenant"

// ModelRef returns model:ACCOUNT/MODEL.
func ModelRef(fqn string) ResourceRef { return ResourceRef("model:" + fqn) }

// AccountRef returns provider-account:NAME.
func AccountRef(name string) ResourceRef { return ResourceRef("provider-account:" + name) }

// KindRef returns the resource of one manifest: team:research, role-binding:x.
func KindRef(k v1.Kind, name string) ResourceRef { return ResourceRef(k.Slug() + ":" + name) }
