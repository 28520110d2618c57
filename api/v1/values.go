package v1

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Strings is a list of strings; a single string is accepted and normalised to
// a list of one.
type Strings []string

// UnmarshalJSON accepts a string or a list of strings.
func (s *Strings) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var one string
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		*s = Strings{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("must be a string or a list of strings")
	}
	*s = many
	return nil
}

// Duration is a length of time as people write it: "90d", "48h", "1h30m".
// A day has 24 hours.
type Duration string

var durationRE = regexp.MustCompile(`^([0-9]+(d|h|m|s))+$`)

// Parse returns the duration. The empty duration is zero.
func (d Duration) Parse() (time.Duration, error) {
	s := string(d)
	if s == "" {
		return 0, nil
	}
	if !durationRE.MatchString(s) {
		return 0, fmt.Errorf("%q is not a duration; write it like 90d, 48h, 30m or 30s", s)
	}
	var total time.Duration
	for s != "" {
		i := strings.IndexAny(s, "dhms")
		n, err := strconv.ParseInt(s[:i], 10, 64)
		unit := map[byte]time.Duration{'d': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute, 's': time.Second}[s[i]]
		if err != nil || n > int64((1<<62)/unit) || total+time.Duration(n)*unit < total {
			return 0, fmt.Errorf("%q is too long a time", string(d))
		}
		total += time.Duration(n) * unit
		s = s[i+1:]
	}
	return total, nil
}

// DurationOf writes a length of time in whole seconds as people do: 7d, 36h, 1h30m.
func DurationOf(d time.Duration) Duration {
	if d > 0 && d%(24*time.Hour) == 0 {
		return Duration(strconv.FormatInt(int64(d/(24*time.Hour)), 10) + "d")
	}
	text := ""
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if n := d / unit.of; n > 0 {
			text += strconv.FormatInt(int64(n), 10) + unit.name
			d %= unit.of
		}
	}
	if text == "" {
		text = "0s"
	}
	return Duration(text)
}

// Std returns the duration, or zero where Validate would refuse it.
func (d Duration) Std() time.Duration {
	v, err := d.Parse()
	if err != nil {
		return 0
	}
	return v
}

func (e *FieldErrors) duration(path string, d Duration, minimum, maximum time.Duration) {
	v, err := d.Parse()
	switch {
	case err != nil:
		e.addf(path, "%v", err)
	case d != "" && (v < minimum || v > maximum):
		e.addf(path, "must be between %s and %s", DurationOf(minimum), DurationOf(maximum))
	}
}

// Decimal is an amount of money as a decimal string ("2.50"); never a number,
// so that nothing is lost in binary fractions.
type Decimal string

var decimalRE = regexp.MustCompile(`^[0-9]{1,12}(\.[0-9]{1,9})?$`)

func (e *FieldErrors) decimal(path string, d Decimal) {
	if d != "" && !decimalRE.MatchString(string(d)) {
		e.addf(path, "%q is not an amount; write it as a string like \"2.50\"", string(d))
	}
}

// Sensitive is a string that prints as [redacted] wherever it goes: fmt, JSON,
// slog. Reveal returns what it holds.
type Sensitive string

const redacted = "[redacted]"

// Reveal returns the plain value. Call it where the value is used and nowhere else.
func (s Sensitive) Reveal() string { return string(s) }

func (s Sensitive) String() string               { return redacted }
func (s Sensitive) GoString() string             { return redacted }
func (s Sensitive) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Sensitive) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format keeps every verb of fmt from printing the value.
func (s Sensitive) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// UnmarshalText reads the plain value.
func (s *Sensitive) UnmarshalText(b []byte) error {
	*s = Sensitive(b)
	return nil
}

// SecretValue is a secret or where to find it. Exactly one form is used:
//
//	{value: …}                        write-only; stored encrypted, shown as {stored: true, digest: …}
//	{stored: true, digest: …}         keeps what is stored
//	{env: NAME}                       an environment variable of the Gatehouse process
//	{file: PATH}                      a file, read again when it changes
//	{store: NAME, path: …, key: …}    a SecretStore
//
// env and file are for manifests.dir, or for what secrets.allowEnv and
// secrets.allowFiles name.
type SecretValue struct {
	// Value is the secret itself. Write-only.
	Value Sensitive `json:"value,omitempty"`
	// Stored says that the value is in the sealed store. Set by Gatehouse;
	// sent back, it keeps the value.
	Stored bool `json:"stored,omitempty"`
	// Digest identifies the stored value without revealing it. Set by Gatehouse.
	Digest string `json:"digest,omitempty"`
	// Env names an environment variable.
	Env string `json:"env,omitempty"`
	// File is an absolute path.
	File string `json:"file,omitempty"`
	// Store names a SecretStore.
	Store string `json:"store,omitempty"`
	// Path is the secret's path in the store.
	Path string `json:"path,omitempty"`
	// Key selects one member of a secret that is a JSON object.
	Key string `json:"key,omitempty"`
}

// IsZero reports whether nothing is set.
func (s SecretValue) IsZero() bool { return s == SecretValue{} }

