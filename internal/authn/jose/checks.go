package jose

import (
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Kind is what a provider's tokens must be.
type Kind string

const (
	Access Kind = "access"
	ID     Kind = "id"
)

// lastDate is the end of year 9999, in seconds. A later date is a unit mistaken (milliseconds) or a token for ever.
const lastDate = 253402300799

// CheckTimes compares exp, nbf and iat with now. exp is required. skew is granted to the token at each comparison;
// maxAge, if not zero, limits the time since iat, which is then required. A date is a JSON number of seconds, possibly
// with a fraction, and is read exactly: fractions below a nanosecond are rounded against the token.
// Errors: Malformed, TokenExpired, TokenNotYetValid; By tells by how much.
func CheckTimes(t *Token, now time.Time, skew, maxAge time.Duration) error {
	exp, present, err := t.date("exp", false)
	if err != nil {
		return err
	}
	if !present {
		return Refuse(Malformed, "exp is missing")
	}
	// RFC 7519 section 4.1.4: not accepted on or after exp.
	if late := now.Sub(exp); late >= skew {
		return timing(TokenExpired, late, "exp is %s ago (clock skew allowed: %s)", late, skew)
	}
	nbf, present, err := t.date("nbf", true)
	if err != nil {
		return err
	}
	if early := nbf.Sub(now); present && early > skew {
		return timing(TokenNotYetValid, early, "nbf is %s ahead (clock skew allowed: %s)", early, skew)
	}
	iat, present, err := t.date("iat", true)
	if err != nil {
		return err
	}
	if early := iat.Sub(now); present && early > skew {
		return timing(TokenNotYetValid, early, "iat is %s ahead (clock skew allowed: %s): is a clock wrong?", early, skew)
	}
	if maxAge == 0 {
		return nil
	}
	issued, present, err := t.date("iat", false)
	if err != nil {
		return err
	}
	if !present {
		return Refuse(Malformed, "iat is missing, and this provider has a maxAge")
	}
	if age := now.Sub(issued); age-skew >= maxAge {
		return timing(TokenExpired, age-maxAge, "issued %s ago, this provider's maxAge is %s", age, maxAge)
	}
	return nil
}

func timing(code Code, by time.Duration, format string, a, b time.Duration) error {
	e := Refuse(code, format, a.Round(time.Millisecond), b)
	e.By = by
	return e
}

// ExpiresAt is exp, and false where it is missing or no date.
func ExpiresAt(t *Token) (time.Time, bool) {
	exp, present, err := t.date("exp", false)
	return exp, present && err == nil
}

func (t *Token) date(name string, roundUp bool) (time.Time, bool, error) {
	v, present := t.Claims[name]
	if !present {
		return time.Time{}, false, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, true, Refuse(Malformed, "%s is not a number", name)
	}
	at, err := parseDate(string(n), roundUp)
	if err != nil {
		err.Detail = name + " " + err.Detail
		return time.Time{}, true, err
	}
	return at, true, nil
}

// parseDate reads a NumericDate. It never goes through a float, which would round, and never lets an exponent make a
// number with a billion digits. What lies before 1970 is 1970: expired in any case.
func parseDate(text string, roundUp bool) (time.Time, *Error) {
	if len(text) <= 11 && strings.Trim(text, "0123456789") == "" && text != "" { // as nearly every date: before the year 5138
		seconds, _ := strconv.ParseInt(text, 10, 64)
		return time.Unix(seconds, 0), nil
	}
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(text), "e")
	if len(text) > 64 {
		return time.Time{}, Refuse(Malformed, "is a number of %d characters", len(text))
	}
	if digits := strings.TrimLeft(strings.TrimLeft(exponent, "+-"), "0"); hasExponent && len(digits) > 2 {
		if !strings.HasPrefix(exponent, "-") && strings.ContainsAny(mantissa, "123456789") {
			return time.Time{}, Refuse(Malformed, "has an exponent beyond any date")
		}
		text = "0" // or so small that it cannot be told from it
	}
	seconds, ok := new(big.Rat).SetString(text)
	if !ok {
		return time.Time{}, Refuse(Malformed, "is not a decimal number")
	}
	if seconds.Cmp(new(big.Rat).SetInt64(lastDate)) > 0 {
		return time.Time{}, Refuse(Malformed, "is after the year 9999; a date is in seconds, not milliseconds")
	}
	if seconds.Sign() < 0 {
		return time.Unix(0, 0), nil
	}
	nanos := new(big.Rat).Mul(seconds, new(big.Rat).SetInt64(int64(time.Second)))
	whole, rest := new(big.Int).QuoRem(nanos.Num(), nanos.Denom(), new(big.Int))
	if roundUp && rest.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	sec, nsec := new(big.Int).QuoRem(whole, big.NewInt(int64(time.Second)), new(big.Int))
	return time.Unix(sec.Int64(), nsec.Int64()), nil
}

// CheckKind refuses a token that was made for something else. Refresh, offline and logout tokens (Keycloak's payload
// typ) and anything with events (RFC 8417) never pass. Where access tokens are wanted, an ID token is refused: payload
// typ ID, or nonce, at_hash or c_hash without scope or scp. Where ID tokens are wanted, an access token that says so
// (header at+jwt, payload typ Bearer) is refused. Error: WrongTokenKind.
func CheckKind(t *Token, want Kind) error {
	if _, present := t.Claims["events"]; present {
		return Refuse(WrongTokenKind, "it has events: a security event or logout token (RFC 8417)")
	}
	typ, _ := t.Claims["typ"].(string)
	switch strings.ToLower(typ) {
	case "refresh", "offline", "logout":
		return Refuse(WrongTokenKind, "its typ is %s: send the access token", typ)
	}
	switch want {
	case Access:
		return notID(t, typ)
	case ID:
		if strings.HasSuffix(strings.ToLower(t.Typ), "at+jwt") || strings.EqualFold(typ, "Bearer") || strings.EqualFold(typ, "DPoP") {
			return Refuse(WrongTokenKind, "it is an access token; this provider's tokenType is id")
		}
		return nil
	}
	return Refuse(WrongTokenKind, "tokenType %q is neither access nor id", want)
}

func notID(t *Token, typ string) error {
	if strings.EqualFold(typ, "ID") {
		return Refuse(WrongTokenKind, "it is an ID token (typ: ID): send the access token, or set tokenType: id")
	}
	if t.has("scope") || t.has("scp") {
		return nil
	}
	for _, name := range []string{"nonce", "at_hash", "c_hash"} {
		if t.has(name) {
			return Refuse(WrongTokenKind, "it has %s and no scope, so it is an ID token: send the access token, or set tokenType: id", name)
		}
	}
	return nil
}

func (t *Token) has(claim string) bool {
	_, present := t.Claims[claim]
	return present
}

// Audience is aud as a list: a string, or a list of strings (RFC 7519 section 4.1.3). nil means that there is none or
// that it is neither, and then nothing matches it.
func Audience(t *Token) []string {
	switch aud := t.Claims["aud"].(type) {
	case string:
		return []string{aud}
	case []any:
		list := make([]string, 0, len(aud))
		for _, v := range aud {
			s, ok := v.(string)
			if !ok {
				return nil
			}
			list = append(list, s)
		}
		return list
	}
	return nil
}
