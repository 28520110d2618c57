package api

import (
	"encoding/base64"
	"strings"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// A cursor is where a list goes on, sealed: it tells nothing to whoever holds
// it, and opens for the same list, filter and caller only.

func (c *call) cursorContext(list string) []byte {
	p := c.caller.Principal
	parts := []string{"gatehouse/cursor/1", list, string(p.Kind), p.UID, p.Name, p.Key.Issuer, p.Key.Subject}
	return []byte(strings.Join(parts, "\x00"))
}

// cursor seals a place in a list; "" for the end.
func (c *call) cursor(list, after string) (string, error) {
	if after == "" {
		return "", nil
	}
	sealed, err := c.opt.Sealer.Seal([]byte(after), c.cursorContext(list))
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// after reads the cursor of a request; "" is the beginning.
func (c *call) after(list string) (string, error) {
	text := c.r.URL.Query().Get("cursor")
	if text == "" {
		return "", nil
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		var plain []byte
		if plain, err = c.opt.Sealer.Open(sealed, c.cursorContext(list)); err == nil {
			return string(plain), nil
		}
	}
	return "", identity.Wrap(identity.CodeInvalidRequest, err, "this cursor is not of this list, filter and caller; begin again without one")
}
