package snapshot

import (
	"slices"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// directory notes for whom a directory speaks. Of two that claim one issuer
// the first by name has it.
func (c *compiler) directory(d *v1.ScimDirectory) {
	c.cfg.directories[d.Name] = d
	for _, issuer := range d.Spec.Issuers {
		if other, taken := c.cfg.directoryIssuers[issuer]; taken {
			c.problemf("the issuer %s is claimed by scim-directory:%s already", issuer, other)
			continue
		}
		c.cfg.directoryIssuers[issuer] = d.Name
	}
}

// SsoConnections lists the ways to sign in, by name.
func (s *Snapshot) SsoConnections() []*v1.SsoConnection { return s.cfg.connectionList }

// SsoConnection finds a way to sign in.
func (s *Snapshot) SsoConnection(name string) (*v1.SsoConnection, bool) {
	c, ok := s.cfg.connections[name]
	return c, ok
}

// ConnectionTeams lists the teams that list a group of an SsoConnection.
func (s *Snapshot) ConnectionTeams(connection, group string) []string {
	return s.cfg.groupTeams[v1.GroupRef{SsoConnection: connection, Group: group}]
}

// ScimDirectory finds a directory.
func (s *Snapshot) ScimDirectory(name string) (*v1.ScimDirectory, bool) {
	d, ok := s.cfg.directories[name]
	return d, ok
}

// IssuerDirectory names the directory by which alone an issuer's people come.
func (s *Snapshot) IssuerDirectory(issuer string) (string, bool) {
	name, ok := s.cfg.directoryIssuers[issuer]
	return name, ok
}

// connection notes a way to sign in. A domain leads to one only: the first by
// name of those that are enabled.
func (c *compiler) connection(r *v1.SsoConnection) {
	c.cfg.connections[r.Name] = r
	c.cfg.connectionList = append(c.cfg.connectionList, r)
	if !r.Spec.Enabled {
		return
	}
	for _, d := range r.Spec.Domains {
		for _, other := range c.cfg.connectionList {
			if other != r && other.Spec.Enabled && slices.Contains(other.Spec.Domains, d) {
				c.problemf("the domain %s leads to sso-connection:%s already; remove it from one of the two", d, other.Name)
			}
		}
	}
	if slices.Contains(r.Spec.EmailDomains, "*") {
		c.problemf("may speak for the addresses of any domain (emailDomains: [\"*\"])")
	}
}
