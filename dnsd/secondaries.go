package dnsd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// Sharing says who may take a zone as a whole, and who is told when it changes.
type Sharing struct {
	Zone   string
	Allow  []TransferRule
	Notify []Target
}

// TransferRule lets a zone be taken (AXFR, RFC 5936, and IXFR, RFC 1995) when
// all that it says holds.
type TransferRule struct {
	From []netip.Prefix // who asks; empty: anybody
	Key  string         // with which the request is signed; empty: with none, or any
}

// Target is a secondary that is told of changes (NOTIFY, RFC 1996).
type Target struct {
	To   netip.AddrPort
	Key  string     // that signs the message; empty: none
	From netip.Addr // which address of ours it comes from; not valid: the system's choice
}

// Secondaries is what we share with other servers. It is not changed once it is
// in use. Nil shares nothing.
type Secondaries struct {
	keys    keys
	zones   map[string]sharing // by [sharingName]
	sources *sources           // nil: we are nobody's secondary
}

type sharing struct {
	allow  []allowance
	notify []target
}

type allowance struct {
	from []netip.Prefix
	key  *key
}

type target struct {
	Target

	key *key
}

// NewSecondaries returns what is shared. All that is wrong is reported at once.
func NewSecondaries(have []Key, zones ...Sharing) (*Secondaries, error) {
	s := &Secondaries{keys: keys{}, zones: map[string]sharing{}}
	var errs []error
	for _, k := range have {
		compiled, err := k.compile()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, twice := s.keys[string(compiled.name)]; twice {
			errs = append(errs, fmt.Errorf("key %q: is there twice", k.Name))
		}
		s.keys[string(compiled.name)] = compiled
	}
	for _, z := range zones {
		var shared sharing
		for _, rule := range z.Allow {
			key, err := s.find(rule.Key)
			errs = append(errs, err)
			if len(rule.From) == 0 && rule.Key == "" {
				errs = append(errs, fmt.Errorf("zone %q: a rule without addresses and key lets everybody take it", z.Zone))
			}
			shared.allow = append(shared.allow, allowance{slices.Clone(rule.From), key})
		}
		for _, t := range z.Notify {
			key, err := s.find(t.Key)
			errs = append(errs, err)
			if !t.To.IsValid() || t.To.Port() == 0 {
				errs = append(errs, fmt.Errorf("zone %q: notify %s: want an address and a port", z.Zone, t.To))
			}
			shared.notify = append(shared.notify, target{t, key})
		}
		s.zones[sharingName(z.Zone)] = shared
	}
	return s, errors.Join(errs...)
}

// find returns the key of a name, none for no name.
func (s *Secondaries) find(name string) (*key, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no key is no error
	}
	wire, err := wireName(name)
	if k := s.keys[string(wire)]; err == nil && k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("key %q: is not known", name)
}

func sharingName(zone string) string { return strings.ToLower(dns.Fqdn(zone)) }

// allows reports whether a client may take a zone, having signed with a key or
// with none.
func (s *Secondaries) allows(zone *zonefile.Zone, client netip.Addr, signed *key) bool {
	if s == nil {
		return false
	}
	return slices.ContainsFunc(s.zones[sharingName(zone.Name)].allow, func(a allowance) bool {
		within := func(p netip.Prefix) bool { return p.Contains(peer(client)) }
		return (a.key == nil || a.key == signed) && (len(a.from) == 0 || slices.ContainsFunc(a.from, within))
	})
}

// notify returns whom to tell when a zone changes.
func (s *Secondaries) notify(zone *zonefile.Zone) []target {
	if s == nil {
		return nil
	}
	return s.zones[sharingName(zone.Name)].notify
}

// have returns the keys.
func (s *Secondaries) have() keys {
	if s == nil {
		return nil
	}
	return s.keys
}
