package listing

import (
	"net/netip"
	"slices"
)

// Special is a block of the IANA special-purpose address registries (RFC 6890
// and its successors), which is never accused and never listed.
type Special struct {
	Prefix netip.Prefix
	Name   string
}

// Specials lists the special-purpose blocks of IPv4 and IPv6, multicast and
// the former class E included: nothing in them is a host of the public
// Internet that could have sent mail.
var Specials = []Special{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network (RFC 791)"},
	{netip.MustParsePrefix("10.0.0.0/8"), "private use (RFC 1918)"},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared address space (RFC 6598)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback (RFC 1122)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link local (RFC 3927)"},
	{netip.MustParsePrefix("172.16.0.0/12"), "private use (RFC 1918)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments (RFC 6890)"},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("192.31.196.0/24"), "AS112 (RFC 7535)"},
	{netip.MustParsePrefix("192.52.193.0/24"), "AMT (RFC 7450)"},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay anycast, deprecated (RFC 7526)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "private use (RFC 1918)"},
	{netip.MustParsePrefix("192.175.48.0/24"), "AS112 (RFC 7534)"},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking (RFC 2544)"},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation (RFC 5737)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved and broadcast (RFC 1112, RFC 919)"},

	{netip.MustParsePrefix("::/128"), "unspecified (RFC 4291)"},
	{netip.MustParsePrefix("::1/128"), "loopback (RFC 4291)"},
	{netip.MustParsePrefix("::/96"), "IPv4-compatible, deprecated (RFC 4291)"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped (RFC 4291)"},
	{netip.MustParsePrefix("64:ff9b::/96"), "IPv4-IPv6 translation (RFC 6052)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "IPv4-IPv6 translation (RFC 8215)"},
	{netip.MustParsePrefix("100::/64"), "discard only (RFC 6666)"},
	{netip.MustParsePrefix("100:0:0:1::/64"), "dummy prefix (RFC 9780)"},
	{netip.MustParsePrefix("2001::/23"), "protocol assignments, Teredo included (RFC 2928)"},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation (RFC 3849)"},
	{netip.MustParsePrefix("2002::/16"), "6to4 (RFC 3056)"},
	{netip.MustParsePrefix("2620:4f:8000::/48"), "AS112 (RFC 7534)"},
	{netip.MustParsePrefix("3fff::/20"), "documentation (RFC 9637)"},
	{netip.MustParsePrefix("5f00::/16"), "segment routing SIDs (RFC 9602)"},
	{netip.MustParsePrefix("fc00::/7"), "unique local (RFC 4193)"},
	{netip.MustParsePrefix("fe80::/10"), "link local (RFC 4291)"},
	{netip.MustParsePrefix("fec0::/10"), "site local, deprecated (RFC 3879)"},
	{netip.MustParsePrefix("ff00::/8"), "multicast (RFC 4291)"},
}

// IsSpecial reports whether addr, unmapped, lies in special-purpose space,
// and in which block. A prefix of listable opens the space for labs.
func IsSpecial(addr netip.Addr, listable []netip.Prefix) (Special, bool) {
	addr = addr.Unmap().WithZone("")
	for _, p := range listable {
		if p.Contains(addr) {
			return Special{}, false
		}
	}
	for _, s := range Specials {
		if s.Prefix.Contains(addr) {
			return s, true
		}
	}
	return Special{}, false
}

// SpecialIn returns what tells the special-purpose block that a prefix lies in, or
// holds a part of, unless a prefix of listable opens all of it. It is made for many.
func SpecialIn(listable []netip.Prefix) func(netip.Prefix) (Special, bool) {
	var byOctet [256][]Special // those that an address which begins so can lie in
	for _, s := range Specials {
		for octet := range byOctet {
			first := s.Prefix.Addr().AsSlice()[0]
			if bits := min(8, s.Prefix.Bits()); byte(octet)>>(8-bits) == first>>(8-bits) {
				byOctet[octet] = append(byOctet[octet], s)
			}
		}
	}
	listable = slices.Clone(listable)
	return func(p netip.Prefix) (Special, bool) {
		for _, s := range byOctet[p.Addr().AsSlice()[0]] {
			open := func(l netip.Prefix) bool { return covers(l, p) }
			if s.Prefix.Overlaps(p) && !slices.ContainsFunc(listable, open) {
				return s, true
			}
		}
		return Special{}, false
	}
}
