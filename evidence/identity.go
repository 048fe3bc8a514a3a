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
//  1. the queue id of an Exim host, which tells no more than that and the Date in
//     its warnings, and returns the original with its own trace line at the end;
//     then the original's Message-ID, returned or answered by In-Reply-To;
//  2. the envelope id that the sender chose (RFC 3464 §2.2.1), or the
//     reporting host's queue id for the original;
//  3. when the reporting host took the original, and for whom it failed;
//  4. the original's Date, From and Subject, two of them at least;
//  5. the recipient that failed and the report's own words, numbers left out,
//     since they tell how long it was tried.
func originalID(m *Message) listing.ID {
	o := &m.Original
	if id := m.eximID(); id != "" {
		return identity("exim-id", id)
	}
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
