package zonefile

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// Record is a record of a zone on its way from a primary, as it stands in a
// message. What it points to is valid until the next.
type Record struct {
	Labels  []byte // of its owner before the zone's name, in wire format
	Type    uint16 //
	TTL     uint32 //
	Data    []byte // as it stands there: names in it may be compressed
	Message []byte // that it is part of
	Offset  int    // where in the message it begins
}

// rr returns the record as package dns has it.
func (r *Record) rr() (dns.RR, error) {
	rr, _, err := dns.UnpackRR(r.Message, r.Offset)
	if err != nil {
		return nil, fmt.Errorf("a record of type %s: %w", dns.Type(r.Type), err)
	}
	return rr, nil
}

// entryPiece returns the host or the wildcard that the record is about; false
// when it is about no address that could be listed.
func (r *Record) entryPiece() (netip.Prefix, bool) {
	if r.Type != dns.TypeA && r.Type != dns.TypeTXT {
		return netip.Prefix{}, false
	}
	piece, ok := pieceOf(r.Labels)
	return piece, ok && !testNet.Overlaps(piece)
}

// pieceOf is the reverse of [AppendLabels]: it reads the name of a host or of a
// wildcard, in any case. Another name of the same address is none.
func pieceOf(labels []byte) (piece netip.Prefix, ok bool) {
	if known, wild := bytes.CutPrefix(labels, []byte("\x01*")); wild {
		piece, ok = wildcardPiece(known)
	} else {
		kind, addr := ParseLabels(labels)
		if ok = kind.IsAddress(); ok {
			piece = netip.PrefixFrom(addr, addr.BitLen())
		}
	}
	var buf [maxWire]byte
	return piece, ok && SameName(AppendLabels(buf[:0], piece), labels)
}

// wildcardPiece reads the labels below which a wildcard stands. Of which family
// they are shows when zeros complete them.
func wildcardPiece(known []byte) (netip.Prefix, bool) {
	n := 0
	for at := 0; at < len(known); at += 1 + int(known[at]) {
		n++
	}
	var buf [maxWire]byte
	for _, family := range []struct{ labels, step int }{{4, 8}, {nibbles6, 4}} {
		if n == 0 || n >= family.labels || 2*family.labels+len(known) > len(buf) {
			continue
		}
		whole := buf[:0]
		for range family.labels - n {
			whole = append(whole, 1, '0')
		}
		kind, addr := ParseLabels(append(whole, known...))
		if kind.IsAddress() && addr.BitLen() == family.labels*family.step {
			return netip.PrefixFrom(addr, n*family.step), true
		}
	}
	return netip.Prefix{}, false
}

// said is what the two records of a name say.
type said struct {
	class listing.Class // of the A record; none: there is no such record
	text  []byte        // of the TXT record; nil: likewise
}

func (s said) none() bool  { return s.class == listing.ClassOther && s.text == nil }
func (s said) whole() bool { return s.class != listing.ClassOther && s.text != nil }

// add takes in a record, into memory of its own.
func (s *said) add(r *Record) error {
	class, text, err := r.says()
	switch {
	case err != nil:
		return err
	case r.Type == dns.TypeA && s.class == listing.ClassOther:
		s.class = class
		return nil
	case r.Type == dns.TypeTXT && s.text == nil:
		s.text = append(make([]byte, 0, len(text)), text...)
		return nil
	}
	return fmt.Errorf("a name has two records of type %s", dns.Type(r.Type))
}

// remove takes a record away.
func (s *said) remove(r *Record) error {
	class, text, err := r.says()
	switch {
	case err != nil:
		return err
	case r.Type == dns.TypeA && s.class == class:
		s.class = listing.ClassOther
		return nil
	case r.Type == dns.TypeTXT && s.text != nil && bytes.Equal(s.text, text):
		s.text = nil
		return nil
	}
	return fmt.Errorf("a record of type %s goes that is not there", dns.Type(r.Type))
}

