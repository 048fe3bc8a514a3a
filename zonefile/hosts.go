package zonefile

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// HostRecords returns the A and AAAA records of a name server of the zone
// whose name lies below its apex, and nothing for any other name. Without them
// no resolver could find the server (RFC 1034 §4.2.1), and BIND refuses the
// zone.
func (z *Zone) HostRecords(name string) []dns.RR {
	for _, ns := range z.NS {
		if sameName(ns, name) && !sameName(ns, z.Name) && z.holds(ns) {
			return z.addressRecords(dns.Fqdn(ns), z.hostAddrs(ns))
		}
	}
	return nil
}

// Unreachable returns the name servers whose names lie in the zone and for
// which it has no address.
func (z *Zone) Unreachable() []string {
	var names []string
	for _, ns := range z.NS {
		if z.holds(ns) && len(z.hostAddrs(ns)) == 0 {
			names = append(names, ns)
		}
	}
	return names
}

func (z *Zone) hostAddrs(ns string) []netip.Addr {
	for name, addrs := range z.Hosts {
		if sameName(name, ns) {
			return addrs
		}
	}
	return z.Addresses
}

func (z *Zone) addressRecords(owner string, addrs []netip.Addr) []dns.RR {
	var rrs []dns.RR
	for _, a := range addrs {
		if a.Is4() {
			rrs = append(rrs, &dns.A{Hdr: z.header(owner, dns.TypeA, z.TTLSeconds()), A: a.AsSlice()})
		} else {
			rrs = append(rrs, &dns.AAAA{Hdr: z.header(owner, dns.TypeAAAA, z.TTLSeconds()), AAAA: a.AsSlice()})
		}
	}
	return rrs
}

// checkHost wants a name server inside the zone to have a name that no address
// has there.
func (z *Zone) checkHost(ns string) error {
	if !z.holds(ns) || sameName(ns, z.Name) {
		return nil
	}
	wire, _ := appendWire(nil, ns)
	zone, _ := appendWire(nil, z.Name)
	if label := lastLabel(wire[:len(wire)-len(zone)]); !isFreeLabel(label) {
		return fmt.Errorf("ns %q: lies in the zone, so its label %q must have two characters at least, one of them no digit (RFC 5782 §2.3)", ns, label)
	}
	return nil
}

// holds reports whether a name lies in the zone.
func (z *Zone) holds(name string) bool { return dns.IsSubDomain(z.Name, dns.Fqdn(name)) }

func sameName(a, b string) bool { return strings.EqualFold(dns.Fqdn(a), dns.Fqdn(b)) }

// lastLabel returns the last of some labels in wire format.
func lastLabel(wire []byte) []byte {
	var last []byte
	for len(wire) > 0 {
		last, wire = wire[1:1+int(wire[0])], wire[1+int(wire[0]):]
	}
	return last
}

// isFreeLabel reports whether a label directly below a zone's name cannot be
// part of an address, and is not the status name.
func isFreeLabel(label []byte) bool {
	return len(label) >= 2 && string(label) != statusLabel && strings.Trim(string(label), "0123456789") != ""
}
