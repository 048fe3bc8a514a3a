package dnsd

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/dchest/siphash"
	"github.com/miekg/dns"
)

// Sizes of a COOKIE option's data (RFC 7873 §4), and of the server cookie that
// this server and others make alike (RFC 9018 §4).
const (
	clientCookieSize = 8
	leastServerSize  = 8
	mostServerSize   = 32
	serverCookieSize = 16 // version, reserved, timestamp, hash
	cookieSize       = clientCookieSize + serverCookieSize
	hashedSize       = clientCookieSize + 8 // what is hashed of it, before the client's address
	cookieVersion    = 1
)

// Seconds for which a server cookie is good (RFC 9018 §4.3).
const (
	cookiePast   = 3600 // it is refused when it is older
	cookieFuture = 300  // clocks of servers that share a secret differ
	cookieRenew  = 1800 // older ones are replaced in the answer
)

// Cookies says what a question brought along of DNS cookies.
type Cookies uint8

// What a question brought along.
const (
	NoCookie    Cookies = iota // no cookie, or none that we look at
	FirstCookie                // a client cookie alone
	BadCookie                  // a server cookie that is none of ours, or too old
	GoodCookie                 // a server cookie that this client has from us: its address is not forged
	cookieKinds
)

var cookieNames = [cookieKinds]string{"none", "client", "bad", "good"}

// String returns the name under which it is counted.
func (c Cookies) String() string {
	if c < cookieKinds {
		return cookieNames[c]
	}
	return fmt.Sprintf("cookies(%d)", uint8(c))
}

// CookieSecret is what server cookies are made with. All servers of one address
// share it.
type CookieSecret [16]byte

// Jar makes and checks server cookies (RFC 7873, RFC 9018). It is not changed
// once it is in use.
type Jar struct{ keys []sipKey }

type sipKey struct{ k0, k1 uint64 }

// NewJar returns a jar whose cookies are made with the active secret. Those made
// with the others are good too, which is how a secret is changed while clients
// have cookies (RFC 9018 §5).
func NewJar(active CookieSecret, others ...CookieSecret) *Jar {
	j := &Jar{}
	for _, s := range append([]CookieSecret{active}, others...) {
		j.keys = append(j.keys, sipKey{binary.LittleEndian.Uint64(s[:8]), binary.LittleEndian.Uint64(s[8:])})
	}
	return j
}

// wellFormedCookie reports whether the data of a COOKIE option has a length that
// it can have (RFC 7873 §5.2.2).
func wellFormedCookie(data []byte) bool {
	server := len(data) - clientCookieSize
	return server == 0 || server >= leastServerSize && server <= mostServerSize
}

// check judges the data of a well-formed COOKIE option, and returns what the
// answer is to have in its: the client's cookie, and a server cookie that is
// good. A good one stays the same for half an hour (RFC 9018 §4.3).
func (j *Jar) check(data []byte, client netip.Addr, now uint32) (Cookies, [cookieSize]byte) {
	var fresh [cookieSize]byte
	copy(fresh[:], data[:clientCookieSize])
	verdict := FirstCookie
	if len(data) > clientCookieSize {
		verdict = BadCookie
		if len(data) == cookieSize && data[clientCookieSize] == cookieVersion && j.made(data, client) {
			// In serial number arithmetic (RFC 1982): 32 bits of seconds wrap.
			age := int32(now - binary.BigEndian.Uint32(data[hashedSize-4:]))
			if age <= cookiePast && age >= -cookieFuture {
				verdict = GoodCookie
			}
			if verdict == GoodCookie && age <= cookieRenew {
				return verdict, [cookieSize]byte(data)
			}
		}
	}
	fresh[clientCookieSize] = cookieVersion
	binary.BigEndian.PutUint32(fresh[hashedSize-4:], now)
	binary.LittleEndian.PutUint64(fresh[hashedSize:], j.keys[0].hash(fresh[:], client))
	return verdict, fresh
}

// made reports whether a whole cookie was made for the client with a secret of
// the jar. Its reserved octets are hashed as they are (RFC 9018 §4.2).
func (j *Jar) made(cookie []byte, client netip.Addr) bool {
	have := binary.LittleEndian.Uint64(cookie[hashedSize:])
	for _, k := range j.keys {
		if k.hash(cookie, client) == have { // one comparison of words takes one time
			return true
		}
	}
	return false
}

// hash is SipHash-2-4 over all of a cookie but its hash, and the client's
// address in 4 or 16 octets (RFC 9018 §4.4).
func (k sipKey) hash(cookie []byte, client netip.Addr) uint64 {
	var text [hashedSize + 16]byte
	n := copy(text[:], cookie[:hashedSize])
	if client = client.Unmap(); client.Is4() {
		a := client.As4()
		n += copy(text[n:], a[:])
	} else {
		a := client.As16()
		n += copy(text[n:], a[:])
	}
	return siphash.Hash(k.k0, k.k1, text[:n])
}

// wantsCookie reports whether a question is to be asked again with a cookie of
// ours: that is how a client shows that it gets our answers (RFC 7873 §5.2.3). One
// that does not speak of cookies is answered.
func (q *request) wantsCookie(over Transport, r *Rules) bool {
	if q.cookies != FirstCookie && q.cookies != BadCookie || len(q.question) == 0 {
		return false
	}
	return over == UDP && r.RequireCookies
}

// aboutCookie answers a packet without a question, which asks for a cookie or
// whether one is good (RFC 7873 §5.4).
func aboutCookie(q *request) reply {
	switch q.cookies {
	case NoCookie: // we do not speak of them
		return failure(Malformed, dns.RcodeFormatError, noError)
	case BadCookie:
		return failure(Cookie, dns.RcodeBadCookie, noError)
	}
	return reply{kind: Cookie, extended: noError}
}
