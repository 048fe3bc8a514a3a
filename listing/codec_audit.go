package listing

import (
	"encoding/json"
	"fmt"
)

// What an audit entry tells beyond its fields.
const (
	detailText     byte = iota // as JSON, or nothing
	detailDecision             // the decision that began a listing, of which there are as many as listings
)

func encodeAudit(key []byte, a *AuditEntry) []byte {
	e := newEncoderFor(auditVersion, 256+keyBytes4*len(a.Prefixes)+len(a.packed)+len(a.Detail))
	e.fixed(a.previous[:])
	e.time(a.Time)
	e.text(a.Action)
	e.uint(uint64(int64(a.By.UID) + 1))
	e.text(a.By.Name)
	e.text(a.By.Via)
	e.text(a.Reason)
	e.uint(a.Sequence)
	count := len(a.Prefixes)
	if a.packed != nil {
		count = a.Count
	}
	e.uint(uint64(count))
	e.fixed(a.packed)
	for _, p := range a.Prefixes {
		e.prefix(p)
	}
	if a.decision != nil {
		e.byte(detailDecision)
		e.decision(a.decision)
	} else {
		e.byte(detailText)
		e.text(string(a.Detail))
	}
	return e.seal(key)
}

// pack keeps the prefixes as they are stored, in a fifth of the memory.
func (a *AuditEntry) pack() {
	e := encoder{b: make([]byte, 0, keyBytes4*len(a.Prefixes))}
	for _, p := range a.Prefixes {
		e.prefix(p)
	}
	a.Count, a.packed, a.Prefixes = len(a.Prefixes), e.b, nil
}

func decodeAudit(key, value []byte) (AuditEntry, error) {
	if len(key) != 8 {
		return AuditEntry{}, fmt.Errorf("audit %x: key has %d bytes: %w", key, len(key), ErrDamaged)
	}
	a := AuditEntry{Number: numberOf(key)}
	d := openValue(key, value, auditVersion, auditVersion1)
	d.fixed(a.previous[:])
	a.Time, a.Action = d.time(), d.text()
	a.By.UID = int(int64(d.uint()) - 1)
	a.By.Name, a.By.Via, a.Reason, a.Sequence = d.text(), d.text(), d.text(), d.uint()
	for range d.count() {
		a.Prefixes = append(a.Prefixes, d.prefix())
	}
	a.Count = len(a.Prefixes)
	if d.err == nil {
		d.detail(value[0], &a)
	}
	if err := d.finish(); err != nil {
		return a, fmt.Errorf("audit %d: %w", a.Number, err)
	}
	return a, nil
}

// detail reads what the entry tells beyond its fields.
func (d *decoder) detail(version byte, a *AuditEntry) {
	kind := detailText
	if version != auditVersion1 {
		kind = d.byte()
	}
	switch kind {
	case detailText:
		if detail := d.text(); detail != "" {
			a.Detail = json.RawMessage(detail)
		}
	case detailDecision:
		decision := d.decision()
		if d.err != nil {
			return
		}
		text, err := detail(decision)
		if err != nil {
			d.fail("has a decision that cannot be told: %w", err)
		}
		a.Detail, a.decision = text, &decision
	default:
		d.fail("has a detail of the unknown kind %d", kind)
	}
}

func (e *encoder) decision(d *Decision) {
	e.bool(d.List)
	e.bool(d.Relapse)
	e.text(d.Profile)
	e.uint(uint64(len(d.Thresholds)))
	for _, t := range d.Thresholds {
		e.text(t.Name)
		e.text(t.Wanted)
		e.text(t.Found)
		e.bool(t.Met)
	}
	e.uint(uint64(d.Classes))
	e.byte(byte(d.Class))
	e.uint(uint64(d.Events))
	e.time(d.First)
	e.from(d.First, d.Last)
	e.from(d.First, d.Until)
}

func (d *decoder) decision() (out Decision) {
	out.List, out.Relapse, out.Profile = d.bool(), d.bool(), d.text()
	for range d.count() {
		out.Thresholds = append(out.Thresholds, Threshold{Name: d.text(), Wanted: d.text(), Found: d.text(), Met: d.bool()})
	}
	out.Classes, out.Class, out.Events = d.classes(), d.class(), d.small()
	out.First = d.time()
	out.Last, out.Until = d.from(out.First), d.from(out.First)
	return out
}
