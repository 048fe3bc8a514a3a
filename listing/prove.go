package listing

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// prove makes out what is published where records cannot be read, from what the
// journal says was published there. It is believed only if all of it together is
// what the last commit left: then the list is served as it was, each damaged
// record is named in the log, and only what would change it is refused.
func (s *Store) prove(tx *bolt.Tx, m *meta, holes []netip.Prefix) ([]Entry, error) {
	entries, _, broken := salvage(tx, holes)
	told := broken
	if len(told) > tellBroken {
		told = append(slices.Clone(told[:tellBroken]), fmt.Errorf("and %d records more", len(broken)-tellBroken))
	}
	refused := errors.Join(append(told, fmt.Errorf("%w: what was published there cannot be proven; try verify, or restore a backup", ErrDamaged))...)
	lost, err := unreadable(tx)
	if err != nil {
		return nil, errors.Join(refused, err)
	}
	inside := func(p netip.Prefix) bool {
		return slices.ContainsFunc(lost, func(q netip.Prefix) bool { return covers(q, p) })
	}
	proven := make(map[netip.Prefix]Entry)
	for sequence := m.Base + 1; sequence <= m.Sequence; sequence++ {
		key := numberKey(sequence)
		one, err := decodeChange(key, bucketOf(tx, bucketJournal).Get(key))
		if err != nil {
			return nil, errors.Join(refused, err)
		}
		for _, e := range one.Removed {
			delete(proven, e.Prefix)
		}
		for _, e := range one.Added {
			if inside(e.Prefix) {
				proven[e.Prefix] = e
			}
		}
	}
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return inside(e.Prefix) })
	entries = slices.AppendSeq(entries, maps.Values(proven))
	if m.published(entries, m.Widths) != nil {
		return nil, refused
	}
	for _, err := range broken {
		s.log.Error("a record is damaged; it is served as the journal proves it, and cannot be changed", slog.Any("err", err))
	}
	return entries, nil
}

// unreadable returns the prefixes of the records that cannot be read.
func unreadable(tx *bolt.Tx) (lost []netip.Prefix, err error) {
	lex := newLexicon(tx)
	err = tx.Bucket(bucketRecords).ForEach(func(key, value []byte) error {
		if _, err := decodeRecord(lex, key, value); err == nil {
			return nil
		}
		k, err := keyOf(key)
		if err == nil {
			lost = append(lost, k.Prefix())
		}
		return err // a damaged key may be that of any record
	})
	return lost, err
}
