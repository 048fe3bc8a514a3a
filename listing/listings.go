package listing

import (
	"bytes"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Listing is one listed key, as lists of listings show it.
type Listing struct {
	Key       Key       `json:"key"`
	By        Source    `json:"by"`
	Classes   []Class   `json:"classes"`
	Class     Class     `json:"class"`
	Since     time.Time `json:"since"`
	Until     time.Time `json:"until,omitzero"` // zero: permanent
	Events    int       `json:"events,omitempty"`
	Last      time.Time `json:"last,omitzero"`
	Reason    string    `json:"reason,omitempty"`     // the operator's
	Published bool      `json:"published"`            // false: hidden by an exemption or covered by a wider listing
	CoveredBy *Key      `json:"covered_by,omitempty"` // that wider listing
}

// Listings returns a page of what is listed, published or not, in the order of
// the keys: IPv4 before IPv6.
func (s *Store) Listings(f Filter) ([]Listing, error) {
	out := []Listing{}
	limit := pageSize(f.Limit)
	err := s.view(func(tx *bolt.Tx, _ time.Time) error {
		snap := s.Snapshot()
		cursor := tx.Bucket(bucketRecords).Cursor()
		lex := newLexicon(tx)
		first, last := f.bounds()
		for key, value := cursor.Seek(first); key != nil && len(out) < limit && bytes.Compare(key, last) <= 0; key, value = cursor.Next() {
			r, err := loadRecord(lex, key, value)
			if err != nil {
				return err
			}
			if !f.matches(r) {
				continue
			}
			l, err := listingOf(tx, snap, r)
			if err != nil {
				return err
			}
			out = append(out, l)
		}
		return nil
	})
	return out, err
}

func listingOf(tx *bolt.Tx, snap *Snapshot, r *record) (Listing, error) {
	l := Listing{
		Key: r.Key, By: r.source(), Classes: r.classes().Slice(), Class: r.class(),
		Since: r.since(), Until: r.until(),
	}
	if r.Evidence != nil {
		l.Events, l.Last = r.Evidence.Events, r.Evidence.Last
	}
	if r.Manual != nil {
		l.Reason = r.Manual.Reason
	}
	for range snap.Within(r.Key.Prefix()) {
		l.Published = true
		break
	}
	if l.Published {
		return l, nil
	}
	wider, err := covering(tx, nil, r.Key.Prefix())
	if err == nil && wider != nil && wider.Key != r.Key {
		l.CoveredBy = &wider.Key
	}
	return l, err
}

// bounds returns the least and the greatest key of the records that the filter
// can let through.
func (f Filter) bounds() (first, last []byte) {
	first, last = nil, []byte{0xff}
	if f.Within.IsValid() {
		first, last = keysOf(f.Within.Masked())
	}
	if f.After.IsValid() {
		after := append(prefixKey(f.After.Prefix()), 0)
		if bytes.Compare(after, first) > 0 {
			first = after
		}
	}
	return first, last
}

func (f Filter) matches(r *record) bool {
	switch {
	case !r.listed():
		return false
	case f.Within.IsValid() && !covers(f.Within.Masked(), r.Key.Prefix()):
		return false
	case f.Class != ClassOther && !r.classes().Has(f.Class):
		return false
	default:
		return f.By&^r.source() == 0
	}
}
