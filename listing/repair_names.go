package listing

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	bolt "go.etcd.io/bbolt"
)

const repairName = "put back under its name"

// strayName is what stands in meta under a name that is none, and under which it was not
// stored. One that was stored under it is of a newer program, and no concern of this one.
type strayName struct {
	key, value []byte
	of         []byte // the name it was stored under, when its checksum proves that
}

// strayNames returns what stands in meta under a name that is none. There are values that
// most stores do not have, of which nobody would miss one whose name is damaged: an
// ended list would be published again.
func strayNames(tx *bolt.Tx) (all []strayName) {
	b := tx.Bucket(bucketMeta)
	_ = b.ForEach(func(key, value []byte) error {
		known := func(name []byte) bool { return bytes.Equal(name, key) }
		if slices.ContainsFunc(metaKeys, known) || sealed(key, value) {
			return nil
		}
		one := strayName{key: bytes.Clone(key), value: bytes.Clone(value)}
		for _, name := range metaKeys {
			if sealed(name, value) && b.Get(name) == nil {
				one.of = name
			}
		}
		all = append(all, one)
		return nil
	})
	return all
}

// damage tells of it; what is done about it is done with drop alone.
func (s *strayName) damage() Damage {
	what := "nothing has such a name, and it cannot be told what had it"
	if s.of != nil {
		what = fmt.Sprintf("it was stored as %q", s.of)
	}
	return Damage{Part: "state", Key: strconv.QuoteToASCII(string(s.key)), What: what}
}

// strayed returns the first of them as an error.
func strayed(tx *bolt.Tx) error {
	for _, one := range strayNames(tx) {
		return fmt.Errorf("%s: %w", one.damage(), ErrDamaged)
	}
	return nil
}

// names tells of them, and of a schema that cannot be read: whoever has the store open
// has read that long ago.
func (v *Verdict) names(tx *bolt.Tx) {
	for _, one := range strayNames(tx) {
		d := one.damage()
		v.damage(d.Part, d.Key, d.Repair, d.What)
	}
	if _, err := readSchema(tx); err != nil {
		v.damage("state", "", "", err.Error())
	}
}

// names puts each of them back under its name. Of one whose name nobody knows it counts
// as damaged what may have had it.
func (r *repair) names(drop bool) error {
	if err := strayed(r.tx); err != nil && !drop {
		return fmt.Errorf("%w; restore a backup, or repair with --drop", err)
	}
	b := r.tx.Bucket(bucketMeta)
	for _, one := range strayNames(r.tx) {
		if err := b.Delete(one.key); err != nil {
			return err
		}
		told := one.damage()
		var err error
		switch may := func(name []byte) bool { return len(one.key) == len(name) && b.Get(name) == nil }; {
		case one.of != nil:
			told.Repair = repairName
			err = b.Put(one.of, one.value)
		case may(keyBrakes):
			told.Repair = repairFrozen
			err = r.freeze()
		case may(keyDecommission):
			told.Repair = repairEnded
			err = r.end()
		}
		if r.told = append(r.told, told); err != nil {
			return err
		}
	}
	return nil
}
