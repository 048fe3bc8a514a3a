package evidence

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Exim's ${hmac{sha1}…} makes the tag
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"backscatter/listing"
)

// Outcome is what came of looking for a proof.
type Outcome uint8

// The outcomes.
const (
	Unknown Outcome = iota // cannot be told, and never counts
	Holds                  // the mail was not ours
	Fails                  // the proof does not hold; that alone shows nothing
	Refuted                // the mail was ours: a sign that beats every proof but the trap
)

// Guarded is domains of a reporter that send mail, and what all of that mail
// carries. What answers a message without it answers none of theirs.
//
// Turn a mark on two weeks after the mail server began to make it: what comes
// back late was sent before.
type Guarded struct {
	Reporter  string
	Domains   []string
	Relays    bool           // all of it leaves through the reporter's relays
	BATV      []BATVKey      // its envelope senders carry a tag by one of these
	MessageID *MessageIDMark // its Message-IDs are recognised
	DKIM      bool           // all of it has a DKIM signature (RFC 6376) of the domain
	SRS       []string       // secrets by which mail is forwarded with SRS0 addresses
	Sent      Sent           // knows what was sent; nil: nobody does
}

// Sent knows Message-IDs and envelope senders of mail that was sent. That it does
// not know one shows nothing.
type Sent interface{ Has(id string) bool }

// MessageIDMark tells the Message-IDs of a reporter from others.
//
// With keys, an id is LEFT.TAG@DOMAIN, and TAG the first ten hexadecimal digits
// of the HMAC-SHA1 of LEFT@DOMAIN. Exim makes them with
//
//	message_id_header_text = ${substr{0}{10}{${hmac{sha1}{KEY}{E$message_exim_id@DOMAIN}}}}
type MessageIDMark struct {
	Domains []string // behind the "@"
	Keys    []string // none: the domain alone tells
}

const messageIDTag = 10

// Sign returns the identity left@domain with the tag of the first key.
func (m *MessageIDMark) Sign(left, domain string) string {
	return left + "." + m.tag(m.Keys[0], left, domain) + "@" + domain
}

func (m *MessageIDMark) tag(key, left, domain string) string {
	h := hmac.New(sha1.New, []byte(key))
	h.Write([]byte(left + "@" + domain))
	return hex.EncodeToString(h.Sum(nil))[:messageIDTag]
}

// check tells whether an identity is one of the reporter's. That it has the
// domain shows nothing by itself, since anybody can write it.
func (m *MessageIDMark) check(id string) Outcome {
	if id == "" {
		return Unknown
	}
	at := strings.LastIndexByte(id, '@')
	if at < 0 || !foldContains(m.Domains, id[at+1:]) {
		return Holds
	}
	if len(m.Keys) == 0 {
		return Fails
	}
	left, domain := id[:at], id[at+1:]
	dot := strings.LastIndexByte(left, '.')
	if dot < 0 {
		return Holds
	}
	got := []byte(strings.ToLower(left[dot+1:]))
	for _, key := range m.Keys {
		if hmac.Equal(got, []byte(m.tag(key, left[:dot], domain))) {
			return Refuted
		}
	}
	return Holds
}

// checkAll tells whether the original has an identity of the reporter's. Where
// nothing came back, there are those that the answer refers to, of a whole
// conversation perhaps: then one of the reporter's domain shows nothing.
func (m *MessageIDMark) checkAll(o *Original) Outcome {
	if len(o.answered) == 0 {
		return m.check(o.MessageID)
	}
	outcome := Holds
	for _, id := range o.answered {
		if m.check(id) == Refuted {
			return Refuted
		}
		if foldContains(m.Domains, id[strings.LastIndexByte(id, '@')+1:]) {
			outcome = Unknown
		}
	}
	return outcome
}

func foldContains(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(strings.TrimSuffix(n, "."), name) {
			return true
		}
	}
	return false
}

