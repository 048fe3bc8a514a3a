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
	return append(appendTime(prefixKey(k.Prefix()), at), id[:]...)
}

// identityOf returns the identity in the key of an observation.
func identityOf(key []byte) (id ID, ok bool) {
	if len(key) < keyBytes4+timeBytes+len(id) {
		return id, false
	}
	return ID(key[len(key)-len(id):]), true
}

// decodeFunc reads an observation, or of it what is needed.
type decodeFunc func(lex *lexicon, key, value []byte) (Observation, error)

// observations calls fn with what is kept of a key from the given time on,
// newest first, until it returns false. What is damaged is told and passed over:
// it can prove nothing.
func observations(tx *bolt.Tx, log *slog.Logger, k Key, from time.Time, decode decodeFunc, fn func(Observation) bool) {
	observationsBy(tx, newLexicon(tx), log, k, from, decode, fn)
}

// observationsBy is observations for who reads of many keys.
func observationsBy(tx *bolt.Tx, lex *lexicon, log *slog.Logger, k Key, from time.Time, decode decodeFunc, fn func(Observation) bool) {
	prefix := prefixKey(k.Prefix())
	last := append(bytes.Clone(prefix), 0xff)
	cursor := tx.Bucket(bucketObservations).Cursor()
	step := cursor.Prev
	if after, _ := cursor.Seek(last); after == nil {
		step = cursor.Last
	}
	for key, value := step(); bytes.HasPrefix(key, prefix); key, value = cursor.Prev() {
		if at := key[len(prefix):]; len(at) >= timeBytes && timeOf(at).Before(from) {
			return
		}
		o, err := decode(lex, key, value)
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
	return c.state.judge(c.tx, c.lex, c.log, r, c.settings.Policy, c.weigh, c.now)
}

func (st *state) judge(tx *bolt.Tx, lex *lexicon, log *slog.Logger, r *record, policy Policy, weigh weigher, now time.Time) Decision {
	evidence := make([]Evidence, 0, r.Kept)
	exempt := st.exemptHosts(r.Key)
	observationsBy(tx, lex, log, r.Key, now.Add(-policy.Window), decodeForRule, func(o Observation) bool {
		if !exempt(o.Addr) {
			evidence = append(evidence, o.Evidence(weigh(o.Reporter)))
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
	h := hoard{counted: make(map[kind][][]byte)}
	history := r.history(nil)
	observations(c.tx, c.log, r.Key, time.Time{}, decodeForRule, func(o Observation) bool {
		counts := c.settings.Policy.counts(o.Evidence(c.weigh(o.Reporter)), history, c.now)
		h.add(observationKey(r.Key, o.At, o.ID), kind{o.Class, o.Level, o.Reporter, o.Organisation, o.TrapDomain}, counts)
		return true
	})
	for r.Kept > trimTo {
		key := h.next()
		if key == nil {
			return nil // the others are damaged, and only in the way of Verify
		}
		if err := c.drop(key); err != nil {
			return fmt.Errorf("drop an old observation of %s: %w", r.Key, err)
		}
		r.Kept--
		c.meta.Observations--
	}
	return nil
}

// drop takes out an observation that could be handed in again, and notes that it
// was here.
func (c *change) drop(key []byte) error {
	if id, ok := identityOf(key); ok {
		at := timeOf(key[len(key)-len(id)-timeBytes:])
		if err := c.bucket(bucketSeen).Put(id[:], encodeStamp(id[:], at)); err != nil {
			return fmt.Errorf("note identity %s: %w", id, err)
		}
	}
	if err := c.dropHeaderOf(key); err != nil {
		return err
	}
	return c.bucket(bucketObservations).Delete(key)
}

// hoard holds the keys of all observations of a key, those of each kind newest
// first.
type hoard struct {
	idle    [][]byte // of what counts for nothing
	kinds   []kind   // as they turn up: to choose by the order of a map would be chance
	counted map[kind][][]byte
	first   []byte // of the oldest that counts
}

// add takes a key that is not newer than those before it.
func (h *hoard) add(key []byte, k kind, counts bool) {
	if !counts {
		h.idle = append(h.idle, key)
		return
	}
	if h.counted[k] == nil {
		h.kinds = append(h.kinds, k)
	}
	h.counted[k] = append(h.counted[k], key)
	h.first = key
}

// next takes out the key of what is to go next; nil when there is no more.
func (h *hoard) next() []byte {
	if last := len(h.idle) - 1; last >= 0 {
		key := h.idle[last]
		h.idle = h.idle[:last]
		return key
	}
	if len(h.kinds) == 0 {
		return nil
	}
	most := slices.MaxFunc(h.kinds, func(a, b kind) int { return len(h.counted[a]) - len(h.counted[b]) })
	keys := h.counted[most]
	last := len(keys) - 1
	if last > 0 && bytes.Equal(keys[last], h.first) {
		last--
	}
	if last < 0 {
		return nil
	}
	key := keys[last]
	h.counted[most] = slices.Delete(keys, last, last+1)
	return key
}
