package listing

import (
	"fmt"
	"math/bits"
	"net/netip"
)

// What a flag of an observation says is present or true.
const (
	observationSPF byte = 1 << iota
	observationHost6
	observationOrigin4
	observationOrigin6
	observationRecipient
	observationOriginal
	observationSubject
	observationRevoked
)

// observationPacked, beside the level, says that the texts are squeezed, or packed
// in a value of the older version.
const observationPacked byte = 8

// observationDelivered, beside the level, says that the report is one of success.
const observationDelivered byte = 4

// shortID is how many bytes of a hash an observation keeps. They tell the
// recipients, originals and subjects of one key apart, of which there are a
// thousand at most; of a recipient more would only help who guesses.
const shortID = 8

// short returns the identity as an observation keeps it: its halves as one, in
// its last bytes.
func (id ID) short() (out ID) {
	for i := range shortID {
		out[i+shortID] = id[i] ^ id[i+shortID]
	}
	return out
}

// encodeObservation writes what the key (listing key, time, identity) does not
// tell already.
func encodeObservation(lex *lexicon, key []byte, o *Observation) ([]byte, error) {
	return o.encode(lex, key, packTexts(o))
}

// encode is encodeObservation for who packed the texts before, which takes most of
// the time.
func (o *Observation) encode(lex *lexicon, key []byte, texts packedTexts) ([]byte, error) {
	e := newEncoderFor(observationVersion, 80+len(texts.b))
	e.byte(observationFlags(o))
	kind := byte(o.Class)<<4 | levelCode(o.Level)
	if texts.squeezed {
		kind |= observationPacked
	}
	if o.Delivered {
		kind |= observationDelivered
	}
	e.byte(kind)
	e.byte(byte(o.Proofs))
	if o.Addr.Is6() {
		e.fixed(o.Addr.AsSlice()[hostBits/8:])
	}
	if o.Traces.Origin.IsValid() {
		e.fixed(o.Traces.Origin.AsSlice())
	}
	for _, id := range []ID{o.Recipient, o.Original, o.Traces.Subject} {
		if !id.IsZero() {
			e.fixed(id[shortID:])
		}
	}
	if o.Revoked != 0 {
		e.uint(o.Revoked)
	}
	for _, name := range observationNames(o) {
		if err := e.names(lex, *name); err != nil {
			return nil, err
		}
	}
	e.fixed(texts.b)
	return e.seal(key), nil
}

// levelCode counts the levels from 1; 0 is none.
func levelCode(l Level) byte {
	if l < LevelA || l > LevelC {
		return 0
	}
	return byte(l - LevelA + 1)
}

func observationFlags(o *Observation) (flags byte) {
	for _, f := range []struct {
		flag byte
		on   bool
	}{
		{observationSPF, o.SPFFailed},
		{observationHost6, o.Addr.Is6()},
		{observationOrigin4, o.Traces.Origin.Is4()},
		{observationOrigin6, o.Traces.Origin.Is6()},
		{observationRecipient, !o.Recipient.IsZero()},
		{observationOriginal, !o.Original.IsZero()},
		{observationSubject, !o.Traces.Subject.IsZero()},
		{observationRevoked, o.Revoked != 0},
	} {
		if f.on {
			flags |= f.flag
		}
	}
	return flags
}

// observationNames lists the texts that stand in the [lexicon]: those that the
// configuration or this program chose, which are few.
func observationNames(o *Observation) []*string {
	return []*string{&o.Reporter, &o.Organisation, &o.Sensor, &o.TrapDomain, &o.Traces.Product}
}

// observationTexts lists the other texts, which strangers made, in their stored
// order.
func observationTexts(o *Observation) []*string {
	t := &o.Traces
	return []*string{&t.MessageID, &t.QueueID, &t.ReportingMTA, &t.Status, &t.Diagnostic, &t.HELO, &t.PTR, &t.FailedDomain}
}

// packedTexts are the texts of an observation as they are stored.
type packedTexts struct {
	b        []byte
	squeezed bool
}

