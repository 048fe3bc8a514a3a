package listing

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// reporterVersion2 begins the value of a reporter with relays or keys; without
// them it is written as ever, so that an older program reads it.
const reporterVersion2 = 0xa2

// reporterVersion3 begins that of a reporter whose probation others confirm.
const reporterVersion3 = 0xa3

// Bounds of what one reporter has.
const (
	maxReporterKeys   = 8
	maxReporterRelays = 64
	minRelayBits4     = 8 // wider relays are a slip: whoever is in them is believed
	minRelayBits6     = 7
)

// ReporterKey is a key by which a reporter signs what it sends over the network.
// A reporter has several while it goes over to a new one.
type ReporterKey struct {
	ID     ID        `json:"id"`     // [KeyID] of the key
	Public []byte    `json:"public"` // Ed25519, 32 bytes (RFC 8032)
	Added  time.Time `json:"added"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

// KeyID names a public key: the first half of its SHA-256.
func KeyID(public []byte) ID {
	sum := sha256.Sum256(public)
	return ID(sum[:len(ID{})])
}

func (e *encoder) remote(r *Enrolment) {
	e.prefixes(r.Relays)
	e.uint(uint64(len(r.Keys)))
	for _, k := range r.Keys {
		e.text(string(k.Public))
		e.time(k.Added)
		e.text(k.By)
		e.text(k.Reason)
	}
}

func (d *decoder) remote(r *Enrolment) {
	r.Relays = d.prefixes()
	for range d.count() {
		k := ReporterKey{Public: []byte(d.text()), Added: d.time(), By: d.text(), Reason: d.text()}
		if len(k.Public) != ed25519.PublicKeySize {
			d.fail("has a key of %d bytes", len(k.Public))
		}
		k.ID = KeyID(k.Public)
		r.Keys = append(r.Keys, k)
	}
}

func (e *encoder) prefixes(list []netip.Prefix) {
	e.uint(uint64(len(list)))
	for _, p := range list {
		e.prefix(p)
	}
}

func (d *decoder) prefixes() (list []netip.Prefix) {
	for range d.count() {
		list = append(list, d.prefix())
	}
	return list
}

// ReporterByKey returns the reporter that has a key, and the key. It returns
// [ErrReporter] when nobody has it.
func (s *Store) ReporterByKey(id ID) (Enrolment, ReporterKey, error) {
	settings := s.settings.Load()
	var of Enrolment
	var key ReporterKey
	err := s.view(func(tx *bolt.Tx, now time.Time) error {
		var st state
		if err := st.readReporters(tx); err != nil {
			return err
		}
		name, found := st.ownerOf(id)
		if !found {
			return fmt.Errorf("key %s: %w", id, ErrReporter)
		}
		r := st.enrolment(settings, name, now)
		if r == nil {
			return fmt.Errorf("key %s, of %s: %w", id, name, ErrReporter)
		}
		of, key = *r, r.Keys[r.keyAt(id)]
		return nil
	})
	return of, key, err
}

// ownerOf returns who has a key.
func (st *state) ownerOf(id ID) (string, bool) {
	for name, r := range st.reporters {
		if r.keyAt(id) >= 0 {
			return name, true
		}
	}
	return "", false
}

func (r *Enrolment) keyAt(id ID) int {
	return slices.IndexFunc(r.Keys, func(k ReporterKey) bool { return k.ID == id })
}

// refusing makes a refusal of an order about a reporter.
type refusing func(cause error, format string, args ...any) (Enrolment, error)

// changedRemote carries out what an order changes of keys and relays.
func (c *change) changedRemote(o ReporterOrder, r Enrolment, configured bool, refuse refusing) (Enrolment, error) {
	switch o.Action {
	case ActionAddKey:
		return c.withKey(o, r, refuse)
	case ActionRemoveKey:
		at := r.keyAt(o.KeyID)
		if at < 0 {
			return refuse(nil, "has no key %s", o.KeyID)
		}
		r.Keys = slices.Delete(slices.Clone(r.Keys), at, at+1)
	case ActionRelays:
		if configured {
			return refuse(nil, "has its relays from the configuration: change them there, and reload")
		}
		if why := relaysFault(o.Relays); why != "" {
			return refuse(nil, "%s", why)
		}
		r.Relays = slices.Clone(o.Relays)
	default:
		return Enrolment{}, fmt.Errorf("order %q about a reporter is not known", o.Action)
	}
	return r, nil
}

// withKey adds a key. A key tells who signed, so that no two may have the same.
func (c *change) withKey(o ReporterOrder, r Enrolment, refuse refusing) (Enrolment, error) {
	id := KeyID(o.Key)
	owner, taken := c.ownerOf(id)
	switch {
	case len(o.Key) != ed25519.PublicKeySize:
		return refuse(nil, "the key has %d bytes, want the %d of a public key of Ed25519", len(o.Key), ed25519.PublicKeySize)
	case taken && (o.Action != ActionEnrol || owner != o.Name): // enrolled anew, it may keep its key
		return refuse(nil, "the key %s is %s's", id, owner)
	case len(r.Keys) >= maxReporterKeys:
		return refuse(nil, "has %d keys; remove one first", len(r.Keys))
	}
	r.Keys = append(slices.Clone(r.Keys), ReporterKey{ID: id, Public: slices.Clone(o.Key), Added: c.now, By: o.By.String(), Reason: o.Reason})
	return r, nil
}

func relaysFault(relays []netip.Prefix) string {
	if len(relays) > maxReporterRelays {
		return fmt.Sprintf("%d relays, want at most %d", len(relays), maxReporterRelays)
	}
	for i, p := range relays {
		least := minRelayBits6
		if p.Addr().Is4() {
			least = minRelayBits4
		}
		switch x := (Exemption{Prefix: p, Reason: "relay"}); {
		case x.Validate() != nil:
			return fmt.Sprintf("relay %s: %s", p, x.Validate())
		case p.Bits() < least:
			return fmt.Sprintf("relay %s is wider than /%d, and all hosts in it would be believed; name the relays alone", p, least)
		case slices.Contains(relays[:i], p):
			return fmt.Sprintf("relay %s is there twice", p)
		}
	}
	return ""
}

// told is what the audit tells of an order about a reporter.
func (o *ReporterOrder) told(r *Enrolment) map[string]any {
	out := map[string]any{"reporter": r.Name, "organisation": r.Organisation, "weight": r.Weight}
	switch {
	case o.Action == ActionRemoveKey:
		out["key"] = o.KeyID
	case len(o.Key) > 0:
		out["key"] = KeyID(o.Key)
	}
	if o.Action == ActionRelays || len(o.Relays) > 0 {
		out["relays"] = r.Relays
	}
	return out
}
