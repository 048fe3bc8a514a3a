package evidence

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"backscatter/listing"
)

// Bounds of what of a header is kept.
const (
	maxHeaderField = 2000 // bytes of one field
	// shortSecret is how long a local part must be to be looked for within words,
	// where a short one stands by chance.
	shortSecret = 6
	// leastSecret is how long it must be to be looked for in what may be encoded.
	leastSecret = 4
)

// redactor takes out of a header what could tell whom the message was for. It
// knows the recipients; of everybody else it takes the local part of what looks
// like an address.
type redactor struct {
	key     hashKey
	secrets []string // in small letters, longest first
}

// header returns the header of the report as operators may see it, a field a
// line: local parts as keyed hashes, no subject, and no name of the original, by
// which its sender could know which of his messages came to a trap. Of the
// original itself nothing is in it.
func (c *Case) header() string {
	r := redactor{key: hashKey(c.judge.config.Key)}
	secrets := []string{c.message.Original.MessageID, c.message.Original.Subject}
	rcpts := c.report.Envelope.Recipients
	for _, rcpt := range append(slices.Clone(rcpts[:min(len(rcpts), maxEnvelope)]), c.recipient) {
		if local, _, ok := splitAddress(rcpt); ok {
			secrets = append(secrets, local)
		}
	}
	r.hide(secrets)
	var b strings.Builder
	for _, f := range c.message.Header.fields {
		line := r.name(string(f.name)) + ": " + r.field(string(f.name), string(f.value)) + "\n"
		if b.Len()+len(line) > listing.MaxHeader {
			break
		}
		b.WriteString(line)
	}
	return b.String()
}

// hide takes note of what must not be told.
func (r *redactor) hide(secrets []string) {
	for _, secret := range secrets {
		secret = strings.ToLower(strings.TrimSpace(secret))
		if secret != "" && !slices.Contains(r.secrets, secret) {
			r.secrets = append(r.secrets, secret)
		}
	}
	slices.SortStableFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
}

// hash stands for what was taken out, and is the same wherever the same was.
func (r *redactor) hash(what string) string {
	return "~" + r.key.id("withheld", strings.ToLower(what)).String()[:8]
}

// name returns the name of a field, which is the sender's choice, too.
func (r *redactor) name(name string) string {
	name = printable(name, maxHeaderField)
	if out := r.secretless(r.addressless("", name)); out == name && !r.tells(name) {
		return name
	}
	return r.hash(name)
}

// field returns the value of a field without what tells too much. What still
// tells it in another form is left out whole.
func (r *redactor) field(name, value string) string {
	name = strings.ToLower(name)
	value = printable(decodeWords(wholeWords(unfold([]byte(value)))), 4*maxHeaderField)
	if aboutOriginal(name) {
		return r.hash(value)
	}
	if forRecipient(name) {
		value = addressesOf(value)
	}
	out := r.secretless(r.addressless(name, value))
	if r.tells(out) {
		return r.hash(value)
	}
	return out
}

// wholeWords cuts a value to its bound between two words: half a word could be
// known by nothing.
func wholeWords(value string) string {
	if len(value) <= maxHeaderField {
		return value
	}
	return value[:strings.LastIndexByte(value[:maxHeaderField+1], ' ')+1]
}

// aboutOriginal reports whether a field repeats what the original said, or names it.
func aboutOriginal(name string) bool {
	switch name {
	case "in-reply-to", "references", "comments", "keywords", "thread-index", "content-description":
		return true
	}
	return strings.Contains(name, "subject") || strings.Contains(name, "topic")
}

// forRecipient reports whether a field is about whom the message is for: there a
// person's name would tell who it is.
func forRecipient(name string) bool {
	return strings.HasSuffix(name, "to") || strings.HasSuffix(name, "cc") || strings.Contains(name, "recipient")
}

// addressesOf returns the words of a value that have an address in them.
func addressesOf(value string) string {
	var out []string
	for _, word := range strings.FieldsFunc(value, func(c rune) bool { return c == ' ' || c == ',' || c == ';' }) {
		if strings.Contains(word, "@") {
			out = append(out, word)
		}
	}
	return strings.Join(out, " ")
}

// betweenAddresses are the characters that end an address.
const betweenAddresses = " \t<>()[]\",;"

// quotedLocal is a local part in which anything may stand (RFC 5321 §4.1.2).
var quotedLocal = regexp.MustCompile(`"[^"]*"@`)

