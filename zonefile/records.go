package zonefile

import (
	"iter"
	"net/netip"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// Records returns the whole zone as records, for transfers: the SOA first
// (it is not repeated at the end), then NS and what else the apex has,
// _status, the test points, and A and TXT of every entry, sorted by address.
// A prefix is told by wildcards (see [Zone.Wildcards]).
func (z *Zone) Records(s *listing.Snapshot) iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		for _, rr := range z.head(s) {
			if !yield(rr) {
				return
			}
		}
		for e := range s.All() {
			if e, ok := z.carry(e); ok && !z.entryRecords(e, yield) {
				return
			}
		}
	}
}

// head returns what stands before the entries: it is of bounded size.
func (z *Zone) head(s *listing.Snapshot) []dns.RR {
	rrs := append([]dns.RR{z.SOA(s.Sequence())}, z.NSRecords()...)
	rrs = append(append(rrs, z.ApexRecords(s)...), z.StatusTXT(s))
	for _, ns := range z.NS {
		rrs = append(rrs, z.HostRecords(ns)...)
	}
	for _, e := range z.testPoints(s) {
		// RFC 5782 §5 wants the test point of IPv6 lists as ::ffff:127.0.0.2.
		for _, owner := range []string{z.Owner(e.Prefix.Addr()), z.mappedOwner(e.Prefix.Addr())} {
			rrs = append(rrs, z.A(owner, e), z.TXT(owner, e))
		}
	}
	return rrs
}

// mappedOwner returns the nibble name of an IPv4 address mapped into IPv6.
func (z *Zone) mappedOwner(addr netip.Addr) string {
	mapped := netip.AddrFrom16(addr.As16())
	return string(append(appendOwner(nil, netip.PrefixFrom(mapped, mapped.BitLen())), z.Name...))
}

func (z *Zone) entryRecords(e listing.Entry, yield func(dns.RR) bool) bool {
	text := z.TXT("", e)
	for piece := range pieces(e.Prefix) {
		owner := string(append(appendOwner(nil, piece), z.Name...))
		txt := *text
		txt.Hdr.Name = owner
		if !yield(z.A(owner, e)) || !yield(&txt) {
			return false
		}
	}
	return true
}

// EntryRecords returns the A and TXT records of one entry, as [Zone.Records]
// has them, or none if the zone does not carry it: what an incremental
// transfer (RFC 1995) removes and adds.
func (z *Zone) EntryRecords(e listing.Entry) iter.Seq[dns.RR] {
	return func(yield func(dns.RR) bool) {
		if e, ok := z.carry(e); ok {
			z.entryRecords(e, yield)
		}
	}
}
