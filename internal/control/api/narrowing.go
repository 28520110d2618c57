package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// longestNarrowing is how many entries each list of a narrowing may have.
const longestNarrowing = 1000

// narrowing reads what a token is limited to. null is refused: it would have
// to mean either nothing or everything.
func (c *call) narrowing(raw json.RawMessage) (*identity.Narrowing, error) {
	if raw == nil {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	wrong := func(format string, args ...any) error {
		return identity.Errorf(identity.CodeInvalidRequest, "narrowing: "+format, args...)
	}
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, wrong("must be an object")
	}
	for name, v := range fields {
		if bytes.Equal(bytes.TrimSpace(v), []byte("null")) {
			return nil, wrong("%s is null; leave it out for no limit, or send an empty list for nothing", name)
		}
	}
	if err := rangesAndTimes(fields, wrong); err != nil {
		return nil, err
	}
	n := &identity.Narrowing{}
	if err := strictJSON(raw, n); err != nil {
		if e, ok := errors.AsType[*identity.Error](err); ok {
			e.Message = "narrowing: " + e.Message
		}
		return nil, err
	}
	for _, m := range n.Models {
		if _, _, ok := v1.SplitFQN(m); !ok {
			return nil, wrong("%q is not a model; write account/model, or account/* for all of an account", m)
		}
	}
	for _, list := range [][]string{n.MCPServers, n.Agents} {
		for _, name := range list {
			if !v1.ValidName(name) {
				return nil, wrong("%q is not a name", name)
			}
		}
	}
	for _, size := range []int{len(n.Models), len(n.MCPServers), len(n.Agents), len(n.CIDR)} {
		if size > longestNarrowing {
			return nil, wrong("at most %d entries in a list", longestNarrowing)
		}
	}
	if n.NotAfter != nil && !n.NotAfter.After(c.now) {
		// A right time, that our clock is against.
		return nil, identity.Errorf(identity.CodeConflict, "narrowing: notAfter has passed")
	}
	return n, nil
}

// rangesAndTimes looks at what reads itself: its errors do not say which field
// they are about, nor how it is written.
func rangesAndTimes(fields map[string]json.RawMessage, wrong func(string, ...any) error) error {
	if raw, ok := fields["cidr"]; ok {
		var list []string
		if json.Unmarshal(raw, &list) != nil {
			return wrong("cidr must be a list of texts like 192.0.2.0/24")
		}
		for _, text := range list {
			if _, err := netip.ParsePrefix(text); err == nil {
				continue
			}
			if a, err := netip.ParseAddr(text); err == nil {
				return wrong("cidr: %q is one address; write %s/%d for it alone", text, a.WithZone(""), a.BitLen())
			}
			return wrong("cidr: %q is not a range of addresses; write it like 192.0.2.0/24", shorten(text))
		}
	}
	if raw, ok := fields["notAfter"]; ok {
		if json.Unmarshal(raw, new(time.Time)) != nil {
			return wrong("notAfter must be a time like 2026-01-31T12:00:00Z (RFC 3339)")
		}
	}
	return nil
}
