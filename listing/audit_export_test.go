package listing

import bolt "go.etcd.io/bbolt"

// RewriteAudit changes an entry of the audit, and has its checksum be right.
func RewriteAudit(tx *bolt.Tx, number uint64, change func(*AuditEntry)) error {
	b, key := tx.Bucket(bucketAudit), numberKey(number)
	a, err := decodeAudit(key, b.Get(key))
	if err != nil {
		return err
	}
	change(&a)
	return b.Put(key, encodeAudit(key, &a))
}
