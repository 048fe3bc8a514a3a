package dnsd

import (
	"fmt"
	"net/netip"
	"strings"

	"backscatter/zonefile"

	"github.com/gaissmai/bart"
	"github.com/miekg/dns"
)

// Action is what an access rule does with the questions of its clients. Whatever
// it is, a zone's own name and the test points are answered: who looks whether the
// list works must not be led astray.
type Action uint8

// The actions.
const (
	Allow   Action = iota // answer, without any limit
	Refuse                // answer REFUSED
	Ignore                // answer nothing
	Empty                 // answer as if nothing were listed
	Replace               // answer every address with the rule's code
	actions
)

var actionNames = [actions]string{"allow", "refuse", "ignore", "empty", "code"}

// Actions returns the names of the actions.
func Actions() []string { return actionNames[:] }

// String returns the action's name.
func (a Action) String() string {
	if a < actions {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// ParseAction reads the name of an action.
func ParseAction(name string) (Action, error) {
	for a, n := range actionNames {
		if n == name {
			return Action(a), nil
		}
	}
	return 0, fmt.Errorf("%q is no action; known are %v", name, actionNames)
}

// AccessRule says what becomes of the questions from a prefix.
type AccessRule struct {
	Prefix netip.Prefix
	Action Action
	Code   netip.Addr // of Replace: the A record, of IPv4
}

// Access holds rules; the one with the longest prefix counts. It is not changed
// once it is in use. Nil has none.
type Access struct{ rules bart.Table[*AccessRule] }

// NewAccess returns the rules, or nil for none. Of two with the same prefix the
// later counts.
func NewAccess(rules ...AccessRule) *Access {
	if len(rules) == 0 {
		return nil
	}
	a := &Access{}
	for _, r := range rules {
		a.rules.Insert(r.Prefix.Masked(), &r)
	}
	return a
}

// find returns the rule for a client, or nil.
func (a *Access) find(client netip.Addr) *AccessRule {
	if a == nil || !client.IsValid() {
		return nil
	}
	r, ok := a.rules.Lookup(client.Unmap())
	if !ok {
		return nil
	}
	return r
}

// testPoints are the addresses of RFC 5782 §5, which are answered whoever asks.
var testPoints = netip.MustParsePrefix("127.0.0.0/24")

// denied reports whether who asks is not told about the address.
func (a *answerer) denied(addr netip.Addr) bool {
	if testPoints.Contains(addr.Unmap()) {
		return false
	}
	return a.q.limit == exhausted || a.q.access != nil && (a.q.access.Action == Empty || a.q.access.Action == Replace)
}

// deny answers for an address to who is not told about it: that it is not
// listed, or with the code of the rule. It is never REFUSED, which reaches mail
// servers as SERVFAIL: some of them defer mail then, and all of them ask again.
func (a *answerer) deny(kind zonefile.Kind) {
	a.kind, a.extended, a.words = Denied, int(dns.ExtendedErrorCodeProhibited), a.zone.URL
	if a.q.limit == exhausted {
		a.kind = Limited
	} else if a.q.access.Action == Replace && (a.wants(dns.TypeA, dns.TypeA) || a.wants(dns.TypeTXT, dns.TypeA)) {
		a.replace(a.q.access.Code)
		return
	}
	a.negative(kind.Exists() || a.kind == Denied && a.q.access.Action == Replace)
	a.authority[0].Header().Ttl = min(limitedTTL, a.zone.NegativeSeconds()) // the lesser of this and MINIMUM counts (RFC 2308 §5)
}

// replace answers with a code.
func (a *answerer) replace(code netip.Addr) {
	header := dns.RR_Header{Name: a.owner(), Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: limitedTTL}
	if a.wants(dns.TypeA, dns.TypeA) {
		a.answer = append(a.answer, &dns.A{Hdr: header, A: code.AsSlice()})
	}
	if a.wants(dns.TypeTXT, dns.TypeA) {
		header.Rrtype = dns.TypeTXT
		text := strings.TrimSpace(a.zone.URL + " backscatter: your resolver may not use this list")
		a.answer = append(a.answer, &dns.TXT{Hdr: header, Txt: []string{text}})
	}
}
