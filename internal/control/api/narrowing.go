package api

import (
	"bytes"
	"encoding/json"

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
	n := &identity.Narrowing{}
	if err := strictJSON(raw, n); err != nil {
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
	for _, prefix := range n.CIDR {
		if !prefix.IsValid() { // null and the empty text become one
			return nil, wrong("cidr: write addresses like 192.0.2.0/24")
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
