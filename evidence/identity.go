package evidence

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"

	"backscatter/listing"
)

// identity hashes a kind and its values to an ID; values of different kinds
// and of different lengths cannot collide.
func identity(kind string, values ...string) listing.ID {
	h := sha256.New()
	h.Write([]byte(kind))
	for _, v := range values {
		h.Write([]byte{0})
		h.Write([]byte(v))
	}
	return listing.ID(h.Sum(nil)[:16])
}

// keyed hashes a recipient so that nobody without the key can search for it.
func keyed(key [32]byte, recipient string) listing.ID {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte(strings.ToLower(recipient)))
	return listing.ID(h.Sum(nil)[:16])
}

// originalID returns the identity of the message that m answers. It is the
// same for all that one host says of one message, so that a delay and a later
// failure count once. From the first of these that is there:
//
//  1. the original's Message-ID, returned or answered by In-Reply-To;
//  2. the envelope id that the sender chose (RFC 3464 §2.2.1), or the
//     reporting host's queue id for the original;
//  3. when the reporting host took the original, and for whom it failed;
//  4. the original's Date, From and Subject, two of them at least;
//  5. the recipient that failed and the report's own words, numbers left out,
//     since they tell how long it was tried.
func originalID(m *Message) listing.ID {
	o := &m.Original
	if o.MessageID != "" {
		return identity("message-id", o.MessageID)
	}
	if d := m.DSN; d != nil {
		if d.EnvelopeID != "" {
			return identity("envelope-id", d.ReportingMTA, d.EnvelopeID)
		}
		if queue := d.Extension("x-", "-queue-id"); queue != "" {
			return identity("queue-id", d.ReportingMTA, queue)
		}
		if d.ArrivalDate != "" {
			return identity("arrival", d.ReportingMTA, d.ArrivalDate, strings.ToLower(d.Recipients[0].Final))
		}
	}
	told := 0
	for _, v := range []string{o.Date, o.From, o.Subject} {
		if v != "" {
			told++
		}
	}
	if told >= 2 {
		return identity("header", o.Date, o.From, o.Subject)
	}
	return identity("text", m.failedRecipient(), string(withoutDigits(normal(nil, m.text))))
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
		r := &m.DSN.Recipients[0]
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
