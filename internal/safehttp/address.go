package safehttp

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

type class int

const (
	public class = iota
	private
	loopback
	forbidden
)

// ranges lists what is not public. The first match counts, so the exceptions inside a wider range stand before it.
func ranges() []struct {
	prefix string
	class  class
	what   string
} {
	return []struct {
		prefix string
		class  class
		what   string
	}{
		{"0.0.0.0/8", forbidden, "unspecified (RFC 1122)"},
		{"169.254.0.0/16", forbidden, "link-local, cloud metadata (RFC 3927)"},
		{"100.100.100.200/32", forbidden, "cloud metadata"},
		{"168.63.129.16/32", forbidden, "cloud metadata"},
		{"192.0.0.0/24", forbidden, "IETF protocol assignments, cloud metadata (RFC 6890)"},
		{"224.0.0.0/4", forbidden, "multicast (RFC 5771)"},
		{"240.0.0.0/4", forbidden, "reserved or broadcast (RFC 1112)"},
		{"127.0.0.0/8", loopback, "loopback"},
		{"10.0.0.0/8", private, "private (RFC 1918)"},
		{"172.16.0.0/12", private, "private (RFC 1918)"},
		{"192.168.0.0/16", private, "private (RFC 1918)"},
		{"100.64.0.0/10", private, "shared (RFC 6598)"},
		{"198.18.0.0/15", private, "benchmarking (RFC 2544)"},
		{"::1/128", loopback, "loopback"},
		{"::/128", forbidden, "unspecified"},
		{"fe80::/10", forbidden, "link-local (RFC 4291)"},
		{"ff00::/8", forbidden, "multicast (RFC 4291)"},
		{"fd00:ec2::/32", forbidden, "cloud metadata"},
		{"fd20:ce::/32", forbidden, "cloud metadata"},
		{"fc00::/7", private, "unique local (RFC 4193)"},
		{"fec0::/10", private, "site-local (RFC 3879)"},
	}
}

type rangeRule struct {
	prefix netip.Prefix
	class  class
	what   string
}

// classifier is built once per transport: parsing thirty prefixes is nothing beside a dial, and nothing is global.
type classifier []rangeRule

func newClassifier() classifier {
	var c classifier
	for _, r := range ranges() {
		c = append(c, rangeRule{netip.MustParsePrefix(r.prefix), r.class, r.what})
	}
	return c
}

// classify says what kind of address a is, and in words why. An IPv6 form that carries an IPv4 address which is not
// public is forbidden: no honest configuration reaches 10.0.0.1 through 6to4 or NAT64 (RFC 6052 section 3.1).
func (c classifier) classify(a netip.Addr) (class, string) {
	// A prefix never contains an address with a zone, so fe80::1%eth0 would slip through.
	a = a.WithZone("").Unmap()
	if !a.IsValid() {
		return forbidden, "not an address"
	}
	for _, r := range c {
		if r.prefix.Contains(a) {
			return r.class, r.what
		}
	}
	if v4, how, ok := embedded(a); ok {
		if k, what := c.classify(v4); k != public {
			return forbidden, how + " form of " + v4.String() + ", " + what
		}
		if how == "local NAT64" { // RFC 8215: the translator's own network, and the position of the address varies
			return private, "local-use NAT64 (RFC 8215)"
		}
	}
	return public, ""
}

// embedded finds the IPv4 address inside an IPv6 one. Mapped addresses (::ffff:0:0/96) were unmapped before.
func embedded(a netip.Addr) (netip.Addr, string, bool) {
	if !a.Is6() {
		return netip.Addr{}, "", false
	}
	b := a.As16()
	last := netip.AddrFrom4([4]byte(b[12:16]))
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	switch {
	case hi == 0 && lo>>32 == 0: // RFC 4291 section 2.5.5.1
		return last, "IPv4-compatible", true
	case hi == 0 && lo>>32 == 0xffff0000: // RFC 2765 (SIIT)
		return last, "IPv4-translated", true
	case hi == 0x0064ff9b_00000000 && lo>>32 == 0: // RFC 6052
		return last, "NAT64", true
	case hi>>16 == 0x0064ff9b_0001: // RFC 8215
		return last, "local NAT64", true
	case b[0] == 0x20 && b[1] == 0x02: // RFC 3056
		return netip.AddrFrom4([4]byte(b[2:6])), "6to4", true
	case hi>>32 == 0x20010000: // RFC 4380: the client's address, inverted
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}), "Teredo", true
	case lo>>32&0xfdffffff == 0x00005efe: // RFC 5214
		return last, "ISATAP", true
	}
	return netip.Addr{}, "", false
}

// IsLoopbackHost reports whether a URL's host (without port) says by itself that it is this machine: localhost, a name
// under .localhost (RFC 6761), or a loopback address written out. No name is resolved.
func IsLoopbackHost(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}
