package jose

import (
	"encoding/base64"
	"errors"
	"strings"
)

const (
	// MaxToken and MaxHeader are checked before anything else, in bytes of the encoded form.
	MaxToken  = 16 << 10
	MaxHeader = 2 << 10
)

// Token is one parsed, not yet verified JWT. It is read-only once made and may be shared.
type Token struct {
	Alg string
	Kid string // "" where the header has none
	Typ string // as written; "" where the header has none
	// Claims is the payload. Numbers are json.Number, as they were written.
	Claims map[string]any

	input     string // what was signed: header.payload, encoded
	payload   string // decoded; the claims' strings lie in it
	signature []byte
}

// Payload is the claims as they were signed, decoded. ClaimsOf reads them again.
func (t *Token) Payload() string { return t.payload }

// ClaimsOf reads the Payload of a token that was parsed.
func ClaimsOf(payload string) (map[string]any, error) { return decodeObject(payload) }

// Parse reads a compact JWS that carries claims: limits first, then strict base64url (no padding, no white space,
// unused bits zero), then strict JSON. alg must be one of Algorithms; any crit and b64: false are refused; jku, x5u,
// jwk and x5c are never looked at; typ is absent, JWT or at+jwt (RFC 9068 section 4, RFC 8725 section 3.11).
// Every error is an *Error: Malformed, AlgorithmNotAllowed or WrongTokenKind.
func Parse(token string) (*Token, error) {
	t, err := parseSigned(token)
	if err != nil {
		return nil, err
	}
	if err := checkType(t.Typ); err != nil {
		return nil, err
	}
	if t.Claims, err = decodeObject(t.payload); err != nil {
		return nil, Refuse(Malformed, "payload: %v", err)
	}
	return t, nil
}

// LooksLikeJWT reports whether a credential has the three parts of a compact JWS; nothing is decoded.
func LooksLikeJWT(token string) bool { return strings.Count(token, ".") == 2 }

func parseSigned(token string) (*Token, error) {
	if len(token) > MaxToken {
		return nil, Refuse(Malformed, "%d bytes, at most %d are read", len(token), MaxToken)
	}
	if !LooksLikeJWT(token) {
		return nil, Refuse(Malformed, "%d parts separated by dots; a signed JWT has 3", strings.Count(token, ".")+1)
	}
	last := strings.LastIndexByte(token, '.')
	input, sig := token[:last], token[last+1:]
	head, body, _ := strings.Cut(input, ".")
	if len(head) > MaxHeader {
		return nil, Refuse(Malformed, "header of %d bytes, at most %d are read", len(head), MaxHeader)
	}
	var space [2 << 10]byte // a longer payload costs an allocation
	raw, err := decodeBase64(space[:0], head)
	if err != nil {
		return nil, Refuse(Malformed, "header: %v", err)
	}
	header, err := decodeObject(string(raw))
	if err != nil {
		return nil, Refuse(Malformed, "header: %v", err)
	}
	t := &Token{input: input}
	if err := t.readHeader(header); err != nil {
		return nil, err
	}
	if raw, err = decodeBase64(space[:0], body); err != nil {
		return nil, Refuse(Malformed, "payload: %v", err)
	}
	t.payload = string(raw)
	if t.signature, err = decodeBase64(nil, sig); err != nil {
		return nil, Refuse(Malformed, "signature: %v", err)
	}
	if len(t.signature) == 0 {
		return nil, Refuse(Malformed, "no signature")
	}
	return t, nil
}

func (t *Token) readHeader(header map[string]any) error {
	names, fields := [...]string{"alg", "kid", "typ"}, [...]*string{&t.Alg, &t.Kid, &t.Typ}
	for i, name := range names {
		v, present := header[name]
		if !present {
			continue
		}
		s, ok := v.(string)
		if !ok {
			return Refuse(Malformed, "header: %s is not a string", name)
		}
		*fields[i] = s
	}
	// RFC 7515 section 4.1.11: we implement no extension, so there is nothing that crit could name.
	if _, present := header["crit"]; present {
		return Refuse(Malformed, "header: crit names extensions that are not supported")
	}
	if v, present := header["b64"]; present && v != true { // RFC 7797
		return Refuse(Malformed, "header: b64 is not true")
	}
	if _, ok := lookupAlgorithm(t.Alg); !ok {
		return Refuse(AlgorithmNotAllowed, "header: alg %.40q is not one of %v", t.Alg, Algorithms())
	}
	if typ, present := header["typ"]; present && typ == "" {
		return Refuse(WrongTokenKind, "header: typ is empty")
	}
	return nil
}

func checkType(typ string) error {
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "jwt", "at+jwt":
		return nil
	case "":
		if typ == "" {
			return nil
		}
	}
	return Refuse(WrongTokenKind, "header: typ %.40q is neither JWT nor at+jwt", typ)
}

// strict refuses bits that are set beyond the last byte.
var strict = base64.RawURLEncoding.Strict()

// decodeBase64 appends what s says to dst. It is RFC 4648 section 5 without leniency: Go's decoder skips line breaks
// even in strict mode, and a token that can be written in two ways has two digests.
func decodeBase64(dst []byte, s string) ([]byte, error) {
	if strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0 {
		return nil, errors.New("line break in base64url")
	}
	b, err := strict.AppendDecode(dst, []byte(s))
	if err != nil {
		return nil, errors.New("not canonical base64url without padding")
	}
	return b, nil
}
