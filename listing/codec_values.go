package listing

import (
	"fmt"
	"math"
	"time"
)

// The first bytes of the stored values: the kind in the upper half, the version
// of its form in the lower. A new form gets a new number, and its decoder reads
// the old one as long as a migration has not rewritten it.
const (
	metaVersion         = 0x12
	recordVersion       = 0x22
	observationVersion2 = 0x32 // packed texts; read, and written no more
	observationVersion  = 0x33
	stampVersion        = 0x42
	exemptionVersion    = 0x51
	changeVersion       = 0x61
	auditVersion1       = 0x71 // decisions as JSON; read, and written no more
	auditVersion        = 0x72
	indexVersion        = 0x81
	largeVersion        = 0x91
	reporterVersion     = 0xa1
	brakesVersion1      = 0xb1 // read, and written no more; textVersion is the same, in another bucket
	decommissionVersion = 0xc1
	textVersion         = 0xb1
	headerVersion       = 0xd1
	headerCountVersion  = 0xe1
	brakesVersion2      = 0xf1 // likewise
	brakesVersion       = 0xf2
)

// meta is the state of the store as a whole: one value, written by every
// transaction.
type meta struct {
	Commits      uint64    // transactions ever; tells a file that went back
	Sequence     uint64    // of what is published
	Time         time.Time // of the commit that made it
	Digest       uint64    // sum of the hashes of all published entries
	Entries      uint64    // how many they are
	Base         uint64    // the journal tells every change after this sequence
	Published    [32]byte  // digest of the zones' published settings
	Settings     [32]byte  // digest of the settings that were applied last
	Newest       time.Time // receive time of the newest evidence
	Audit        uint64    // number of the newest audit entry
	AuditHash    [32]byte  // its hash
	Observations uint64    // kept
	Widths       widths    // operators' prefixes
	AuditBase    uint64    // number of the newest audit entry that was dropped
	AuditStart   [32]byte  // its hash, with which the chain begins
}

// widths counts operators' prefixes that are wider than a host, by their length
// in the space of IPv6.
type widths [129]int

func (e *encoder) widths(w *widths) {
	n := 0
	for _, count := range w {
		if count != 0 {
			n++
		}
	}
	e.uint(uint64(n))
	for bits, count := range w {
		if count != 0 {
			e.byte(byte(bits))
			e.uint(uint64(count))
		}
	}
}

func (d *decoder) widths() (w widths) {
	for range d.count() {
		bits, count := int(d.byte()), d.small()
		if bits >= len(w) || w[bits] != 0 || count == 0 && d.err == nil {
			d.fail("counts %d prefixes of %d bits", count, bits)
			return w
		}
		w[bits] = count
	}
	return w
}

func (m *meta) encode(key []byte) []byte {
	e := newEncoder(metaVersion)
	e.uint(m.Commits)
	e.uint(m.Sequence)
	e.time(m.Time)
	e.uint(m.Digest)
	e.uint(m.Entries)
	e.uint(m.Base)
	e.fixed(m.Published[:])
	e.fixed(m.Settings[:])
	e.time(m.Newest)
	e.uint(m.Audit)
	e.fixed(m.AuditHash[:])
	e.uint(m.Observations)
	e.widths(&m.Widths)
	e.uint(m.AuditBase)
	e.fixed(m.AuditStart[:])
	return e.seal(key)
}

func decodeMeta(key, value []byte) (meta, error) {
	d := openValue(key, value, metaVersion)
	m := meta{Commits: d.uint(), Sequence: d.uint(), Time: d.time(), Digest: d.uint(), Entries: d.uint(), Base: d.uint()}
	d.fixed(m.Published[:])
	d.fixed(m.Settings[:])
	m.Newest, m.Audit = d.time(), d.uint()
	d.fixed(m.AuditHash[:])
	m.Observations = d.uint()
	m.Widths, m.AuditBase = d.widths(), d.uint()
	d.fixed(m.AuditStart[:])
	return m, d.finish()
}

// small reads a number that a person could count to.
func (d *decoder) small() int {
	v := d.uint()
	if v > 1<<31-1 {
		d.fail("has the number %d", v)
		return 0
	}
	return int(v)
}

func (d *decoder) class() Class {
	c := Class(d.byte())
	if !c.Valid() {
		d.fail("has the class %d", uint8(c))
	}
	return c
}

