package v1

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// APIVersion is the only value of apiVersion that this package reads.
const APIVersion = "gatehouse.dev/v1"

// Kind names a kind of resource, as in a manifest's "kind".
type Kind string

// The kinds.
const (
	KindProviderAccount  Kind = "ProviderAccount"
	KindIdentityProvider Kind = "IdentityProvider"
	KindExternalIdentity Kind = "ExternalIdentity"
	KindTeam             Kind = "Team"
	KindVirtualAccount   Kind = "VirtualAccount"
	KindRole             Kind = "Role"
	KindRoleBinding      Kind = "RoleBinding"
	KindAuthzRules       Kind = "AuthzRules"
	KindSecretStore      Kind = "SecretStore"
	KindTenantSettings   Kind = "TenantSettings"
	KindSsoConnection    Kind = "SsoConnection"
	KindScimDirectory    Kind = "ScimDirectory"
)

// Kinds lists every kind in the order in which a folder of manifests is best
// applied: what others refer to comes first.
func Kinds() []Kind {
	return []Kind{
		KindTenantSettings, KindSecretStore, KindIdentityProvider, KindSsoConnection, KindScimDirectory, KindTeam, KindRole,
		KindProviderAccount, KindExternalIdentity, KindVirtualAccount, KindRoleBinding, KindAuthzRules,
	}
}

// New returns an empty resource of a kind, or nil for a kind that this
// version does not know.
func New(k Kind) Resource {
	switch k {
	case KindProviderAccount:
		return &ProviderAccount{}
	case KindIdentityProvider:
		return &IdentityProvider{}
	case KindExternalIdentity:
		return &ExternalIdentity{}
	case KindTeam:
		return &Team{}
	case KindVirtualAccount:
		return &VirtualAccount{}
	case KindRole:
		return &Role{}
	case KindRoleBinding:
		return &RoleBinding{}
	case KindAuthzRules:
		return &AuthzRules{}
	case KindSecretStore:
		return &SecretStore{}
	case KindTenantSettings:
		return &TenantSettings{}
	case KindSsoConnection:
		return &SsoConnection{}
	case KindScimDirectory:
		return &ScimDirectory{}
	default:
		return nil
	}
}

// Plural returns the kind's name in the control API's paths
// (/api/v1/provider-accounts).
func (k Kind) Plural() string {
	switch k {
	case KindExternalIdentity:
		return "external-identities"
	case KindTenantSettings:
		return "tenant-settings"
	case KindAuthzRules:
		return "authz-rules"
	case KindScimDirectory:
		return "scim-directories"
	default:
		return k.Slug() + "s"
	}
}

