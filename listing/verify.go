package listing

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Verify reads the whole database and reports what is wrong with it: pages,
// checksums, the records against what is published, the indexes against the
// records, the journal's and the audit's chains. Nil says that all is well.
func (s *Store) Verify() error {
	err := s.view(func(tx *bolt.Tx, now time.Time) error {
		if err := verifyOrder(tx); err != nil {
			return err // what else is found in such a file means nothing
		}
		st, err := readState(tx)
		if err != nil {
			return err
		}
		return errors.Join(
			verifyPublished(tx, &st),
			verifyObservations(tx, &st.meta, now),
			verifyIndex(tx),
			verifyJournal(tx, &st.meta),
			verifyAudit(tx, &st.meta),
		)
	})
	if err != nil {
		return fmt.Errorf("verify store %s: %w", s.path, err)
	}
	return nil
}

// verifyOrder walks through all keys of all buckets, which must rise: a search
// finds nothing else. bbolt's own check does more, but in a goroutine of its own,
// where a damaged page would end the process.
func verifyOrder(tx *bolt.Tx) error {
	for _, name := range buckets {
		var last []byte
		err := tx.Bucket(name).ForEach(func(key, _ []byte) error {
			if last != nil && bytes.Compare(last, key) >= 0 {
				return fmt.Errorf("bucket %s: key %x stands after %x: %w", name, key, last, ErrDamaged)
			}
			last = key
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// verifyPublished compares the records with the digest.
func verifyPublished(tx *bolt.Tx, st *state) error {
	published, wide, err := visible(tx, st.holes)
	if err != nil {
		return err
	}
	if wide != st.meta.Widths {
		return fmt.Errorf("%w: its records of operators' prefixes are not those that were counted", ErrDamaged)
	}
	if digestOf(published) != st.meta.Digest || uint64(len(published)) != st.meta.Entries {
		return fmt.Errorf("%w: its records make %d entries that are not the %d that were published", ErrDamaged, len(published), st.meta.Entries)
	}
	return nil
}

// verifyObservations reads every observation: each was seen, unless that is so
// long ago that it was forgotten, and each record knows how many are its own.
func verifyObservations(tx *bolt.Tx, m *meta, now time.Time) error {
	var errs []error
	kept := make(map[Key]int)
	total := uint64(0)
	seen, lex := tx.Bucket(bucketSeen), newLexicon(tx)
	err := tx.Bucket(bucketObservations).ForEach(func(key, value []byte) error {
		o, err := decodeObservation(lex, key, value)
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		total++
		k, err := HostKey(o.Addr)
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		kept[k]++
		if _, err := decodeStamp(o.ID[:], seen.Get(o.ID[:])); err != nil && now.Sub(o.At) < keepSeen {
			errs = append(errs, fmt.Errorf("identity %s of %s: %w", o.ID, k, err))
		}
		return nil
	})
	errs = append(errs, err)
	if total != m.Observations {
		errs = append(errs, fmt.Errorf("%w: it has %d observations, not %d", ErrDamaged, total, m.Observations))
	}
	err = tx.Bucket(bucketRecords).ForEach(func(key, value []byte) error {
		r, err := loadRecord(lex, key, value)
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		if r.Kept != kept[r.Key] {
			errs = append(errs, fmt.Errorf("record %s: %w: it has %d observations, not %d", r.Key, ErrDamaged, kept[r.Key], r.Kept))
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// verifyIndex checks that every record and exemption will be looked at in time.
func verifyIndex(tx *bolt.Tx) error {
	index := tx.Bucket(bucketExpiry)
	lex := newLexicon(tx)
	var errs []error
	expect := func(what fmt.Stringer, key []byte) {
		if err := openValue(key, index.Get(key), indexVersion).finish(); err != nil {
			errs = append(errs, fmt.Errorf("expiry index of %s: %w", what, err))
		}
	}
	err := tx.Bucket(bucketRecords).ForEach(func(key, value []byte) error {
		r, err := loadRecord(lex, key, value)
		if err != nil {
			return nil //nolint:nilerr // told by verifyPublished
		}
		if next := r.next(); !next.IsZero() && (r.Wake.IsZero() || r.Wake.After(next)) {
			errs = append(errs, fmt.Errorf("record %s: %w: it ends at %s and is looked at at %s", r.Key, ErrDamaged, next, r.Wake))
		}
		if !r.Wake.IsZero() {
			expect(r.Key, wakeKey(r.Wake, r.Key.Prefix(), wakeRecord))
		}
		return nil
	})
	errs = append(errs, err)
	all, err := allExemptions(tx)
	errs = append(errs, err)
	for _, x := range all {
		if !x.Until.IsZero() {
			expect(x.Prefix, wakeKey(x.Until, x.Prefix, wakeExemption))
		}
	}
	return errors.Join(errs...)
}

// verifyJournal checks that the journal has every change that it promises.
func verifyJournal(tx *bolt.Tx, m *meta) error {
	b := tx.Bucket(bucketJournal)
	for sequence := m.Base + 1; sequence <= m.Sequence; sequence++ {
		key := numberKey(sequence)
		value := b.Get(key)
		if value == nil {
			return fmt.Errorf("journal: %d is missing: %w", sequence, ErrDamaged)
		}
		if _, err := decodeChange(key, value); err != nil {
			return err
		}
	}
	if last, _ := b.Cursor().Last(); last != nil && bytes.Compare(last, numberKey(m.Sequence)) > 0 {
		return fmt.Errorf("journal: %d is newer than what is published: %w", numberOf(last), ErrDamaged)
	}
	return nil
}

// digestOf is the digest of a whole list.
func digestOf(entries []Entry) uint64 {
	var sum uint64
	for _, e := range entries {
		sum += entryHash(e)
	}
	return sum
}