// addressless puts a hash in place of the local part of each address, and of
// what stands before it in the same word. Message-IDs look like addresses; theirs
// stay, since nobody reads mail there.
func (r *redactor) addressless(name, value string) string {
	if strings.HasSuffix(name, "message-id") || name == "content-id" {
		return value
	}
	value = quotedLocal.ReplaceAllStringFunc(value, func(local string) string { return r.hash(local[:len(local)-1]) + "@" })
	var b strings.Builder
	for value != "" {
		end := strings.IndexAny(value, betweenAddresses)
		if end < 0 {
			end = len(value)
		}
		word := value[:end]
		if at := strings.LastIndexByte(word, '@'); at > 0 && !hashForm.MatchString(word[:at]) {
			word = r.hash(word[:at]) + word[at:]
		}
		b.WriteString(word)
		if end < len(value) {
			b.WriteByte(value[end])
			end++
		}
		value = value[end:]
	}
	return b.String()
}

// hashForm is what [redactor.hash] writes.
var hashForm = regexp.MustCompile(`^~[0-9a-f]{8}$`)

// secretless puts a hash in place of each secret that stands in the value, of a
// short one only where it stands for itself.
func (r *redactor) secretless(value string) string {
	for _, secret := range r.secrets {
		lower := strings.ToLower(value)
		if len(lower) != len(value) {
			value = lower // letters whose small form is longer: then that will do
		}
		var b strings.Builder
		for from := 0; ; {
			at := strings.Index(lower[from:], secret)
			if at < 0 {
				b.WriteString(value[from:])
				break
			}
			at += from
			end := at + len(secret)
			b.WriteString(value[from:at])
			if len(secret) >= shortSecret || !wordAt(lower, at-1) && !wordAt(lower, end) {
				b.WriteString(r.hash(secret))
			} else {
				b.WriteString(value[at:end])
			}
			from = end
		}
		value = b.String()
	}
	return value
}

// wordAt reports whether a letter or digit stands there.
func wordAt(s string, i int) bool {
	return i >= 0 && i < len(s) && (digit(s[i]) || 'a' <= s[i] && s[i] <= 'z' || s[i] >= 0x80)
}

// tells reports whether a value gives a secret away in one of the forms in which
// mail programs put addresses into tokens: percent signs, quoted-printable,
// base64, hexadecimal digits, backwards. Where it was folded does not matter.
func (r *redactor) tells(value string) bool {
	joined := strings.ReplaceAll(value, " ", "")
	lower := strings.ToLower(joined)
	for _, form := range formsOf(joined, lower) {
		for _, secret := range r.secrets {
			if form == lower && len(secret) < shortSecret {
				continue // what stands there as it is was looked at
			}
			if secret = strings.ReplaceAll(secret, " ", ""); len(secret) < leastSecret {
				secret += "@"
			}
			if strings.Contains(form, secret) {
				return true
			}
		}
	}
	return false
}

// formsOf returns what a value may mean, in small letters.
func formsOf(joined, lower string) []string {
	forms := []string{lower, reversed(lower)}
	for _, escaped := range []string{lower, strings.ReplaceAll(lower, "=", "%")} {
		if plain, err := url.PathUnescape(looseEscapes(escaped)); err == nil {
			forms = append(forms, strings.ToLower(plain))
		}
	}
	for _, run := range runs(joined, base64Letter) {
		run = strings.NewReplacer("-", "+", "_", "/").Replace(run)
		for shift := range 4 {
			if shift < len(run) {
				forms = append(forms, strings.ToLower(decodeLoose(run[shift:])))
			}
		}
	}
	for _, run := range runs(lower, hexLetter) {
		for shift := range 2 {
			whole := run[shift : len(run)-(len(run)-shift)%2]
			if b, err := hex.DecodeString(whole); err == nil {
				forms = append(forms, strings.ToLower(string(b)))
			}
		}
	}
	return forms
}

// decodeLoose decodes base64 as far as it goes, whatever ends it.
func decodeLoose(run string) string {
	b, err := base64.RawStdEncoding.DecodeString(run[:len(run)-len(run)%4])
	if err != nil {
		return ""
	}
	tail := run[len(run)-len(run)%4:]
	if len(tail) > 1 {
		if more, err := base64.RawStdEncoding.DecodeString(tail); err == nil {
			b = append(b, more...)
		}
	}
	return string(b)
}

// looseEscapes leaves percent signs alone that begin no escape.
func looseEscapes(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] == '%' && (i+2 >= len(s) || !hexLetter(s[i+1]) || !hexLetter(s[i+2])) {
			b.WriteString("%25")
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// runs returns the stretches of such letters that are long enough for a secret.
func runs(s string, is func(byte) bool) []string {
	var out []string
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && is(s[j]) {
			j++
		}
		if j-i >= leastSecret {
			out = append(out, s[i:j])
		}
		i = j + 1
	}
	return out
}

func base64Letter(c byte) bool {
	return digit(c) || 'a' <= lower(c) && lower(c) <= 'z' || strings.IndexByte("+/-_", c) >= 0
}

func hexLetter(c byte) bool { return digit(c) || 'a' <= lower(c) && lower(c) <= 'f' }

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}