// Format prints where the secret is, never the secret. Without it fmt prints
// the plain value of a pointer within a struct under verbs like %s, where it
// does not ask the fields how they print.
func (s SecretValue) Format(f fmt.State, _ rune) {
	out := "{stored " + s.Digest + "}"
	switch {
	case s.Value != "":
		out = redacted
	case s.Env != "":
		out = "{env " + s.Env + "}"
	case s.File != "":
		out = "{file " + s.File + "}"
	case s.Store != "":
		out = "{store " + s.Store + " " + s.Path + " " + s.Key + "}"
	case !s.Stored:
		out = "{}"
	}
	_, _ = f.Write([]byte(out))
}

var envRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (e *FieldErrors) secret(path string, s *SecretValue) {
	if s == nil {
		return
	}
	forms := 0
	for _, set := range []bool{s.Value != "", s.Stored, s.Env != "", s.File != "", s.Store != ""} {
		if set {
			forms++
		}
	}
	switch {
	case forms != 1:
		e.addf(path, "use exactly one of value, env, file or store")
	case s.Env != "" && !envRE.MatchString(s.Env):
		// What stands here may be the secret itself, pasted into the wrong field.
		e.addf(path+".env", "is not the name of an environment variable; a secret itself is written as value")
	case s.File != "" && !strings.HasPrefix(s.File, "/"):
		e.addf(path+".file", "must be an absolute path")
	case s.Store != "":
		if !ValidName(s.Store) { // not shown, as above
			e.addf(path+".store", "is not the name of a SecretStore")
		}
		if s.Path == "" {
			e.addf(path+".path", "is required with store")
		}
	case s.Path != "" || s.Key != "":
		e.addf(path, "path and key go with store")
	}
	if s.Digest != "" && !s.Stored {
		e.addf(path+".digest", "goes with stored: true")
	}
}

// CACert is a bundle of CA certificates in PEM.
type CACert struct {
	// PEM is the bundle itself.
	PEM string `json:"pem,omitempty"`
	// File is an absolute path; it is read again when it changes.
	File string `json:"file,omitempty"`
}

// UnmarshalJSON accepts a PEM string as the short form of {pem: …}.
func (c *CACert) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &c.PEM)
	}
	type plain CACert
	return json.Unmarshal(b, (*plain)(c))
}

func (e *FieldErrors) caCert(path string, c *CACert) {
	switch {
	case c == nil:
	case (c.PEM == "") == (c.File == ""):
		e.addf(path, "use exactly one of pem or file")
	case c.PEM != "" && !strings.Contains(c.PEM, "-----BEGIN CERTIFICATE-----"):
		e.addf(path+".pem", "holds no PEM certificate")
	case c.File != "" && !strings.HasPrefix(c.File, "/"):
		e.addf(path+".file", "must be an absolute path")
	}
}

func (e *FieldErrors) url(path, s string, insecureHTTP bool) {
	u, err := url.Parse(s)
	switch {
	case err != nil && strings.Contains(s, "@"): // may hold a password: not shown
		e.addf(path, "is not an absolute URL")
	case err != nil || u.Host == "" || u.Hostname() == "":
		e.addf(path, "%q is not an absolute URL", s)
	case u.User != nil:
		e.addf(path, "must not carry a user name or password")
	case u.Fragment != "":
		e.addf(path, "must not have a fragment")
	case u.Scheme == "https":
	case u.Scheme == "http" && (insecureHTTP || isLoopbackHost(u.Hostname())):
	case u.Scheme == "http":
		e.addf(path, "plain http is accepted on loopback only; use https, or say insecureHTTP: true")
	default:
		e.addf(path, "must start with https://")
	}
}

func isLoopbackHost(h string) bool {
	return h == "localhost" || h == "::1" || loopback4RE.MatchString(h)
}

var loopback4RE = regexp.MustCompile(`^127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$`)

// NormalizeEmail returns an e-mail address in the form in which Gatehouse
// compares it: lower case, without surrounding space.
// A letter of another script stays one: the Kelvin sign does not become a k,
// nor a Turkish dotted I an i.
func NormalizeEmail(s string) string { return lower(strings.TrimSpace(s)) }

// lower is strings.ToLower but for the letters that it would turn into ASCII.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if l := unicode.ToLower(r); r < 0x80 || l >= 0x80 {
			return l
		}
		return r
	}, s)
}

// ValidEmail reports whether s is a bare e-mail address. Its domain must be
// ASCII: one of another script is written in its IDNA form (xn--), so that two
// domains that look or compare alike are not taken for each other.
func ValidEmail(s string) bool {
	if len(s) > 254 {
		return false
	}
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && isASCII(s[strings.LastIndexByte(s, '@')+1:])
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// idnaForm is what to do about a domain that is not ASCII.
const idnaForm = "a domain of another script is written in its xn-- form (IDNA)"

// emailHint adds what to do where only the domain's script is wrong.
func emailHint(s string) string {
	if isASCII(s[strings.LastIndexByte(s, '@')+1:]) {
		return ""
	}
	return "; " + idnaForm
}