func (d *decoder) classes() ClassSet {
	v := d.uint()
	if v&^uint64(AllClasses) != 0 {
		d.fail("has the classes %#x", v)
		return 0
	}
	return ClassSet(v)
}

func (e *encoder) summary(s Summary) {
	e.uint(uint64(s.Events))
	for _, day := range []Date{s.Since, s.Last, s.Until} {
		e.b = append(e.b, byte(day>>8), byte(day))
	}
}

func (d *decoder) summary() Summary {
	s := Summary{Events: uint16(min(d.uint(), 1<<16-1))}
	for _, day := range []*Date{&s.Since, &s.Last, &s.Until} {
		*day = Date(d.byte())<<8 | Date(d.byte())
	}
	return s
}

// encodeStamp writes a day: when an identity was seen.
func encodeStamp(key []byte, t time.Time) []byte {
	e := newEncoder(stampVersion)
	e.uint(uint64(DateOf(t)))
	return e.seal(key)
}

func decodeStamp(key, value []byte) (time.Time, error) {
	d := openValue(key, value, stampVersion)
	day := d.uint()
	if day > math.MaxUint16 {
		d.fail("has the day %d", day)
	}
	return Date(day).Time(), d.finish()
}

func encodeExemption(key []byte, x *Exemption) []byte {
	e := newEncoder(exemptionVersion)
	e.text(x.Reason)
	e.time(x.Until)
	e.bool(x.Observe)
	e.text(x.By)
	e.time(x.At)
	return e.seal(key)
}

func decodeExemption(key, value []byte) (Exemption, error) {
	p, kind, ok := cutPrefix(key)
	if !ok || len(kind) != 1 || kind[0] > 1 {
		return Exemption{}, fmt.Errorf("exemption %x: key is no prefix: %w", key, ErrDamaged)
	}
	d := openValue(key, value, exemptionVersion)
	x := Exemption{Prefix: p, BuiltIn: kind[0] == 1, Reason: d.text(), Until: d.time(), Observe: d.bool(), By: d.text(), At: d.time()}
	if err := d.finish(); err != nil {
		return x, fmt.Errorf("exemption %s: %w", p, err)
	}
	return x, nil
}

func (e *encoder) entries(entries []Entry) {
	e.uint(uint64(len(entries)))
	for _, entry := range entries {
		e.entry(entry)
	}
}

func (e *encoder) entry(entry Entry) {
	e.prefix(entry.Prefix)
	e.uint(uint64(entry.Classes))
	e.byte(byte(entry.Class))
	e.summary(entry.Summary)
}

func (d *decoder) entries() []Entry {
	n := d.count()
	if n == 0 {
		return nil
	}
	out := make([]Entry, 0, n)
	for range n {
		out = append(out, Entry{Prefix: d.prefix(), Classes: d.classes(), Class: d.class(), Summary: d.summary()})
	}
	return out
}

// entryBytes4 is what the entry of an IPv4 host takes in a change, at most.
const entryBytes4 = 5 + 1 + 1 + 3 + 6

func encodeChange(key []byte, c *Change) []byte {
	e := newEncoderFor(changeVersion, 32+entryBytes4*(len(c.Removed)+len(c.Added)))
	e.time(c.Time)
	e.entries(c.Removed)
	e.entries(c.Added)
	return e.seal(key)
}

// decodeWhen reads of a change only which it is, and its time: a change can be of
// a whole list.
func decodeWhen(key, value []byte) (Change, error) {
	if len(key) != 8 {
		return Change{}, fmt.Errorf("journal %x: key has %d bytes: %w", key, len(key), ErrDamaged)
	}
	d := openValue(key, value, changeVersion)
	c := Change{Sequence: numberOf(key), Time: d.time()}
	if d.err != nil {
		return c, fmt.Errorf("journal %d: %w", c.Sequence, d.err)
	}
	return c, nil
}

func decodeChange(key, value []byte) (Change, error) {
	if len(key) != 8 {
		return Change{}, fmt.Errorf("journal %x: key has %d bytes: %w", key, len(key), ErrDamaged)
	}
	d := openValue(key, value, changeVersion)
	c := Change{Sequence: numberOf(key), Time: d.time(), Removed: d.entries(), Added: d.entries()}
	if err := d.finish(); err != nil {
		return c, fmt.Errorf("journal %d: %w", c.Sequence, err)
	}
	return c, nil
}