// validate tells what is wrong with the marks.
func (g *Guarded) validate() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("guarded domains of %q: "+format+": %w", append(append([]any{g.Reporter}, args...), ErrConfig)...))
	}
	if len(g.Domains) == 0 {
		wrong("there are none")
	}
	seen := map[byte]bool{}
	for _, k := range g.BATV {
		if !digit(k.Number) || k.Secret == "" || len(k.Secret) > maxSecret {
			wrong("BATV key %q wants a number of one digit and a secret of 1 to %d bytes", k.Number, maxSecret)
		}
		if seen[k.Number] {
			wrong("BATV key %q is there twice", k.Number)
		}
		seen[k.Number] = true
	}
	if g.MessageID != nil && len(g.MessageID.Domains) == 0 {
		wrong("Message-IDs want at least one domain")
	}
	return errors.Join(errs...)
}

// proofs looks for every proof in a message to a guarded recipient, and for the
// signs that it answers mail of the reporter after all.
func (g *Guarded) proofs(m *Message, recipient string, bypassed Outcome, known Known, now time.Time) (holds, signs listing.ProofSet) {
	note := func(proof listing.Proof, o Outcome) {
		switch o {
		case Holds:
			holds |= listing.ProofSetOf(proof)
		case Refuted:
			signs |= listing.ProofSetOf(proof)
		case Unknown, Fails:
		}
	}
	note(listing.ProofBATV, CheckBATV(recipient, g.BATV, now, m.senders()...))
	if g.Relays {
		note(listing.ProofRelays, bypassed)
	}
	// What others wrote was forwarded in the name of such an address.
	local, _, _ := splitAddress(recipient)
	foreign := derived(untagged(local))
	if g.MessageID != nil {
		if o := g.MessageID.checkAll(&m.Original); o != Holds || !foreign {
			note(listing.ProofMessageID, o)
		}
	}
	if g.DKIM {
		if o := m.Original.signedBy(g.Domains, known.DKIM); o != Holds || !foreign {
			note(listing.ProofDKIM, o)
		}
	}
	return holds, signs
}

// senders returns how the original's sender is written in what came back.
func (m *Message) senders() []string {
	_, from := splitFrom(m.Original.From)
	out := []string{m.Original.ReturnPath, from}
	if m.DSN != nil {
		out = append(out, untyped(m.DSN.Extension("x-", "-sender")))
	}
	return out
}

// complete reports whether the header came back with all that shows where the
// message went. Some that send bounces return a few fields only.
func (o *Original) complete() bool {
	return len(o.Trail) > 0 && o.From != "" && o.Date != "" && o.MessageID != ""
}

// bypassed tells whether the original never went through the relays. That takes
// a trail which shows where it came from instead: one of private addresses alone
// can begin behind a gateway of theirs.
func (o *Original) bypassed(relays, listable []netip.Prefix) Outcome {
	switch passed := o.passed(relays); {
	case passed == Refuted:
		return Refuted
	case passed == Unknown || !o.complete():
		return Unknown
	}
	for _, line := range o.Trail {
		// Somebody connected, and the line does not say who: it can have been a relay.
		if !line.Addr.IsValid() && !line.Internal && !line.Local {
			return Unknown
		}
	}
	for _, addr := range believable(o.Trail) {
		if _, special := listing.IsSpecial(addr, listable); !special {
			return Holds
		}
	}
	return Unknown
}

// signedBy tells whether the original carries a signature of the domains.
// verified is what was found of those that it has.
func (o *Original) signedBy(domains []string, verified Outcome) Outcome {
	if o.Returned != ReturnedFull || !o.whole || !o.complete() {
		return Unknown
	}
	if len(o.signatures(domains)) == 0 {
		return Holds
	}
	return verified
}

// signatures returns the DKIM-Signature fields of the domains, or of names
// below them.
func (o *Original) signatures(domains []string) []string {
	var found []string
	for _, value := range o.Header.Values("DKIM-Signature") {
		for tag := range strings.SplitSeq(value, ";") {
			name, d, ok := strings.Cut(tag, "=")
			if ok && strings.TrimSpace(name) == "d" && OfDomain(strings.TrimSpace(d), domains) {
				found = append(found, value)
			}
		}
	}
	return found
}

// OfDomain reports whether name is one of the domains, or lies below one.
func OfDomain(name string, domains []string) bool {
	name = normalDomain(name)
	for _, d := range domains {
		d = normalDomain(d)
		if name == d || strings.HasSuffix(name, "."+d) {
			return true
		}
	}
	return false
}
