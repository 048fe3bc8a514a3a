package listing

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// The first bytes of the stored values: the kind in the upper half, the version
// of its form in the lower. A new form gets a new number, and its decoder reads
// the old one as long as a migration has not rewritten it.
const (
	metaVersion        = 0x11
	recordVersion      = 0x21
	observationVersion = 0x31
	stampVersion       = 0x41
	exemptionVersion   = 0x51
	changeVersion      = 0x61
	auditVersion       = 0x71
	indexVersion       = 0x81
	reporterVersion    = 0xa1
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
	return m, d.finish()
}

// What a flag of a record says is present.
const (
	recordManual byte = 1 << iota
	recordEvidence
	recordPublished
	recordDelisted
)

func (r *record) encode(key []byte) []byte {
	e := newEncoder(recordVersion)
	var flags byte
	set := func(flag byte, on bool) bool {
		if on {
			flags |= flag
		}
		return on
	}
	manual := set(recordManual, r.Manual != nil)
	evidence := set(recordEvidence, r.Evidence != nil)
	published := set(recordPublished, r.Published != Summary{})
	delisted := set(recordDelisted, !r.CountFrom.IsZero() || !r.Hold.IsZero())
	e.byte(flags)
	if manual {
		e.time(r.Manual.At)
		e.time(r.Manual.Until)
		e.text(r.Manual.Reason)
		e.text(r.Manual.By)
	}
	if evidence {
		e.time(r.Evidence.Since)
		e.time(r.Evidence.Until)
		e.time(r.Evidence.Last)
		e.uint(uint64(r.Evidence.Events))
		e.uint(uint64(r.Evidence.Classes))
		e.byte(byte(r.Evidence.Class))
		e.uint(r.Evidence.Audit)
	}
	if published {
		e.summary(r.Published)
	}
	if delisted {
		e.time(r.CountFrom)
		e.time(r.Hold)
	}
	e.time(r.First)
	e.time(r.Last)
	e.uint(uint64(r.Kept))
	e.time(r.Wake)
	e.uint(uint64(len(r.Past)))
	for _, p := range r.Past {
		e.time(p.Listed)
		e.time(p.Removed)
		e.byte(byte(p.By))
		e.byte(byte(p.How))
		e.text(p.Why)
	}
	return e.seal(key)
}

func decodeRecord(key, value []byte) (*record, error) {
	k, err := keyOf(key)
	if err != nil {
		return nil, err
	}
	r := &record{Key: k}
	d := openValue(key, value, recordVersion)
	flags := d.byte()
	if flags >= recordDelisted<<1 {
		d.fail("has unknown flags %#x", flags)
	}
	if flags&recordManual != 0 {
		r.Manual = &manualPart{At: d.time(), Until: d.time(), Reason: d.text(), By: d.text()}
	}
	if flags&recordEvidence != 0 {
		r.Evidence = &evidencePart{
			Since: d.time(), Until: d.time(), Last: d.time(),
			Events: d.small(), Classes: d.classes(), Class: d.class(), Audit: d.uint(),
		}
	}
	if flags&recordPublished != 0 {
		r.Published = d.summary()
	}
	if flags&recordDelisted != 0 {
		r.CountFrom, r.Hold = d.time(), d.time()
	}
	r.First, r.Last, r.Kept, r.Wake = d.time(), d.time(), d.small(), d.time()
	for range d.count() {
		r.Past = append(r.Past, Past{Listed: d.time(), Removed: d.time(), By: Source(d.byte()), How: Removal(d.byte()), Why: d.text()})
	}
	for _, p := range r.Past {
		if p.How >= removals || p.By == 0 || p.By > ByEvidence|ByOperator {
			d.fail("has a listing that ended in the unknown way %d of %d", p.How, p.By)
		}
	}
	if err := d.finish(); err != nil {
		return nil, fmt.Errorf("record %s: %w", k, err)
	}
	return r, nil
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

// encodeObservation writes what the key (listing key, time, identity) does not
// tell already.
func encodeObservation(key []byte, o *Observation) []byte {
	e := newEncoder(observationVersion)
	var flags byte
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
	e.byte(flags)
	e.byte(byte(o.Class))
	e.byte(byte(o.Level))
	e.byte(byte(o.Proofs))
	if o.Addr.Is6() {
		e.fixed(o.Addr.AsSlice()[hostBits/8:])
	}
	if o.Traces.Origin.IsValid() {
		e.fixed(o.Traces.Origin.AsSlice())
	}
	for _, id := range []ID{o.Recipient, o.Original, o.Traces.Subject} {
		if !id.IsZero() {
			e.fixed(id[:])
		}
	}
	if o.Revoked != 0 {
		e.uint(o.Revoked)
	}
	for _, text := range observationTexts(o) {
		e.text(*text)
	}
	e.uint(uint64(len(o.Traces.URLHosts)))
	for _, host := range o.Traces.URLHosts {
		e.text(host)
	}
	return e.seal(key)
}

// ruleTexts is how many of the texts the listing rule looks at: the first.
const ruleTexts = 4

// observationTexts lists the texts of an observation in their stored order.
func observationTexts(o *Observation) []*string {
	t := &o.Traces
	return []*string{
		&o.Reporter, &o.Organisation, &o.Sensor, &o.TrapDomain,
		&t.MessageID, &t.QueueID, &t.ReportingMTA, &t.Status, &t.Diagnostic, &t.HELO, &t.PTR, &t.FailedDomain, &t.Product,
	}
}

func decodeObservation(key, value []byte) (Observation, error) {
	o, d, err := openObservation(key, value)
	if err != nil {
		return o, err
	}
	for _, text := range observationTexts(&o) {
		*text = d.text()
	}
	for range d.count() {
		o.Traces.URLHosts = append(o.Traces.URLHosts, d.text())
	}
	if err := d.finish(); err != nil {
		return o, fmt.Errorf("observation %s of %s: %w", o.ID, o.Addr, err)
	}
	return o, nil
}

// names keeps each of many equal texts once.
type names map[string]string

func (n names) of(text []byte) string {
	name, ok := n[string(text)]
	if !ok {
		name = string(text)
		n[name] = name
	}
	return name
}

// decode reads of an observation what the listing rule looks at: all but the
// traces, which are most of its texts.
func (n names) decode(key, value []byte) (Observation, error) {
	o, d, err := openObservation(key, value)
	if err != nil {
		return o, err
	}
	for _, text := range observationTexts(&o)[:ruleTexts] {
		*text = n.of(d.take(d.count()))
	}
	if d.err != nil {
		return o, fmt.Errorf("observation %s of %s: %w", o.ID, o.Addr, d.err)
	}
	return o, nil
}

// openObservation reads what stands before the texts.
func openObservation(key, value []byte) (Observation, *decoder, error) {
	var o Observation
	if len(key) != observationKeyBytes {
		return o, nil, fmt.Errorf("observation %x: key has %d bytes: %w", key, len(key), ErrDamaged)
	}
	host, err := keyOf(key[:keyBytes])
	if err != nil {
		return o, nil, fmt.Errorf("observation %x: %w", key, err)
	}
	o.Addr = host.Prefix().Addr()
	o.At = timeOf(key[keyBytes : keyBytes+timeBytes])
	o.ID = ID(key[keyBytes+timeBytes:])
	d := openValue(key, value, observationVersion)
	flags := d.byte()
	has := func(flag byte) bool { return flags&flag != 0 }
	o.SPFFailed = has(observationSPF)
	o.Class, o.Level, o.Proofs = d.class(), Level(d.byte()), ProofSet(d.byte())
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
			d.fixed(field.id[:])
		}
	}
	if has(observationRevoked) {
		if o.Revoked = d.uint(); o.Revoked == 0 {
			d.fail("was withdrawn by no audit entry")
		}
	}
	if d.err != nil {
		return o, nil, fmt.Errorf("observation %s of %s: %w", o.ID, host, d.err)
	}
	return o, d, nil
}