// packTexts packs all texts of strangers, then the hosts of URLs: squeezed, or with
// their lengths where that is shorter. Those at the end that are empty are left out.
func packTexts(o *Observation) packedTexts {
	texts := make([]string, 0, 16)
	for _, text := range observationTexts(o) {
		texts = append(texts, *text)
	}
	texts = append(texts, o.Traces.URLHosts...)
	for len(texts) > 0 && texts[len(texts)-1] == "" {
		texts = texts[:len(texts)-1]
	}
	size := 0
	for _, text := range texts {
		size += (bits.Len(uint(len(text))|1)+6)/7 + len(text)
	}
	if out, ok := squeeze(texts); ok && len(out) < size {
		return packedTexts{out, true}
	}
	plain := encoder{b: make([]byte, 0, size)}
	for _, text := range texts {
		plain.text(text)
	}
	return packedTexts{plain.b, false}
}

// observationText reads the texts, in whichever of their forms.
func (d *decoder) observationText(version byte, packed bool) (texts []string) {
	switch {
	case packed && version == observationVersion:
		var err error
		if texts, err = expand(d.b); err != nil {
			d.err = err
		}
		d.b = nil
	case packed:
		if d.b, d.err = unpack(d.b); d.err != nil {
			return nil
		}
		fallthrough
	default:
		for len(d.b) > 0 {
			texts = append(texts, d.text())
		}
	}
	if len(texts) > 0 && texts[len(texts)-1] == "" {
		d.fail("has an empty text at its end")
	}
	return texts
}

func decodeObservation(lex *lexicon, key, value []byte) (Observation, error) {
	o, d, packed, err := openObservation(lex, key, value)
	if err != nil {
		return o, err
	}
	texts := d.observationText(value[0], packed)
	if err := d.finish(); err != nil {
		return o, fmt.Errorf("observation %s of %s: %w", o.ID, o.Addr, err)
	}
	for _, text := range observationTexts(&o) {
		if len(texts) > 0 {
			*text, texts = texts[0], texts[1:]
		}
	}
	if len(texts) > 0 {
		o.Traces.URLHosts = texts
	}
	return o, nil
}

// decodeForRule reads of an observation what the listing rule looks at: all but
// the traces, which are most of its texts.
func decodeForRule(lex *lexicon, key, value []byte) (Observation, error) {
	o, _, _, err := openObservation(lex, key, value)
	return o, err
}

// openObservation reads what stands before the texts of strangers.
func openObservation(lex *lexicon, key, value []byte) (o Observation, d *decoder, packed bool, err error) {
	p, rest, ok := cutPrefix(key)
	if !ok || len(rest) != timeBytes+len(ID{}) {
		return o, nil, false, fmt.Errorf("observation %x: its key is none: %w", key, ErrDamaged)
	}
	host, err := PrefixKey(p)
	if err != nil {
		return o, nil, false, fmt.Errorf("observation %x: %w: %w", key, err, ErrDamaged)
	}
	o.Addr = p.Addr()
	o.At = timeOf(rest)
	o.ID = ID(rest[timeBytes:])
	d = openValue(key, value, observationVersion, observationVersion2)
	flags := d.byte()
	has := func(flag byte) bool { return flags&flag != 0 }
	o.SPFFailed = has(observationSPF)
	kind := d.byte()
	if o.Class = Class(kind >> 4); !o.Class.Valid() {
		d.fail("has the class %d", kind>>4)
	}
	if code := kind & 3; code > 0 {
		o.Level = LevelA - 1 + Level(code)
	}
	o.Delivered = kind&observationDelivered != 0
	o.Proofs = ProofSet(d.byte())
	if has(observationHost6) {
		addr := o.Addr.As16()
		d.fixed(addr[hostBits/8:])
		o.Addr = netip.AddrFrom16(addr)
	}
	switch {
	case has(observationOrigin4):
		o.Traces.Origin, _ = netip.AddrFromSlice(d.take(4))
	case has(observationOrigin6):
		o.Traces.Origin, _ = netip.AddrFromSlice(d.take(16))
	}
	for _, field := range []struct {
		flag byte
		id   *ID
	}{{observationRecipient, &o.Recipient}, {observationOriginal, &o.Original}, {observationSubject, &o.Traces.Subject}} {
		if has(field.flag) {
			d.fixed(field.id[shortID:])
		}
	}
	if has(observationRevoked) {
		if o.Revoked = d.uint(); o.Revoked == 0 {
			d.fail("was withdrawn by no audit entry")
		}
	}
	for _, name := range observationNames(&o) {
		*name = d.name(lex)
	}
	if d.err != nil {
		return o, nil, false, fmt.Errorf("observation %s of %s: %w", o.ID, host, d.err)
	}
	return o, d, kind&observationPacked != 0, nil
}
