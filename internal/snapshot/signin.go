package snapshot

import v1 "github.com/gatehouse-ai/gatehouse/api/v1"

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
