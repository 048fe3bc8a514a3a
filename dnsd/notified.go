package dnsd

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// Sources are the primaries of a zone that we have a copy of.
type Sources struct {
	Zone   string
	From   []netip.Addr          // whose word is taken that there is something new
	Key    string                // with which it must be signed; empty: it need not be
	Notify func(from netip.Addr) // is told of it; it must not wait
}

type sources struct {
	Sources

	key *key
}

// Taking returns the secondaries of who is himself a secondary, and lets
// primaries tell him (NOTIFY, RFC 1996).
func (s *Secondaries) Taking(from Sources) (*Secondaries, error) {
	key, err := s.find(from.Key)
	if err != nil {
		return nil, err
	}
	from.Zone = sharingName(from.Zone)
	from.From = slices.Clone(from.From)
	for i, addr := range from.From {
		from.From[i] = peer(addr)
	}
	return &Secondaries{keys: s.keys, zones: s.zones, sources: &sources{from, key}}, nil
}

// notified answers who says that a zone has changed (RFC 1996 §4.7). What serial he
// names is not looked at: the primary is asked for it.
func (v *View) notified(q *request) reply {
	if v.Secondaries == nil || v.Secondaries.sources == nil {
		return failure(NotImplemented, dns.RcodeNotImplemented, int(dns.ExtendedErrorCodeNotSupported))
	}
	s := v.Secondaries.sources
	var signed *key
	if q.seal != nil {
		signed = q.seal.key
	}
	switch {
	case q.qclass != dns.ClassINET, sharingName(q.owner()) != s.Zone:
		return failure(Refused, dns.RcodeNotAuth, int(dns.ExtendedErrorCodeNotAuthoritative))
	case q.qtype != dns.TypeSOA:
		return failure(Refused, dns.RcodeFormatError, noError)
	case !slices.Contains(s.From, peer(v.Client)), s.key != nil && s.key != signed: // §3.10
		return failure(Refused, dns.RcodeRefused, int(dns.ExtendedErrorCodeProhibited))
	}
	return reply{kind: Notified, authoritative: true, always: true, extended: noError}
}

// hear passes on that there is something new.
func (v *View) hear() { v.Secondaries.sources.Notify(peer(v.Client)) }

// peer returns an address as addresses of others are compared: not every way to us
// tells the interface of a link-local one, and no prefix does.
func peer(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }
