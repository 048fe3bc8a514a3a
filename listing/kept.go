package listing

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// keptLimit bounds the observations kept, and so counted, for one key. When it
// is passed they are cut down to trimTo, so that not each one costs a walk.
const (
	keptLimit = 1000
	trimTo    = 900
)

// observationKey is the key under which an observation is kept.
func observationKey(k Key, at time.Time, id ID) []byte {
	prefix := prefixKey(k.Prefix())
	key := append(make([]byte, 0, observationKeyBytes), prefix[:]...)
	return append(appendTime(key, at), id[:]...)
}

// observations calls fn with what is kept of a key from the given time on,
// newest first, until it returns false. What is damaged is told and passed over:
// it can prove nothing.
func observations(tx *bolt.Tx, log *slog.Logger, k Key, from time.Time, fn func(Observation) bool) {
	prefix := prefixKey(k.Prefix())
	last := append(bytes.Clone(prefix[:]), 0xff)
	cursor := tx.Bucket(bucketObservations).Cursor()
	step := cursor.Prev
	if after, _ := cursor.Seek(last); after == nil {
		step = cursor.Last
	}
	for key, value := step(); bytes.HasPrefix(key, prefix[:]); key, value = cursor.Prev() {
		if len(key) == observationKeyBytes && timeOf(key[keyBytes:keyBytes+timeBytes]).Before(from) {
			return
		}
		o, err := decodeObservation(key, value)
		if err != nil {
			log.Error("an observation is damaged and not counted", slog.Any("err", err))
			continue
		}
		if !fn(o) {
			return
		}
	}
}

// judge asks the listing rule about a key, and changes nothing.
func (c *change) judge(r *record) Decision {
	return c.state.judge(c.tx, c.log, r, c.settings.Policy, c.weights, c.now)
}

func (st *state) judge(tx *bolt.Tx, log *slog.Logger, r *record, policy Policy, weights map[string]float64, now time.Time) Decision {
	var evidence []Evidence
	exempt := st.exemptHosts(r.Key)
	observations(tx, log, r.Key, now.Add(-policy.Window), func(o Observation) bool {
		if !exempt(o.Addr) {
			evidence = append(evidence, o.Evidence(weights[o.Reporter]))
		}
		return len(evidence) < keptLimit
	})
	return policy.Decide(r.history(evidence), now)
}

// exemptHosts tells which hosts of a /64 are exempt, whose evidence says
// nothing of the others. Of a key that is exempt as a whole none is: it is not
// listed anyway, and what the rule says of it can be shown.
func (st *state) exemptHosts(k Key) func(netip.Addr) bool {
	if _, whole := st.exemption(k.Prefix()); whole || k.Prefix().IsSingleIP() {
		return func(netip.Addr) bool { return false }
	}
	return func(addr netip.Addr) bool {
		_, exempt := st.exemption(netip.PrefixFrom(addr, addr.BitLen()))
		return exempt
	}
}

// kind is what makes observations alike to the listing rule.
type kind struct {
	class                  Class
	level                  Level
	reporter, organisation string
	trapDomain             string
}

// trim keeps a key within its bound. What counts for nothing goes first: what is
// older than a delist or the window, or has no weight. Of what counts the oldest
// stays, since the rule asks for a span, and a host that sends more than is kept
// in less than that would never be listed; and what there is much of goes before
// what there is little of, so that the flood that one trap saw does not wash away
// what others saw. Of one kind the oldest goes.
func (c *change) trim(r *record) error {
	if r.Kept <= keptLimit {
		return nil
	}
	excess := r.Kept - trimTo
	var idle [][]byte
	var kinds []kind // as they turn up: the order must not be that of a map
	counted := make(map[kind][][]byte)
	history := r.history(nil)
	observations(c.tx, c.log, r.Key, time.Time{}, func(o Observation) bool {
		key := observationKey(r.Key, o.At, o.ID)
		if !c.settings.Policy.counts(o.Evidence(c.weights[o.Reporter]), history, c.now) {
			idle = append(idle, key)
			return true
		}
		k := kind{o.Class, o.Level, o.Reporter, o.Organisation, o.TrapDomain}
		if counted[k] == nil {
			kinds = append(kinds, k)
		}
		counted[k] = append(counted[k], key)
		return true
	})
	for ; excess > 0 && len(idle) > 0; excess-- {
		if err := c.dropObservation(r, idle[len(idle)-1]); err != nil {
			return err
		}
		idle = idle[:len(idle)-1]
	}
	var first []byte
	for _, keys := range counted {
		if oldest := keys[len(keys)-1]; first == nil || bytes.Compare(oldest, first) < 0 {
			first = oldest
		}
	}
	for ; excess > 0 && len(kinds) > 0; excess-- {
		most := slices.MaxFunc(kinds, func(a, b kind) int { return len(counted[a]) - len(counted[b]) })
		keys := counted[most]
		last := len(keys) - 1
		if last < 0 {
			break // the others are damaged, and only in the way of Verify
		}
		if last > 0 && bytes.Equal(keys[last], first) {
			last--
		}
		if err := c.dropObservation(r, keys[last]); err != nil {
			return err
		}
		counted[most] = slices.Delete(keys, last, last+1)
	}
	return nil
}

func (c *change) dropObservation(r *record, key []byte) error {
	if err := c.bucket(bucketObservations).Delete(key); err != nil {
		return fmt.Errorf("drop an old observation of %s: %w", r.Key, err)
	}
	r.Kept--
	c.meta.Observations--
	return nil
}
