package listing

import bolt "go.etcd.io/bbolt"

// Unsealed names the buckets that have a value which was not stored under its key.
func Unsealed(tx *bolt.Tx) (names []string) {
	for _, name := range buckets {
		if !allSealed(name, tx.Bucket(name)) {
			names = append(names, string(name))
		}
	}
	return names
}

// PutNewerName writes what this program does not know yet.
func PutNewerName(tx *bolt.Tx) error {
	name := []byte("newer")
	return tx.Bucket(bucketMeta).Put(name, newEncoder(1).seal(name))
}
