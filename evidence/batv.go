package evidence

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the tag of prvs is defined with it
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrBATV is wrapped by the errors of [SignBATV].
var ErrBATV = errors.New("cannot be tagged")

// BATVKey signs envelope senders with prvs tags (draft-levine-smtp-batv §4):
//
//	prvs=KDDDSSSSSS=local@domain
//
// K is the number of the key, DDD the day on which the tag expires (days since
// 1970, modulo 1000), and SSSSSS the first six hexadecimal digits of the
// HMAC-SHA1 of "KDDDlocal@domain". That is what ${prvs{…}{…}{…}} of Exim makes.
//
// To change the key, add the new one under another number, let the mail server
// sign with it, and remove the old one two weeks later, when no bounce of what
// it signed can come any more.
type BATVKey struct {
	Number byte // '0' to '9'
	Secret string
}

const (
	batvLifetime = 7  // days that a new tag lives, as in Exim
	batvLongest  = 30 // days that a tag may have left, whoever makes it
	batvGrace    = 7  // days that the last bounce may be late
	batvDays     = 1000
	maxSecret    = 64 // Exim takes no longer ones; it is the block of SHA-1
)

// SignBATV returns address with a tag that expires a week after now.
func SignBATV(address string, key BATVKey, now time.Time) (string, error) {
	at := strings.LastIndexByte(address, '@')
	if at <= 0 || len(address) > maxAddress {
		return "", fmt.Errorf("address %q: want local@domain: %w", address, ErrBATV)
	}
	if !digit(key.Number) || key.Secret == "" || len(key.Secret) > maxSecret {
		return "", fmt.Errorf("key %q: want a number of one digit and a secret of 1 to %d bytes: %w", key.Number, maxSecret, ErrBATV)
	}
	day := fmt.Sprintf("%03d", (epochDay(now)+batvLifetime)%batvDays)
	return "prvs=" + string(rune(key.Number)) + day + key.mac(day, address) + "=" + address, nil
}

func epochDay(t time.Time) int { return int(t.Unix() / (24 * 60 * 60)) }

func (k BATVKey) mac(day, address string) string {
	h := hmac.New(sha1.New, []byte(k.Secret))
	h.Write([]byte{k.Number})
	h.Write([]byte(day + address))
	return hex.EncodeToString(h.Sum(nil))[:6]
}

// CheckBATV tells whether the recipient of a message shows that it answers
// nothing that was sent with these keys. A tag is made for an address in the case
// that it has, and some that send bounces change that: senders are what came back
// of the original that may tell how it was.
//
// It does ([Holds]) without a tag, with a tag that a key did not sign, and with
// one that expired so long ago that no bounce comes any more: then it was read
// somewhere. It does not ([Refuted]) with a tag that is valid. A tag that
// expired lately, one of a key that is not known, one that does not fit an
// address all in small or all in capital letters of which nothing came back, and
// an address that another program derived (SRS, VERP) leave it [Unknown].
func CheckBATV(recipient string, keys []BATVKey, now time.Time, senders ...string) Outcome {
	at := strings.LastIndexByte(recipient, '@')
	if len(keys) == 0 || at <= 0 || len(recipient) > maxAddress {
		return Unknown
	}
	local, domain := unquoted(recipient[:at]), recipient[at:]
	if len(local) < 5 || !strings.EqualFold(local[:5], "prvs=") {
		if derived(local) {
			return Unknown
		}
		return Holds
	}
	tag, plain, ok := strings.Cut(local[5:], "=")
	if !ok || len(tag) != 10 || !digits(tag[:4]) {
		return Holds
	}
	var key *BATVKey
	for i := range keys {
		if keys[i].Number == tag[0] {
			key = &keys[i]
		}
	}
	if key == nil {
		return Unknown
	}
	came := plain + domain
	casings, told := casingsOf(came, senders)
	switch {
	case key.signed(tag, casings):
	case told || came != strings.ToLower(came) && came != strings.ToUpper(came):
		return Holds
	default:
		return Unknown
	}
	expiry := int(tag[1]-'0')*100 + int(tag[2]-'0')*10 + int(tag[3]-'0')
	switch left := (expiry - epochDay(now)%batvDays + batvDays) % batvDays; {
	case left <= batvLongest:
		return Refuted
	case batvDays-left <= batvGrace:
		return Unknown
	}
	return Holds
}

// casingsOf returns how an address may have been written when it was signed: as it
// came, in small letters, and as the senders have it, whose case can differ in
// the local part and in the domain. told says that one of them is this address.
func casingsOf(came string, senders []string) (casings []string, told bool) {
	locals, domains := []string{}, []string{}
	add := func(address string) {
		at := strings.LastIndexByte(address, '@')
		locals, domains = append(locals, address[:at]), append(domains, address[at:])
	}
	add(came)
	add(strings.ToLower(came))
	for _, sender := range senders {
		sender = untagged(strings.Trim(strings.TrimSpace(sender), "<>"))
		if len(sender) == len(came) && strings.EqualFold(sender, came) {
			told = true
			add(sender)
		}
	}
	for _, local := range locals {
		for _, domain := range domains {
			casings = append(casings, local+domain)
		}
	}
	return casings, told
}

// untagged returns an address without the prvs tag that it may have.
func untagged(address string) string {
	if len(address) < 5 || !strings.EqualFold(address[:5], "prvs=") {
		return address
	}
	if _, plain, ok := strings.Cut(address[5:], "="); ok {
		return plain
	}
	return address
}

// signed reports whether the tag is the key's for one of the casings.
func (k BATVKey) signed(tag string, casings []string) bool {
	got := []byte(strings.ToLower(tag[4:]))
	return slices.ContainsFunc(casings, func(address string) bool {
		return hmac.Equal(got, []byte(k.mac(tag[1:4], address)))
	})
}

func digits(s string) bool {
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return true
}

// derived reports whether a local part holds an address that was put into it
// by a forwarder (SRS) or a list (VERP), which no signer tags.
func derived(local string) bool {
	local = strings.ToLower(local)
	return strings.HasPrefix(local, "srs0") || strings.HasPrefix(local, "srs1") || strings.IndexByte(local, '=') > 0
}
