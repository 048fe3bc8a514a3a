package dnsd

import (
	"time"

	"github.com/miekg/dns"
)

// MaxNSID is how long the identifier of a name server may be: with it, and with
// the longest question, an answer without records still fits into 512 octets.
const MaxNSID = 128

// Rules is what depends on who asks, and who is asked, rather than on the
// question. It is not changed once it is in use; its zero value has none.
type Rules struct {
	Jar            *Jar    // of DNS cookies; nil: they are ignored
	RequireCookies bool    // answer BADCOOKIE over UDP to who speaks of cookies and has none of ours
	NSID           string  // told to who asks for it (RFC 5001), at most MaxNSID octets; empty: not told
	Access         *Access // nil: everybody is answered
	Rates          Rates
}

// Rates bounds what the clients of one IPv4 /24 or one IPv6 /56 get. Zero
// bounds nothing.
type Rates struct {
	Same  int // answers about one name over UDP in a second
	All   int // answers over UDP in a second
	Slip  int // of those beyond, each so many-th is answered with TC, for a client that is no forgery; 0: none
	Quota int // questions in a Period; beyond it nothing is listed

	Period time.Duration
}

// limit is what the limits say of a question.
type limit uint8

const (
	within    limit = iota
	exhausted       // over the quota
	slipped         // over the rate, and answered with TC
	dropped         // over the rate, and not answered
)

// examine finds out what the rules say of a question.
func (v *View) examine(q *request) {
	if q.signed > 0 && !q.missigned {
		v.authenticate(q)
	}
	r := v.Rules
	if r == nil {
		return
	}
	if q.edns.nsid {
		q.nsid = r.NSID
	}
	if r.Jar != nil && q.edns.cookie != nil && !q.edns.broken && v.Client.IsValid() {
		q.cookies, q.cookie = r.Jar.check(q.edns.cookie, v.Client, uint32(v.Now.Unix()))
	}
	q.access = r.Access.find(v.Client)
}

// asksForCookie reports whether a packet without a question is one that asks for
// a server cookie alone (RFC 7873 §5.4).
func (q *request) asksForCookie(questions int) bool { return questions == 0 && q.edns.cookie != nil }

// proven reports whether who asks has shown that his address is his, by a cookie of
// ours or over TCP: then what we send cannot go to somebody else.
func (q *request) proven(over Transport) bool { return over == TCP || q.cookies == GoodCookie }

// plain reports whether the rules leave the answer to the question alone.
func (q *request) plain(r *Rules) bool {
	return q.opcode == dns.OpcodeQuery && q.limit == within && q.signed == 0 && (q.access == nil || q.access.Action == Allow) && !q.wantsCookie(UDP, r)
}
