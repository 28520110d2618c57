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
	payload   []byte
	signature []byte
}

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
	rawHeader, err := decodeBase64(head)
	if err != nil {
		return nil, Refuse(Malformed, "header: %v", err)
	}
	header, err := decodeObject(rawHeader)
	if err != nil {
		return nil, Refuse(Malformed, "header: %v", err)
	}
	t := &Token{input: input}
	if err := t.readHeader(header); err != nil {
		return nil, err
	}
	if t.payload, err = decodeBase64(body); err != nil {
		return nil, Refuse(Malformed, "payload: %v", err)
	}
	if t.signature, err = decodeBase64(sig); err != nil {
		return nil, Refuse(Malformed, "signature: %v", err)
	}
	if len(t.signature) == 0 {
		return nil, Refuse(Malformed, "no signature")
	}
	return t, nil
}

func (t *Token) readHeader(header map[string]any) error {
	for name, field := range map[string]*string{"alg": &t.Alg, "kid": &t.Kid, "typ": &t.Typ} {
		v, present := header[name]
		if !present {
			continue
		}
		s, ok := v.(string)
		if !ok {
			return Refuse(Malformed, "header: %s is not a string", name)
		}
		*field = s
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

// decodeBase64 is RFC 4648 section 5 without leniency. Go's decoder skips line breaks even in strict mode, and a token
// that can be written in two ways has two digests.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line break in base64url")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errors.New("not canonical base64url without padding")
	}
	return b, nil
}
