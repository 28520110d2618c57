package scim

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/audit"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// Root is the path at which the server is mounted.
const Root = "/scim/v2"

// People is how people are read. A missing person is a coded not_found.
type People interface {
	// User reads a person whole, by uid.
	User(ctx context.Context, uid string) (identity.User, error)
	// UserOf finds a manager's person by userName or email (without regard to
	// case) or externalId.
	UserOf(ctx context.Context, manager, attribute, value string) (identity.User, error)
	// UsersOf lists a manager's people by uid, those after a uid.
	UsersOf(ctx context.Context, manager, after string, limit int) ([]identity.User, error)
	// UserBefore is the uid after which a page begins that leaves out so many.
	UserBefore(ctx context.Context, manager string, leaveOut int) (string, error)
	// CountUsersOf counts a manager's people.
	CountUsersOf(ctx context.Context, manager string) (int, error)
}

// Past is what else is known of people.
type Past interface {
	// TeamMembers lists, by uid and after a uid, who has a stored membership of
	// a team from a source; source "" is any.
	TeamMembers(ctx context.Context, team, source, after string, limit int) ([]string, error)
	// TombstonesOf lists the uids of removed people who had the address or one
	// of the identities. An empty address finds nobody.
	TombstonesOf(ctx context.Context, email string, keys []identity.IdentityKey) ([]string, error)
}

// Teams is how resources are read. A missing one is a coded not_found.
type Teams interface {
	Resource(ctx context.Context, key identity.ResourceKey) (v1.Resource, error)
	ResourceByUID(ctx context.Context, kind v1.Kind, uid string) (v1.Resource, error)
	// Resources lists resources of a kind by name, those after a name.
	Resources(ctx context.Context, kind v1.Kind, after string, limit int) ([]v1.Resource, error)
}

// Writer writes a batch whole or not at all and completes it in place. Errors:
// precondition_failed, conflict (the message begins with the field).
type Writer interface {
	Commit(ctx context.Context, b *record.Batch) (identity.Head, error)
}

// Authenticator says whose token a request carries: the directory's name and
// the token's id. It refuses with invalid_token whatever is not a live token of
// kind scim-token whose directory exists, also one from an address that the
// token does not permit; the form of the credential has been checked.
type Authenticator interface {
	Authenticate(ctx context.Context, r *http.Request) (directory, tokenID string, err error)
}

// Trust says what a directory may not take, because taking it would hand out
// what others have granted.
type Trust interface {
	// MayAdopt says whether a directory may take over a person whom no
	// directory manages, or give one of its own another name, and, with an empty
	// UID, whether it may give somebody this e-mail address and user name. False
	// where they administer the tenant, if only for a time.
	MayAdopt(ctx context.Context, directory string, u identity.User) bool
	// MayUnbury says whether a directory may lift the tombstones of people, by
	// their uids: a token of theirs that is still valid then counts again. False
	// where one of them would administer the tenant.
	MayUnbury(ctx context.Context, uids []string) bool
	// MayName says whether a directory may make a team of this name. False
	// where something names the team as a subject already and the operator did
	// not mean the directory's.
	MayName(ctx context.Context, directory, team string) bool
}

// Options are what a Server needs. People, Past, Teams, Writer and Authenticator
// are required; without Trust nobody is taken over.
type Options struct {
	People        People
	Past          Past
	Teams         Teams
	Writer        Writer
	Authenticator Authenticator
	Trust         Trust
	// BaseURL is server.externalURL, without a slash at the end; locations
	// begin with it.
	BaseURL string
	// Await waits until a change is live, for changes that take access away.
	Await func(context.Context, identity.Head)
	// Addr is the caller's address, for the audit.
	Addr func(*http.Request) netip.Addr
	// RequestID ties the audit to the access log. Default: a new UUIDv7.
	RequestID func(*http.Request) string
	// Report is told of errors that are nobody's fault but ours. Default: none.
	Report func(ctx context.Context, err error)
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Server answers /scim/v2.
type Server struct {
	opt         Options
	user, group *resourceType
	denials     audit.Refusals
}

// New makes a server.
func New(o Options) (*Server, error) {
	if o.People == nil || o.Past == nil || o.Teams == nil || o.Writer == nil || o.Authenticator == nil {
		return nil, errors.New("scim: People, Past, Teams, Writer and Authenticator are required")
	}
	if o.Trust == nil {
		o.Trust = nobody{}
	}
	if o.Await == nil {
		o.Await = func(context.Context, identity.Head) {}
	}
	if o.Addr == nil {
		o.Addr = func(*http.Request) netip.Addr { return netip.Addr{} }
	}
	if o.RequestID == nil {
		o.RequestID = func(*http.Request) string { return uuid.Must(uuid.NewV7()).String() }
	}
	if o.Report == nil {
		o.Report = func(context.Context, error) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.BaseURL = strings.TrimRight(o.BaseURL, "/")
	return &Server{opt: o, user: userType(), group: groupType()}, nil
}

// nobody is the Trust of a server that was given none.
type nobody struct{}

func (nobody) MayAdopt(_ context.Context, directory string, u identity.User) bool {
	return u.UID == "" || u.Manager == v1.ManagerSCIM(directory)
}

func (nobody) MayUnbury(context.Context, []string) bool { return true }

func (nobody) MayName(context.Context, string, string) bool { return true }