// says returns the code or the text of an entry's record.
func (r *Record) says() (listing.Class, []byte, error) {
	if r.Type == dns.TypeTXT {
		if len(r.Data) < 1 || int(r.Data[0]) != len(r.Data)-1 {
			return 0, nil, errors.New("a text is not of one string")
		}
		return 0, r.Data[1:], nil
	}
	if len(r.Data) == 4 {
		addr := netip.AddrFrom4([4]byte(r.Data))
		if class := listing.Class(r.Data[3]); addr == Code(class) && listing.AllClasses.Has(class) {
			return class, nil, nil
		}
	}
	return 0, nil, fmt.Errorf("an address is answered with %v, which is no code", r.Data)
}

// reader of what entries say.
type wording struct {
	url   string
	known bool // the url is
	cache [listing.ClassManual + 1]map[string]listing.Entry
}

const maxWordings = 1 << 16 // many entries share their words

// entry returns the entry that is told of at a piece of it. Its text, if told
// again, is the same to the byte.
func (w *wording) entry(piece netip.Prefix, s said) (listing.Entry, error) {
	at := bytes.Index(s.text, []byte(" backscatter: "))
	if at < 0 {
		return listing.Entry{}, fmt.Errorf("%s: %q: not the text of an entry", piece, s.text)
	}
	prefix, err := w.subject(piece, s.text[:at])
	if err != nil {
		return listing.Entry{}, fmt.Errorf("%s: %q: %w", piece, s.text, err)
	}
	words := s.text[at:]
	e, ok := w.cache[s.class][string(words)]
	if !ok {
		if e, err = readWords(s.class, words); err != nil {
			return listing.Entry{}, fmt.Errorf("%s: %w", piece, err)
		}
		if w.cache[s.class] == nil || len(w.cache[s.class]) >= maxWordings {
			w.cache[s.class] = map[string]listing.Entry{}
		}
		w.cache[s.class][string(words)] = e
	}
	e.Prefix = prefix
	return e, nil
}

// subject reads what stands before the words: the URL, and what the text is
// about. The first text tells the URL, which ends with a slash or an equals sign.
func (w *wording) subject(piece netip.Prefix, head []byte) (netip.Prefix, error) {
	var buf [maxText]byte
	if w.known && isHost4(piece) && bytes.Equal(piece.Addr().AppendTo(append(buf[:0], w.url...)), head) {
		return piece, nil // by far the most
	}
	at := bytes.LastIndexAny(head, "/=") + 1
	p, err := netip.ParsePrefix(string(head[at:]) + "/32")
	if len(head)-at <= 3 && at > 0 { // these are the bits of a prefix
		at = bytes.LastIndexAny(head[:at-1], "/=") + 1
		p, err = netip.ParsePrefix(string(head[at:]))
	}
	if err != nil || !bytes.Equal(appendSubject(buf[:0], p), head[at:]) {
		return netip.Prefix{}, errors.New("the text is about no address")
	}
	if err := checkEntry(p); err != nil {
		return netip.Prefix{}, err
	}
	url := string(head[:at])
	if w.known && url != w.url {
		return netip.Prefix{}, fmt.Errorf("the text has another URL than %q", w.url)
	}
	w.url, w.known = url, true
	return p, nil
}

func isHost4(p netip.Prefix) bool { return p.Addr().Is4() && p.IsSingleIP() }

// Nothing wider is ever listed.
const (
	widest4 = 24
	widest6 = 48
)

// checkEntry wants a prefix to be one that can be listed.
func checkEntry(p netip.Prefix) error {
	least := widest6
	if p.Addr().Is4() {
		least = widest4
	}
	switch {
	case p != p.Masked() || p.Addr().Is4In6():
		return fmt.Errorf("%s is no prefix", p)
	case p.Bits() < least:
		return fmt.Errorf("%s is wider than /%d", p, least)
	}
	return nil
}

// unescapeText is the reverse of escape.
func unescapeText(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '\\' {
			var used int
			c, used = unescape(text[i+1:])
			i += used
		}
		b.WriteByte(c)
	}
	return b.String()
}
