package settings

import (
	"net/netip"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// Settings is every setting of the process, checked.
//
// The tags are the single place where a setting is declared: name is its part
// of the dotted name, from which the names of the variable and the flag follow;
// default stands for what was not set, dev for what was not set under
// `gatehouse dev`; words lists the only values; range the smallest and the
// largest; check names a rule of check.go; secret keeps the value out of
// messages; doc says in a sentence what it is for.
type Settings struct {
	Server    Server    `name:"server"`
	Upstream  Upstream  `name:"upstream"`
	Ops       Ops       `name:"ops"`
	Database  Database  `name:"database"`
	Redis     Redis     `name:"redis"`
	Logs      Logs      `name:"logs"`
	Manifests Manifests `name:"manifests"`
	Secrets   Secrets   `name:"secrets"`
	Snapshot  Snapshot  `name:"snapshot"`
	Bootstrap Bootstrap `name:"bootstrap"`
	Log       Log       `name:"log"`
	Dev       Dev       `name:"dev"`

	// Compat is what the variables of other gateways say.
	Compat Compat
	// ConfigFile is the file that was read; empty where there was none.
	ConfigFile string

	// origins says in which form each setting was given.
	origins map[string]string
}

// Server is the one listener of gateway, control API and console.
type Server struct {
	Address        string         `name:"address" default:"127.0.0.1:8080" check:"address" doc:"Where the gateway, the control API and the console listen."`
	ExternalURL    string         `name:"externalURL" check:"url" shown:"http://<address>" doc:"The URL under which callers reach the server; OAuth metadata and redirects show it."`
	TLS            TLS            `name:"tls"`
	TrustedProxies []netip.Prefix `name:"trustedProxies" doc:"Addresses or CIDR ranges of proxies whose forwarded headers are believed; from anybody else they are dropped."`
	AllowedHosts   []string       `name:"allowedHosts" check:"hosts" shown:"the external URL's host and loopback" doc:"The values of the Host header that are answered."`
	CORS           CORS           `name:"cors"`
	MaxBody        Size           `name:"maxBody" default:"25MiB" range:"1KiB..1GiB" doc:"The largest request body."`
	HeaderTimeout  time.Duration  `name:"headerTimeout" default:"10s" range:"1s..10m" doc:"The wait for a request's headers."`
	IdleTimeout    time.Duration  `name:"idleTimeout" default:"2m" range:"1s..1h" doc:"How long a connection may be idle between requests."`
	DrainDelay     time.Duration  `name:"drainDelay" default:"0s" range:"0s..10m" doc:"At a stop, how long requests are still taken while /readyz already says no."`
	DrainTimeout   time.Duration  `name:"drainTimeout" default:"30s" range:"0s..1h" doc:"At a stop, how long running requests may go on."`
}

// TLS is the server's certificate; both files or neither.
type TLS struct {
	Cert string `name:"cert" check:"file" doc:"The certificate chain, PEM; reloaded on change."`
	Key  string `name:"key" check:"file" doc:"The certificate's key, PEM; reloaded on change."`
}

// CORS is which web pages of others may call.
type CORS struct {
	Origins []string `name:"origins" check:"origins" doc:"The origins whose pages may call the server, such as https://app.example.com."`
}

// Upstream limits waiting for providers.
type Upstream struct {
	FirstByteTimeout  time.Duration `name:"firstByteTimeout" default:"10m" range:"1s..24h" doc:"The wait for the first byte of a provider's answer; a provider account may set its own."`
	StreamIdleTimeout time.Duration `name:"streamIdleTimeout" default:"2m" range:"1s..24h" doc:"The longest silence within a provider's stream; a provider account may set its own."`
}

// Ops is the operator's own listener.
type Ops struct {
	Address string `name:"address" default:"127.0.0.1:9090" check:"address" doc:"Where /metrics, /livez and /readyz (with detail) are served."`
	Pprof   bool   `name:"pprof" default:"false" doc:"Whether Go's profiles are served there too."`
}

// Database is where configuration and records are kept.
type Database struct {
	URL string `name:"url" default:"sqlite:///var/lib/gatehouse/gatehouse.db" dev:"sqlite:.gatehouse/gatehouse.db" check:"database" secret:"true" doc:"sqlite:///absolute/path, sqlite:relative/path, sqlite::memory: for none that lasts, or postgres://user:password@host:5432/database?sslmode=verify-full, which several replicas can share."`
}

// Redis is shared counters.
type Redis struct {
	URL string `name:"url" check:"redis" secret:"true" doc:"Where replicas share their counters. Not in this version: counters are in memory."`
}

// Logs is where requests are recorded.
type Logs struct {
	URL string `name:"url" check:"logs" secret:"true" shown:"the database" doc:"Where requests are recorded. Not in this version: they are in the database."`
}

// Manifests is configuration from files.
type Manifests struct {
	Dir string `name:"dir" check:"dir" doc:"A directory of manifests that is the source of truth, watched."`
}

// Secrets is the master key, and which references may be used.
type Secrets struct {
	MasterKey  string   `name:"masterKey" check:"masterKey" secret:"true" shown:"a file beside the database, made at first start (0600); with PostgreSQL none" doc:"What seals stored secrets: file:PATH or env:NAME, never the key itself. With PostgreSQL it must be given, the same for every replica."`
	AllowEnv   []string `name:"allowEnv" check:"allowEnv" doc:"Environment variables (or PREFIX*) that resources made through the API may refer to."`
	AllowFiles []string `name:"allowFiles" check:"allowFiles" doc:"Files (or directories that end in /) that resources made through the API may refer to."`
}

// Snapshot is the last good configuration on disk.
type Snapshot struct {
	Dir          string        `name:"dir" shown:"beside the database; with PostgreSQL none" doc:"A directory of this process's own where the last good configuration, the identity providers' keys and, with PostgreSQL, the stored secrets are kept, sealed, so that a start does not need the database or the identity providers."`
	MaxStaleness time.Duration `name:"maxStaleness" default:"24h" range:"1m..30d" doc:"How long the last good configuration is served while the database is away."`
}

// Bootstrap is the first administrator's way in.
type Bootstrap struct {
	TokenFile string `name:"tokenFile" shown:"beside the database; with PostgreSQL none" doc:"Where, with an empty database, a one-time admin token is written (0600)."`
}

// Log is the process's own log.
type Log struct {
	Level  string `name:"level" default:"info" words:"debug info warn error" doc:"The least severe entries that are written."`
	Format string `name:"format" default:"json" dev:"text" words:"json text" doc:"The form of an entry."`
}

// Dev is for `gatehouse dev` alone.
type Dev struct {
	Address string `name:"address" default:"127.0.0.1:8081" check:"address" doc:"Where the development identity provider of gatehouse dev listens."`
}

// Compat is what the environment of the Inference Gateway and of
// OIDC_CONFIG_FILE_PATH says.
type Compat struct {
	// AuthEnabled is true unless AUTH_ENABLE or AUTH_ENABLED is false. Off opens
	// the gateway's model routes alone, never the control API.
	AuthEnabled bool
	// Set is whether AUTH_ENABLE or AUTH_ENABLED was given at all.
	Set bool
	// Issuer is AUTH_OIDC_ISSUER.
	Issuer string
	// ClientID is AUTH_OIDC_CLIENT_ID.
	ClientID string
	// ClientSecret is AUTH_OIDC_CLIENT_SECRET. It plays no part in verifying.
	ClientSecret v1.Sensitive
	// Audience is AUTH_OIDC_AUDIENCE, else the client id.
	Audience string
	// OIDCConfigFile is OIDC_CONFIG_FILE_PATH.
	OIDCConfigFile string
}

// Flags are the flags that were given, by name without dashes ("server-address").
type Flags map[string]string

// Notice is something that the operator should know though it is not wrong.
type Notice struct {
	// Setting is the setting in the form in which it was given.
	Setting string
	// Message says what it means and what to do.
	Message string
}

func (n Notice) String() string { return n.Setting + ": " + n.Message }

// Error is one setting that is wrong. It never holds a secret value.
type Error struct {
	// Setting is the setting in the form in which it was given: --server-address,
	// GATEHOUSE_SERVER_ADDRESS, or gatehouse.yaml:2:3: server.address.
	Setting string
	// Message says what is wrong and what to do.
	Message string
}

func (e *Error) Error() string { return e.Setting + ": " + e.Message }

// Origin returns a setting in the form in which it was given; for one that was
// not, its name.
func (s Settings) Origin(name string) string {
	if o := s.origins[name]; o != "" {
		return o
	}
	return name
}
