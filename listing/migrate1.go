package listing

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Schema 1 had prefixes of 17 bytes (the address in the space of IPv6, and the
// length there), times of eight, identities of 16, every text in full, and did
// not count operators' prefixes. Nothing else of it differs from schema 2.
const (
	keyBytes1           = 17
	timeBytes1          = 8
	metaVersion1        = 0x11
	recordVersion1      = 0x21
	observationVersion1 = 0x31
	stampVersion1       = 0x41
)

// migrate1 rewrites every value whose form or key has changed.
func migrate1(tx *bolt.Tx) error {
	for _, name := range buckets {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	lex := newLexicon(tx)
	var wide widths
	err := replaceBucket(tx, bucketRecords, func(key, value []byte) ([]byte, []byte, error) {
		r, err := decodeRecord1(key, value)
		if err != nil {
			return nil, nil, err
		}
		if r.Manual != nil && !r.Key.IsHost() {
			wide[spread(r.Key.Prefix())]++
		}
		key = prefixKey(r.Key.Prefix())
		value, err = r.encode(lex, key)
		return key, value, err
	})
	if err != nil {
		return err
	}
	err = replaceBucket(tx, bucketObservations, func(key, value []byte) ([]byte, []byte, error) {
		o, err := decodeObservation1(key, value)
		if err != nil {
			return nil, nil, err
		}
		revoked := o.Revoked
		if err := o.normalise(); err != nil {
			return nil, nil, err
		}
		o.Revoked = revoked
		k, err := HostKey(o.Addr)
		if err != nil {
			return nil, nil, err
		}
		key = observationKey(k, o.At, o.ID)
		value, err = encodeObservation(lex, key, &o)
		return key, value, err
	})
	if err != nil {
		return err
	}
	return migrate1Rest(tx, wide)
}

func migrate1Rest(tx *bolt.Tx, wide widths) error {
	err := replaceBucket(tx, bucketSeen, func(key, value []byte) ([]byte, []byte, error) {
		d := openValue(key, value, stampVersion1)
		at := d.time()
		if err := d.finish(); err != nil {
			return nil, nil, err
		}
		return bytes.Clone(key), encodeStamp(key, at), nil
	})
	if err != nil {
		return err
	}
	err = replaceBucket(tx, bucketExpiry, func(key, value []byte) ([]byte, []byte, error) {
		if err := openValue(key, value, indexVersion).finish(); err != nil {
			return nil, nil, err
		}
		if len(key) != timeBytes1+keyBytes1+1 {
			return nil, nil, fmt.Errorf("key %x is no time and prefix: %w", key, ErrDamaged)
		}
		p, err := prefixOf1(key[timeBytes1 : timeBytes1+keyBytes1])
		if err != nil {
			return nil, nil, err
		}
		key = wakeKey(timeOf1(key), p, key[timeBytes1+keyBytes1])
		return key, newEncoder(indexVersion).seal(key), nil
	})
	if err != nil {
		return err
	}
	err = replaceBucket(tx, bucketExempt, func(key, value []byte) ([]byte, []byte, error) {
		x, err := decodeExemption1(key, value)
		if err != nil {
			return nil, nil, err
		}
		key = exemptKey(x.Prefix, x.BuiltIn)
		return key, encodeExemption(key, &x), nil
	})
	if err != nil {
		return err
	}
	b := tx.Bucket(bucketMeta)
	m, err := decodeMeta1(keyState, b.Get(keyState))
	if err != nil {
		return err
	}
	m.Widths = wide
	return b.Put(keyState, m.encode(keyState))
}

func timeOf1(b []byte) time.Time { return time.Unix(int64(binary.BigEndian.Uint64(b)), 0).UTC() }

func prefixOf1(key []byte) (netip.Prefix, error) {
	if len(key) != keyBytes1 || key[16] > 128 {
		return netip.Prefix{}, fmt.Errorf("key %x is no prefix: %w", key, ErrDamaged)
	}
	addr, bits := netip.AddrFrom16([16]byte(key[:16])), int(key[16])
	if addr.Is4In6() && bits > mappedBits {
		addr, bits = addr.Unmap(), bits-mappedBits
	}
	p := netip.PrefixFrom(addr, bits)
	if p.Masked() != p {
		return p, fmt.Errorf("key %x is no prefix: %w", key, ErrDamaged)
	}
	return p, nil
}

func keyOf1(b []byte) (Key, error) {
	p, err := prefixOf1(b)
	if err != nil {
		return Key{}, err
	}
	k, err := PrefixKey(p)
	if err != nil {
		return Key{}, fmt.Errorf("key %x: %w: %w", b, err, ErrDamaged)
	}
	return k, nil
}

func decodeMeta1(key, value []byte) (meta, error) {
	d := openValue(key, value, metaVersion1)
	m := meta{Commits: d.uint(), Sequence: d.uint(), Time: d.time(), Digest: d.uint(), Entries: d.uint(), Base: d.uint()}
	d.fixed(m.Published[:])
	d.fixed(m.Settings[:])
	m.Newest, m.Audit = d.time(), d.uint()
	d.fixed(m.AuditHash[:])
	m.Observations = d.uint()
	return m, d.finish()
}

func decodeRecord1(key, value []byte) (*record, error) {
	k, err := keyOf1(key)
	if err != nil {
		return nil, err
	}
	const manual, evidence, published, delisted = 1, 2, 4, 8
	r := &record{Key: k}
	d := openValue(key, value, recordVersion1)
	flags := d.byte()
	if flags&manual != 0 {
		r.Manual = &manualPart{At: d.time(), Until: d.time(), Reason: d.text(), By: d.text()}
	}
	if flags&evidence != 0 {
		r.Evidence = &evidencePart{
			Since: d.time(), Until: d.time(), Last: d.time(),
			Events: d.small(), Classes: d.classes(), Class: d.class(), Audit: d.uint(),
		}
	}
	if flags&published != 0 {
		r.Published = d.summary()
	}
	if flags&delisted != 0 {
		r.CountFrom, r.Hold = d.time(), d.time()
	}
	r.First, r.Last, r.Kept, r.Wake = d.time(), d.time(), d.small(), d.time()
	for range d.count() {
		r.Past = append(r.Past, Past{Listed: d.time(), Removed: d.time(), By: Source(d.byte()), How: Removal(d.byte()), Why: d.text()})
	}
	if err := d.finish(); err != nil {
		return nil, fmt.Errorf("record %s: %w", k, err)
	}
	return r, nil
}

func decodeObservation1(key, value []byte) (Observation, error) {
	var o Observation
	if len(key) != keyBytes1+timeBytes1+len(ID{}) {
		return o, fmt.Errorf("observation %x: key has %d bytes: %w", key, len(key), ErrDamaged)
	}
	host, err := keyOf1(key[:keyBytes1])
	if err != nil {
		return o, err
	}
	o.Addr = host.Prefix().Addr()
	o.At = timeOf1(key[keyBytes1:])
	o.ID = ID(key[keyBytes1+timeBytes1:])
	d := openValue(key, value, observationVersion1)
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
		o.Revoked = d.uint()
	}
	texts := []*string{&o.Reporter, &o.Organisation, &o.Sensor, &o.TrapDomain}
	for _, text := range append(append(texts, observationTexts(&o)...), &o.Traces.Product) {
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

func decodeExemption1(key, value []byte) (Exemption, error) {
	if len(key) != keyBytes1+1 {
		return Exemption{}, fmt.Errorf("exemption %x: key is no prefix: %w", key, ErrDamaged)
	}
	p, err := prefixOf1(key[:keyBytes1])
	if err != nil {
		return Exemption{}, err
	}
	d := openValue(key, value, exemptionVersion)
	x := Exemption{Prefix: p, BuiltIn: key[keyBytes1] == 1, Reason: d.text(), Until: d.time(), Observe: d.bool(), By: d.text(), At: d.time()}
	return x, d.finish()
}
