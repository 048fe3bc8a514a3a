package evidence

import (
	"slices"
	"strings"
)

// A bounce and a notice tell their reader of somebody else's mailbox, or of a
// message that he sent himself. What follows looks at whom a message names, since
// that needs none of its words.

const (
	maxNamed = 64  // addresses of a text that are looked at
	maxOwn   = 16  // domains of recipients
	maxSaid  = 300 // bytes of a line that names a sender
)

// whom returns the facts of whom the message names, where something tells to whom
// it was sent; f is those that are known already.
func (m *Message) whom(e Envelope, f fact) (told fact) {
	own := m.own(e)
	if len(own) == 0 {
		return 0
	}
	if f&luring != 0 && m.namesReaderAlone(own) {
		told |= readerAlone
	}
	if f&nullSender != 0 && f&daemonFrom != 0 && f&luring == 0 && m.namesOther(own) {
		told |= namesOthers
	}
	if f&(dsnPart|originalPart|originalQuoted) == 0 && m.tellsOfOthers(own) {
		told |= ofOthers
	}
	if f&originalPart != 0 && m.returnsForeign(own) {
		told |= foreignOriginal
	}
	return told
}

// own returns the domains that the message was sent to.
func (m *Message) own(e Envelope) (domains []string) {
	add := func(domain string) bool {
		if !slices.Contains(domains, domain) {
			domains = append(domains, domain)
		}
		return len(domains) < maxOwn
	}
	for _, rcpt := range e.Recipients[:min(len(e.Recipients), maxOwn)] {
		if _, domain, ok := splitAddress(plainAddress(rcpt)); ok && !add(domain) {
			return domains
		}
	}
	for _, name := range slices.Concat([]string{"To"}, envelopeFields) {
		field := m.Header.Get(name)
		m.work += len(field)
		named(field, add)
	}
	return domains
}

// within reports whether the domain is one of own, or below one. Behind it may stand
// what is no ASCII and was no part of it: quotes, and letters of languages without
// blanks.
func within(domain string, own []string) bool {
	for _, o := range own {
		rest, ok := strings.CutSuffix(domain, o)
		if ok && (rest == "" || strings.HasSuffix(rest, ".")) {
			return true
		}
		if rest, ok = strings.CutPrefix(domain, o); ok && rest[0] >= 0x80 {
			return true
		}
	}
	return false
}

// named calls yield with the domains of the addresses in s, until it returns false.
func named(s string, yield func(domain string) bool) {
	for range maxNamed {
		at := strings.IndexByte(s, '@')
		if at < 0 {
			return
		}
		begun := at > 0 && addressByte(s[at-1])
		s = s[at+1:]
		end := 0
		for end < len(s) && addressByte(s[end]) {
			end++
		}
		domain := strings.ToLower(strings.Trim(s[:min(end, maxAddress)], ".-"))
		if s = s[end:]; begun && strings.Contains(domain, ".") && !yield(domain) {
			return
		}
	}
}

func addressByte(c byte) bool {
	return wordByte(c) && c != ',' && c != '$' || c == '-' || c == '_' || c == '+' || c >= 0x80 // RFC 6531 §3.3
}

// namesReaderAlone reports whether all whom the text and its delivery report name
// are at the site of the reader, and there is one.
func (m *Message) namesReaderAlone(own []string) bool {
	some, others := false, false
	look := func(domain string) bool {
		some, others = true, !within(domain, own)
		return !others
	}
	if m.DSN != nil {
		for i := range m.DSN.Recipients {
			if others {
				return false
			}
			named(m.DSN.Recipients[i].Final, look)
		}
	}
	if !others {
		m.work += len(m.text)
		named(m.text, look)
	}
	return some && !others
}

// namesOther reports whether the text names an address that is not at the reader's
// site.
func (m *Message) namesOther(own []string) bool {
	found := false
	m.work += len(m.text)
	named(m.text, func(domain string) bool {
		found = !within(domain, own)
		return !found
	})
	return found
}

// senderWords are how notices name the sender of the message that they are about.
var senderWords = []string{
	"sender", "mail from", "envelope from", "absender", "expéditeur", "remitente", "mittente", "remetente", "afzender",
	"отправитель",
}

// tellsOfOthers reports whether the text names senders of what it is about, and
// the reader is none of them.
func (m *Message) tellsOfOthers(own []string) bool {
	some := false
	m.work += len(m.text)
	for line := range strings.SplitSeq(m.text, "\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok || len(line) > maxSaid || len(name) > 40 || !strings.Contains(value, "@") {
			continue
		}
		name = strings.ToLower(strings.Trim(name, " \t*-#>"))
		for _, word := range senderWords {
			if name != word {
				continue
			}
			mine := false
			named(value, func(domain string) bool {
				some, mine = true, within(domain, own)
				return !mine
			})
			if mine {
				return false
			}
		}
	}
	return some
}

// returnsForeign reports whether the original was sent to the reader and by
// nobody at his site: it was delivered, and did not come back. One that tells of its
// way came from who sent it, whatever its From field says.
func (m *Message) returnsForeign(own []string) bool {
	if len(m.Original.Trail) > 0 {
		return false
	}
	_, to, ok := splitAddress(plainAddress(m.Original.To))
	if !ok || !within(to, own) {
		return false
	}
	_, from, ok := splitAddress(plainAddress(m.Original.From))
	if !ok || within(from, own) {
		return false
	}
	_, path, ok := splitAddress(m.Original.ReturnPath)
	return !ok || !within(path, own)
}
