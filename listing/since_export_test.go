package listing

import bolt "go.etcd.io/bbolt"

// SetSequence rewrites a closed store as if so much had been published before.
func SetSequence(path string, sequence uint64) error {
	db, err := openBolt(path, false)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketMeta)
		m, err := decodeMeta(keyState, b.Get(keyState))
		if err != nil {
			return err
		}
		m.Sequence, m.Base = sequence, sequence
		return b.Put(keyState, m.encode(keyState))
	})
}