// Slug returns the kind as it stands in permissions and resource names:
// "provider-account" for ProviderAccount.
func (k Kind) Slug() string {
	var b strings.Builder
	for i, r := range string(k) {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('-')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// ParseKind finds a kind by its name, its slug or its plural, in any case, so
// that `gatehouse get teams`, `get team` and `get Team` mean the same.
func ParseKind(s string) (Kind, bool) {
	for _, k := range Kinds() {
		if strings.EqualFold(s, string(k)) || strings.EqualFold(s, k.Slug()) || strings.EqualFold(s, k.Plural()) {
			return k, true
		}
	}
	return "", false
}

// The managers that are not somebody's manifests: the API, the directory
// manifests.dir, and the environment.
const (
	ManagerAPI = "api"
	ManagerDir = "dir"
	ManagerEnv = "env"
)

// managerSCIM begins the manager of what a ScimDirectory owns.
const managerSCIM = "scim:"

// ManagerSCIM is the manager of what the ScimDirectory of a name owns.
func ManagerSCIM(directory string) string { return managerSCIM + directory }

// FromDirectory reports whether a manager is a ScimDirectory.
func FromDirectory(manager string) bool { return strings.HasPrefix(manager, managerSCIM) }

// TypeMeta says what a manifest is.
type TypeMeta struct {
	// APIVersion is always gatehouse.dev/v1.
	APIVersion string `json:"apiVersion"`
	// Kind is the kind of the resource.
	Kind Kind `json:"kind"`
}

// ObjectMeta is what every resource has beside its spec.
type ObjectMeta struct {
	// Name is unique within the kind: lower-case letters, digits and hyphens,
	// at most 63 characters.
	Name string `json:"name"`
	// Namespace is Kubernetes' and is accepted so that one file serves both; an
	// installation has no namespaces, and it is not kept.
	Namespace string `json:"namespace,omitempty"`
	// Labels are free key-value pairs for selecting resources.
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are free key-value pairs for tools.
	Annotations map[string]string `json:"annotations,omitempty"`
	// UID is set by Gatehouse: a UUIDv7 that is never used again.
	UID string `json:"uid,omitempty"`
	// ResourceVersion is set by Gatehouse and changes with every write; it is
	// the ETag of the control API.
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// Generation is set by Gatehouse and counts the changes of the spec.
	Generation int64 `json:"generation,omitempty"`
	// CreationTimestamp is set by Gatehouse (UTC, RFC 3339).
	CreationTimestamp *time.Time `json:"creationTimestamp,omitempty"`
	// Manager is set by Gatehouse: who alone writes this resource (api,
	// apply:NAME, dir, env). Another's write needs --take-over.
	Manager string `json:"manager,omitempty"`
}

// Resource is what all kinds have in common.
type Resource interface {
	// Type returns the apiVersion and kind, for reading and writing.
	Type() *TypeMeta
	// Meta returns the metadata, for reading and writing.
	Meta() *ObjectMeta
	// Default fills in what was left out and normalises short forms. It is
	// idempotent.
	Default()
	// Validate reports everything that is wrong with this resource alone.
	// Call Default first.
	Validate() FieldErrors
	// Secrets lists the secret values of the spec with their field paths, so
	// that they can be sealed, resolved and redacted without knowing the kind.
	Secrets() []SecretField
}

// SecretField is one secret value within a resource.
type SecretField struct {
	// Path is the field's path, "spec.credentials.apiKey".
	Path string
	// Value points into the resource.
	Value *SecretValue
	// Destination says where the secret is sent; a stored value does not
	// follow a change of it. Empty: nowhere.
	Destination string
}

// destination joins what says where a secret is sent, so that no part of it
// can pass for another.
func destination(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "%d:%s,", len(p), p)
	}
	return b.String()
}

// FieldError is one thing that is wrong with a resource.
type FieldError struct {
	// Path is the field, as in spec.models[0].name.
	Path string `json:"path"`
	// Message says what is wrong and what to do.
	Message string `json:"message"`
}

func (e FieldError) Error() string { return e.Path + ": " + e.Message }

// FieldErrors is everything that is wrong with a resource, in field order.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	lines := make([]string, len(e))
	for i, fe := range e {
		lines[i] = fe.Error()
	}
	return strings.Join(lines, "\n")
}

// addf appends an error at a path.
func (e *FieldErrors) addf(path, format string, args ...any) {
	*e = append(*e, FieldError{Path: path, Message: fmt.Sprintf(format, args...)})
}

var nameRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ValidName reports whether s can be the name of a resource.
func ValidName(s string) bool { return nameRE.MatchString(s) }

func (e *FieldErrors) name(path, s string) {
	switch {
	case s == "":
		e.addf(path, "is required")
	case !ValidName(s):
		e.addf(path, "%q must be 1 to 63 lower-case letters, digits and hyphens, and start and end with a letter or digit", s)
	}
}

func validateMeta(want Kind, t TypeMeta, m ObjectMeta) FieldErrors {
	var errs FieldErrors
	if t.APIVersion != APIVersion {
		errs.addf("apiVersion", "must be %s", APIVersion)
	}
	if t.Kind != want {
		errs.addf("kind", "must be %s", want)
	}
	errs.name("metadata.name", m.Name)
	for _, f := range []struct {
		path string
		m    map[string]string
	}{{"metadata.labels", m.Labels}, {"metadata.annotations", m.Annotations}} {
		if len(f.m) > 64 {
			errs.addf(f.path, "at most 64 entries")
		}
		for _, k := range sortedKeys(f.m) {
			if k == "" || utf8.RuneCountInString(k) > 253 {
				errs.addf(f.path, "a key must have 1 to 253 characters")
			}
		}
	}
	return errs
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func oneOf[T ~string](errs *FieldErrors, path string, got T, allowed ...T) {
	if slices.Contains(allowed, got) {
		return
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	errs.addf(path, "%q is not known; use one of %s", string(got), strings.Join(names, ", "))
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
