package api

import (
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// The shapes of what stands in fields. A pattern may leave out what the server
// lets pass beside it, and must not let pass what the server refuses.

func number(n int) *int { return &n }

func enum[T ~string](values ...T) *huma.Schema {
	s := text()
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

func listOf(item *huma.Schema, most int) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: item, MaxItems: &most}
}

func sized(s *huma.Schema, most int) *huma.Schema {
	s.MaxLength = &most
	return s
}

// bare is a pattern to be put into another one.
func bare(pattern string) string {
	return strings.TrimSuffix(strings.TrimPrefix(pattern, "^"), "$")
}

func nonEmpty() *huma.Schema { return &huma.Schema{Type: huma.TypeString, MinLength: number(1)} }

// jsonValue is what JSON can say but null.
func jsonValue() *huma.Schema {
	again := &huma.Schema{Ref: "#/components/schemas/JSONValue"}
	return anyOf(text(), flag(), &huma.Schema{Type: huma.TypeNumber}, &huma.Schema{Type: huma.TypeArray, Items: again},
		&huma.Schema{Type: huma.TypeObject, AdditionalProperties: again})
}

// maybe is a text of a pattern, or the empty text, which stands for one that
// is left out.
func maybe(pattern string) *huma.Schema { return patterned(`^(` + bare(pattern) + `)?$`) }

// texts is a list of texts, or the one text alone that v1.Strings takes for it.
func texts(item *huma.Schema, least int) *huma.Schema {
	list := &huma.Schema{Type: huma.TypeArray, Items: item}
	if least > 0 {
		list.MinItems = &least
	}
	return &huma.Schema{Description: "A list; one text stands for a list of one.", AnyOf: []*huma.Schema{list, item}}
}

// distinct is texts of which none may stand there twice.
func distinct(item *huma.Schema) *huma.Schema {
	s := texts(item, 0)
	s.AnyOf[0].UniqueItems = true
	return s
}

// lengthOfTime is a v1.Duration within bounds, which its format names: what a
// sum amounts to is beyond a pattern.
func lengthOfTime(least, most v1.Duration, examples ...any) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Format: "duration-" + string(least) + "-to-" + string(most), Pattern: durationPattern, Examples: examples,
		Description: "Such as 90d or 1h30m; from " + string(least) + " to " + string(most) + ". Empty is the default.",
	}
}

// inBytes is a text whose length is limited in UTF-8, which JSON Schema does
// not count in.
func inBytes(pattern string, most int) *huma.Schema {
	short, ascii := patterned(pattern), patterned(`^[\x01-\x7f]*$`)
	if pattern == "" {
		short = text()
	} else {
		ascii.AllOf = []*huma.Schema{patterned(pattern)}
	}
	return &huma.Schema{Type: huma.TypeString, AnyOf: []*huma.Schema{sized(short, most/4), sized(ascii, most)}}
}

func labels() *huma.Schema {
	most, longest := 64, 253
	return &huma.Schema{
		Type: huma.TypeObject, Nullable: true, AdditionalProperties: text(), MaxProperties: &most,
		Extensions: map[string]any{"propertyNames": word(longest)},
	}
}

// permissionNames is the catalogue, with the empty text, which stands for one
// that is left out.
func permissionNames() []identity.Permission {
	return append([]identity.Permission{""}, identity.AllPermissions().List()...)
}

// orAddress is a text of a pattern, or a prefix and an e-mail address.
func orAddress(pattern, prefix string) *huma.Schema {
	address := patterned(`^` + prefix + bare(emailPattern) + `$`)
	return &huma.Schema{AnyOf: []*huma.Schema{patterned(pattern), sized(address, len(prefix)+254)}}
}

// modelName is v1.SplitFQN's.
const modelName = `[!-~]{1,256}`

// resourcePattern is what v1.ParseResource reads, but for people.
func resourcePattern() string {
	kinds := slices.DeleteFunc(v1.ResourceKinds(), func(k string) bool { return k == "model" || k == "mcp-tool" || k == "user" })
	name := bare(namePattern)
	return `^(tenant|(` + strings.Join(kinds, "|") + `):` + name + `|model:` + name + `/` + modelName + `|mcp-tool:` + name + `/[!-~]{1,64})$`
}

// subject is whom something can be granted to.
func subject() *huma.Schema {
	return orAddress(`^(team|virtual-account|external-identity|agent):`+bare(namePattern)+`$`, "user:")
}

func email() *huma.Schema { return sized(patterned(emailPattern), 254) }

const (
	// printablePattern is a text without control characters.
	printablePattern = `^[^\x00-\x1f\x7f-\x9f]*$`
	// claimPattern is a claim's name, or a JSON Pointer (RFC 6901).
	claimPattern = `^([^/][\s\S]*|/([^~]|~[01])+)$`
	// claimValuePattern is a value that may be open at its end.
	claimValuePattern = `^([^*]+[*]?|[*])$`
	// durationPattern is a v1.Duration.
	durationPattern = `^([0-9]+(d|h|m|s))*$`
	// domainPattern is an e-mail domain.
	domainPattern = `^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$`
	// pemPattern is where a certificate begins (RFC 7468).
	pemPattern = `-----BEGIN CERTIFICATE-----`
	// amountPattern is a v1.Decimal.
	amountPattern = `^([0-9]{1,12}(\.[0-9]{1,9})?)?$`
	// originPattern is an origin as browsers write it (RFC 6454).
	originPattern = `^https?://` + hostPattern + `(:[0-9]{1,5})?$`
	// secretPath is a path within a store, without ".", ".." and "//".
	secretPath = `/?` + secretPart + `(/` + secretPart + `)*`
	secretPart = `([^/.][^/]*|\.[^/.][^/]*|\.\.[^/]+)`
	// modelPattern is a model's name within its account: no empty segment, none
	// that leads up, and nothing that means something in a URL.
	modelPattern = `^` + segmentPattern + `(/` + segmentPattern + `)*$`

	segmentPattern = `([^\s\\%?#"/.][^\s\\%?#"/]*|\.[^\s\\%?#"/.][^\s\\%?#"/]*|\.\.[^\s\\%?#"/]+|\.)`
	hostPattern    = `([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?` + `|\[::1\]|\[[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}\]|\[[0-9a-f]{1,4}(:[0-9a-f]{1,4}){0,4}::([0-9a-f]{1,4})?\])`
	loopback       = `(localhost|127(\.[0-9]{1,3}){3}|\[::1\])`
	afterHost      = `(:[0-9]{1,5})?(/([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?`
	urlQuery       = `(\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?`

	// anyURL and safeURL are the URLs of v1, with and without insecureHTTP.
	anyURL  = `^https?://` + hostPattern + afterHost + urlQuery + `$`
	safeURL = `^(https://` + hostPattern + `|http://` + loopback + `)` + afterHost + urlQuery + `$`
	// anyBase and safeBase have no query: something is put behind them.
	anyBase  = `^https?://` + hostPattern + afterHost + `$`
	safeBase = `^(https://` + hostPattern + `|http://` + loopback + `)` + afterHost + `$`
)
