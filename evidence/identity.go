package evidence

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"time"

	"backscatter/listing"
)

// hashKey keys the hashes of what a report tells: whoever has a store and not the
// key cannot find out by trying whether an address is a trap, nor which message,
// of which sender, led there.
type hashKey [32]byte

// id hashes a kind and its values; values of different kinds and of different
// lengths cannot collide.
func (k hashKey) id(name ...string) listing.ID {
	h := hmac.New(sha256.New, k[:])
	for _, v := range name {
		h.Write([]byte(v))
		h.Write([]byte{0})
	}
	return listing.ID(h.Sum(nil)[:16])
}

// FormerKey is a key that was in use before. What was hashed under it is still
// recognised for a while, so that nothing counts twice for a change of keys.
type FormerKey struct {
	Key   [32]byte
	Until time.Time
}

// identities returns all that the observation of a case is recognised by, under
// one key. The name of the original is originalName's.
func (c *Case) identities(key [32]byte, original []string) listing.Identities {
	k := hashKey(key)
	out := listing.Identities{
		Recipient: k.id("recipient", strings.ToLower(c.recipient)),
		Original:  k.id(original...),
	}
	// The same original, source and reporter are one.
	if source, err := listing.HostKey(c.source.source); err == nil {
		out.ID = k.id("observation", source.String(), out.Original.String(), c.report.Reporter)
	}
	if c.message != nil && c.message.Original.Subject != "" {
		out.Subject = k.id("subject", string(normal(nil, c.message.Original.Subject)))
	}
	return out
}

// originalName returns what names the message that m answers. It is the
// same for all that one host says of one message, so that a delay and a later
// failure count once. From the first of these that is there:
//
//  1. the queue id of an Exim host, which tells no more than that and the Date in
//     its warnings, and returns the original with its own trace line at the end;
//     then the original's Message-ID, returned or answered by In-Reply-To;
//  2. the envelope id that the sender chose (RFC 3464 §2.2.1), or the
//     reporting host's queue id for the original;
//  3. when the reporting host took the original, and for whom it failed;
//  4. the original's Date, From and Subject, two of them at least;
//  5. the recipient that failed and the report's own words, numbers left out,
//     since they tell how long it was tried.
func originalName(m *Message) []string {
	o := &m.Original
	if id := m.eximID(); id != "" {
		return []string{"exim-id", id}
	}
	if o.MessageID != "" {
		return []string{"message-id", o.MessageID}
	}
	if d := m.DSN; d != nil {
		if d.EnvelopeID != "" {
			return []string{"envelope-id", d.ReportingMTA, d.EnvelopeID}
		}
		if queue := d.Extension("x-", "-queue-id"); queue != "" {
			return []string{"queue-id", d.ReportingMTA, queue}
		}
		if d.ArrivalDate != "" {
			return []string{"arrival", d.ReportingMTA, d.ArrivalDate, strings.ToLower(d.Recipients[0].Final)}
		}
	}
	told := 0
	for _, v := range []string{o.Date, o.From, o.Subject} {
		if v != "" {
			told++
		}
	}
	if told >= 2 {
		return []string{"header", o.Date, o.From, o.Subject}
	}
	return []string{"text", m.failedRecipient(), string(withoutDigits(normal(nil, m.text)))}
}

func withoutDigits(text []byte) []byte {
	out := text[:0]
	for _, c := range text {
		if !digit(c) {
			out = append(out, c)
		}
	}
	return out
}

// failedRecipient returns the address that the original failed for, as the
// report tells it.
func (m *Message) failedRecipient() string {
	if m.DSN != nil {
		r := m.DSN.told()
		if r.Final != "" {
			return plainAddress(r.Final)
		}
		return plainAddress(r.Original)
	}
	if failed := m.Header.Get("X-Failed-Recipients"); failed != "" {
		first, _, _ := strings.Cut(failed, ",")
		return plainAddress(first)
	}
	return ""
}

// plainAddress returns an address without brackets and comments, in lower case.
func plainAddress(s string) string {
	if open := strings.IndexByte(s, '<'); open >= 0 {
		s, _, _ = strings.Cut(s[open+1:], ">")
	}
	s, _, _ = strings.Cut(strings.TrimSpace(s), " ")
	return strings.ToLower(printable(s, maxAddress))
}

// eximID returns the queue id under which an Exim host had the original: by
// the words of a warning, or by the newest trace line of what came back.
func (m *Message) eximID() string {
	if _, rest, ok := strings.Cut(m.text, "The message identifier is:"); ok {
		rest = strings.TrimLeft(rest[:min(len(rest), 80)], " \t")
		if id, _, _ := strings.Cut(rest, "\n"); eximForm(strings.TrimSpace(id)) {
			return strings.TrimSpace(id)
		}
	}
	if trail := m.Original.Trail; len(trail) > 0 && eximForm(trail[0].ID) {
		return trail[0].ID
	}
	return ""
}

// eximForm reports whether id has the form of Exim's: 1tDxyz-000Abc-01, and
// since Exim 4.97 1tDxyz-00000000Abc-01Az.
func eximForm(id string) bool {
	parts := strings.Split(id[:min(len(id), 32)], "-")
	if len(parts) != 3 || len(parts[0]) != 6 || len(parts[1]) != 6 && len(parts[1]) != 11 || len(parts[2]) != 2 && len(parts[2]) != 4 {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return r != '-' && (r >= 0x80 || !wordByte(byte(r)) || r == '.' || r == '$' || r == ',')
	})
}
