package listing

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// drop takes out what cannot be read, and cannot be derived.
func (r *repair) drop() error {
	for _, part := range []struct {
		name []byte
		read func(key, value []byte) error
	}{
		{bucketRecords, func(key, value []byte) error { _, err := decodeRecord(r.lex, key, value); return err }},
		{bucketObservations, func(key, value []byte) error {
			o, err := decodeObservation(r.lex, key, value)
			if err != nil {
				return err
			}
			k, err := HostKey(o.Addr)
			if err != nil {
				return err
			}
			_, err = r.record(k)
			return err
		}},
		{bucketExempt, func(key, value []byte) error { _, err := decodeExemption(key, value); return err }},
		{bucketReporters, func(key, value []byte) error { _, err := decodeEnrolment(key, value); return err }},
	} {
		b := r.tx.Bucket(part.name)
		var lost [][]byte
		_ = b.ForEach(func(key, value []byte) error {
			if err := part.read(key, value); err != nil {
				lost = append(lost, bytes.Clone(key))
				r.told = append(r.told, Damage{Part: string(part.name), Key: hex.EncodeToString(key), What: err.Error()})
			}
			return nil
		})
		for _, key := range lost {
			if err := b.Delete(key); err != nil {
				return err
			}
		}
	}
	return errors.Join(r.dropBrakes(), r.dropDecommission(), r.dropAudit())
}

// dropBrakes puts the brake on listing on when nobody knows any more which were on:
// an operator looks at it then, and lifts it.
func (r *repair) dropBrakes() error {
	var st state
	err := st.readBrakes(r.tx)
	if err == nil {
		return nil
	}
	r.told = append(r.told, Damage{Part: "state", Key: string(keyBrakes), What: err.Error(), Repair: repairFrozen})
	return r.freeze()
}

func (r *repair) freeze() error {
	on := brakes{Frozen: r.now, Held: len(heldKeys(r.tx)), Seen: r.now}
	return r.tx.Bucket(bucketMeta).Put(keyBrakes, on.encode(keyBrakes))
}

// dropDecommission takes the list for decommissioned when nobody knows since when it
// is: what there was to read was written by that alone.
func (r *repair) dropDecommission() error {
	var st state
	err := st.readDecommission(r.tx)
	if err == nil {
		return nil
	}
	r.told = append(r.told, Damage{Part: "state", Key: string(keyDecommission), What: err.Error(), Repair: repairEnded})
	return r.end()
}

func (r *repair) end() error {
	ended := Decommission{At: r.now, By: ActionRepair, Reason: "since when, and why, could not be read any more"}
	return r.tx.Bucket(bucketMeta).Put(keyDecommission, ended.encode(keyDecommission))
}

// dropAudit makes the chain of the audit whole: an entry that cannot be read, or is
// missing, gives way to one that says so, and what follows a break is chained anew.
// What can be read stays as it is, but for the hash of the entry before.
func (r *repair) dropAudit() error {
	b := bucketOf(r.tx, bucketAudit)
	broken := verifyAudit(r.tx, &r.meta)
	if broken == nil {
		return nil
	}
	r.told = append(r.told, Damage{
		Part: "audit", What: fmt.Sprintf("%s; the hash of the newest entry was %x", broken, r.meta.AuditHash), Repair: repairChain,
	})
	if err := r.dropStrayAudit(b); err != nil {
		return err
	}
	previous, at := r.meta.AuditStart, r.now
	for number := r.meta.AuditBase + 1; number <= r.meta.Audit; number++ {
		key := numberKey(number)
		value := bytes.Clone(b.Get(key))
		a, err := decodeAudit(key, value)
		if err != nil {
			what := Damage{Part: "audit", Key: strconv.FormatUint(number, 10), What: err.Error(), Repair: repairEntry}
			r.told = append(r.told, what)
			a = AuditEntry{Number: number, Time: at, Action: ActionRepair, By: Actor{UID: -1, Name: actorWriter}, Reason: what.String()}
		}
		at = a.Time
		if err != nil || a.previous != previous {
			a.previous = previous
			value = encodeAudit(key, &a)
			if err := b.Put(key, value); err != nil {
				return err
			}
		}
		previous = sha256.Sum256(value)
	}
	r.meta.AuditHash = previous
	return nil
}

// dropStrayAudit takes out what stands under no number that an entry can have.
func (r *repair) dropStrayAudit(b bucket) error {
	var stray [][]byte
	_ = b.ForEach(func(key, _ []byte) error {
		if len(key) != 8 || numberOf(key) <= r.meta.AuditBase || numberOf(key) > r.meta.Audit {
			stray = append(stray, bytes.Clone(key))
		}
		return nil
	})
	for _, key := range stray {
		r.told = append(r.told, Damage{Part: "audit", Key: hex.EncodeToString(key), What: "it stands outside of the chain"})
		if err := b.Delete(key); err != nil {
			return err
		}
	}
	return nil
}
