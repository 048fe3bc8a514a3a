package listing

import "fmt"

// What a flag of a record says is present.
const (
	recordManual byte = 1 << iota
	recordEvidence
	recordLagging // what is published is not what the record would publish now
	recordDelisted
	recordSeen      // there was evidence
	recordIndexed   // the expiry index has it, not where next says
	recordUnindexed // the expiry index does not have it, though next is not zero
	recordPast
)

// recordSize is what an operator's listing takes: a transaction keeps every value
// until its end, and an import makes a million.
const recordSize = 24

// encode writes what the key does not tell, and of the rest what cannot be
// found out: times stand as the distance from one before, and what is published
// is written only when it lags behind.
func (r *record) encode(lex *lexicon, key []byte) ([]byte, error) {
	e := newEncoderFor(recordVersion, recordSize)
	e.byte(r.flags())
	if m := r.Manual; m != nil {
		e.time(m.At)
		e.from(m.At, m.Until)
		if err := e.names(lex, m.Reason, m.By); err != nil {
			return nil, err
		}
	}
	if v := r.Evidence; v != nil {
		e.time(v.Since)
		e.from(v.Since, v.Until)
		e.from(v.Since, v.Last)
		e.uint(uint64(v.Events))
		e.uint(uint64(v.Classes))
		e.byte(byte(v.Class))
		e.uint(v.Audit)
	}
	if r.lags() {
		e.summary(r.Published)
	}
	if r.delisted() {
		e.time(r.CountFrom)
		e.from(r.CountFrom, r.Hold)
	}
	if r.seen() {
		e.time(r.First)
		e.from(r.First, r.Last)
		e.uint(uint64(r.Kept))
	}
	if r.flags()&recordIndexed != 0 {
		e.time(r.Wake)
	}
	if len(r.Past) > 0 {
		e.uint(uint64(len(r.Past)))
	}
	for _, p := range r.Past {
		e.time(p.Listed)
		e.from(p.Listed, p.Removed)
		e.byte(byte(p.By))
		e.byte(byte(p.How))
		if err := e.names(lex, p.Why); err != nil {
			return nil, err
		}
	}
	return e.seal(key), nil
}

func (r *record) flags() (flags byte) {
	next := r.next()
	for _, f := range []struct {
		flag byte
		on   bool
	}{
		{recordManual, r.Manual != nil},
		{recordEvidence, r.Evidence != nil},
		{recordLagging, r.lags()},
		{recordDelisted, r.delisted()},
		{recordSeen, r.seen()},
		{recordIndexed, !r.Wake.IsZero() && !r.Wake.Equal(next)},
		{recordUnindexed, r.Wake.IsZero() && !next.IsZero()},
		{recordPast, len(r.Past) > 0},
	} {
		if f.on {
			flags |= f.flag
		}
	}
	return flags
}

func (r *record) lags() bool     { return r.Published != r.current() }
func (r *record) delisted() bool { return !r.CountFrom.IsZero() || !r.Hold.IsZero() }
func (r *record) seen() bool     { return !r.First.IsZero() || !r.Last.IsZero() || r.Kept != 0 }

func decodeRecord(lex *lexicon, key, value []byte) (*record, error) {
	k, err := keyOf(key)
	if err != nil {
		return nil, err
	}
	r := &record{Key: k}
	d := openValue(key, value, recordVersion)
	flags := d.byte()
	has := func(flag byte) bool { return flags&flag != 0 }
	if has(recordManual) {
		at := d.time()
		r.Manual = &manualPart{At: at, Until: d.from(at), Reason: d.name(lex), By: d.name(lex)}
	}
	if has(recordEvidence) {
		since := d.time()
		r.Evidence = &evidencePart{
			Since: since, Until: d.from(since), Last: d.from(since),
			Events: d.small(), Classes: d.classes(), Class: d.class(), Audit: d.uint(),
		}
	}
	r.Published = r.current()
	if has(recordLagging) {
		r.Published = d.summary()
	}
	if has(recordDelisted) {
		r.CountFrom = d.time()
		r.Hold = d.from(r.CountFrom)
	}
	if has(recordSeen) {
		r.First = d.time()
		r.Last, r.Kept = d.from(r.First), d.small()
	}
	switch {
	case has(recordIndexed):
		r.Wake = d.time()
	case !has(recordUnindexed):
		r.Wake = r.next()
	}
	if has(recordPast) {
		d.past(lex, r)
	}
	if err := d.finish(); err != nil {
		return nil, fmt.Errorf("record %s: %w", k, err)
	}
	return r, nil
}

func (d *decoder) past(lex *lexicon, r *record) {
	for range d.count() {
		listed := d.time()
		p := Past{Listed: listed, Removed: d.from(listed), By: Source(d.byte()), How: Removal(d.byte()), Why: d.name(lex)}
		if p.How >= removals || p.By == 0 || p.By > ByEvidence|ByOperator {
			d.fail("has a listing that ended in the unknown way %d of %d", p.How, p.By)
		}
		r.Past = append(r.Past, p)
	}
}

// names writes texts by their numbers.
func (e *encoder) names(lex *lexicon, texts ...string) error {
	for _, text := range texts {
		n, err := lex.number(text)
		if err != nil {
			return err
		}
		e.uint(n)
	}
	return nil
}

func (d *decoder) name(lex *lexicon) string {
	n := d.uint()
	if d.err != nil {
		return ""
	}
	text, err := lex.text(n)
	if err != nil {
		d.fail("has an unknown text: %w", err)
	}
	return text
}