// encodeStamp writes a time alone: when an identity was seen.
func encodeStamp(key []byte, t time.Time) []byte {
	e := newEncoder(stampVersion)
	e.time(t)
	return e.seal(key)
}

func decodeStamp(key, value []byte) (time.Time, error) {
	d := openValue(key, value, stampVersion)
	t := d.time()
	return t, d.finish()
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
	p, ok := prefixOf(key)
	if !ok || len(key) != keyBytes+1 || key[keyBytes] > 1 {
		return Exemption{}, fmt.Errorf("exemption %x: key is no prefix: %w", key, ErrDamaged)
	}
	d := openValue(key, value, exemptionVersion)
	x := Exemption{Prefix: p, BuiltIn: key[keyBytes] == 1, Reason: d.text(), Until: d.time(), Observe: d.bool(), By: d.text(), At: d.time()}
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

func encodeChange(key []byte, c *Change) []byte {
	e := newEncoder(changeVersion)
	e.time(c.Time)
	e.entries(c.Removed)
	e.entries(c.Added)
	return e.seal(key)
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

func encodeAudit(key []byte, a *AuditEntry) []byte {
	e := newEncoder(auditVersion)
	e.fixed(a.previous[:])
	e.time(a.Time)
	e.text(a.Action)
	e.uint(uint64(int64(a.By.UID) + 1))
	e.text(a.By.Name)
	e.text(a.By.Via)
	e.text(a.Reason)
	e.uint(a.Sequence)
	e.uint(uint64(len(a.Prefixes)))
	for _, p := range a.Prefixes {
		e.prefix(p)
	}
	e.text(string(a.Detail))
	return e.seal(key)
}

func decodeAudit(key, value []byte) (AuditEntry, error) {
	if len(key) != 8 {
		return AuditEntry{}, fmt.Errorf("audit %x: key has %d bytes: %w", key, len(key), ErrDamaged)
	}
	a := AuditEntry{Number: numberOf(key)}
	d := openValue(key, value, auditVersion)
	d.fixed(a.previous[:])
	a.Time, a.Action = d.time(), d.text()
	a.By.UID = int(int64(d.uint()) - 1)
	a.By.Name, a.By.Via, a.Reason, a.Sequence = d.text(), d.text(), d.text(), d.uint()
	for range d.count() {
		a.Prefixes = append(a.Prefixes, d.prefix())
	}
	a.Count = len(a.Prefixes)
	if detail := d.text(); detail != "" {
		a.Detail = json.RawMessage(detail)
	}
	if err := d.finish(); err != nil {
		return a, fmt.Errorf("audit %d: %w", a.Number, err)
	}
	return a, nil
}
