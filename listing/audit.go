package listing

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// What an audit entry can be about.
const (
	ActionEvidence     = "evidence" // evidence began a listing; the detail is the decision
	ActionExpire       = "expire"   // listings or exemptions reached their end
	ActionList         = "list"
	ActionDelist       = "delist"
	ActionExempt       = "exempt"
	ActionUnexempt     = "unexempt"
	ActionApply        = "apply" // other settings
	ActionRecover      = "recover"
	ActionBrake        = "brake"  // one was put on; the reason says which, and why
	ActionResume       = "resume" // they were lifted; the detail tells how they were
	ActionDecommission = "decommission"
	ActionRecommission = "recommission"
	ActionRevoke       = "revoke" // the detail tells what was chosen, and what ended by it

	ActionEnrol     = "enrol" // these are about a reporter, which the detail names
	ActionSuspend   = "suspend"
	ActionReinstate = "reinstate"
	ActionWeigh     = "weigh"
	ActionAddKey    = "add-key"
	ActionRemoveKey = "remove-key"
	ActionRelays    = "relays"
	ActionAgree     = "agree" // others confirmed what a reporter on probation had reported
)

// The parts of the program that act without an operator.
const (
	actorEvidence = "evidence"
	actorExpiry   = "expiry"
	actorWriter   = "store"
	actorStart    = "start"
)

// AuditEntry is one event of the audit. Each carries the hash of the one before
// it, so that none can be changed or taken out unnoticed.
type AuditEntry struct {
	Number   uint64          `json:"number"` // from 1, without gaps
	Time     time.Time       `json:"time"`
	Action   string          `json:"action"`
	By       Actor           `json:"by"`
	Reason   string          `json:"reason"`
	Sequence uint64          `json:"sequence"`           // of what was published after it
	Prefixes []netip.Prefix  `json:"prefixes,omitempty"` // what it is about, at most 1000 of them when read
	Count    int             `json:"count"`              // how many those are in all
	Detail   json.RawMessage `json:"detail,omitempty"`

	packed   []byte    // the prefixes as they are stored, where they are many
	decision *Decision // which the detail tells, if it does
	previous [sha256.Size]byte
}

// AuditFilter chooses a page of the audit, oldest first.
type AuditFilter struct {
	After  uint64       // the number of the last entry of the page before; 0: from the start
	Limit  int          // at most 1000, which is also what 0 means
	Within netip.Prefix // only what touches this prefix; zero: all
}

// pageLimit bounds one page of a list.
const pageLimit = 1000

func pageSize(limit int) int {
	if limit <= 0 || limit > pageLimit {
		return pageLimit
	}
	return limit
}

// ActionAccept is what the audit calls the publication of what a brake held; the
// detail tells what.
const ActionAccept = "accept-export"

// Note leaves word of an order that is carried out elsewhere, for the audit has
// to have it before it is done.
func (s *Store) Note(ctx context.Context, o Order, action string, about any) error {
	_, err := s.order(ctx, action, o, 1, func(c *change) ([]Problem, error) {
		entry := AuditEntry{Action: action, By: o.By, Reason: o.Reason}
		var err error
		if about != nil {
			entry.Detail, err = detail(about)
		}
		c.note(entry)
		return nil, err
	})
	return err
}

// writeAudit appends an entry to the chain.
func (c *change) writeAudit(a *AuditEntry) error {
	a.Sequence = c.meta.Sequence
	a.previous = c.meta.AuditHash
	key := numberKey(a.Number)
	value := encodeAudit(key, a)
	if err := c.bucket(bucketAudit).Put(key, value); err != nil {
		return fmt.Errorf("write audit %d: %w", a.Number, err)
	}
	c.meta.Audit = a.Number
	c.meta.AuditHash = sha256.Sum256(value)
	return nil
}

// Audit returns a page of the audit.
func (s *Store) Audit(f AuditFilter) ([]AuditEntry, error) {
	out := []AuditEntry{}
	if f.After == math.MaxUint64 {
		return out, nil
	}
	limit := pageSize(f.Limit)
	err := s.view(func(tx *bolt.Tx, _ time.Time) error {
		cursor := bucketOf(tx, bucketAudit).Cursor()
		for key, value := cursor.Seek(numberKey(f.After + 1)); key != nil && len(out) < limit; key, value = cursor.Next() {
			a, err := decodeAudit(key, value)
			if err != nil {
				return err
			}
			if f.Within.IsValid() {
				a.Prefixes = slices.DeleteFunc(a.Prefixes, func(p netip.Prefix) bool { return !p.Overlaps(f.Within) })
				if len(a.Prefixes) == 0 {
					continue
				}
			}
			if len(a.Prefixes) > pageLimit {
				a.Prefixes = slices.Clone(a.Prefixes[:pageLimit]) // an import's million would stay in memory
			}
			out = append(out, a)
		}
		return nil
	})
	return out, err
}

// verifyAudit walks the chain and names the first break.
func verifyAudit(tx *bolt.Tx, m *meta) error {
	previous, number := m.AuditStart, m.AuditBase
	err := bucketOf(tx, bucketAudit).ForEach(func(key, value []byte) error {
		a, err := decodeAudit(key, value)
		if err != nil {
			return err
		}
		number++
		if a.Number != number || a.previous != previous {
			return fmt.Errorf("audit: the chain breaks before entry %d: %w", a.Number, ErrDamaged)
		}
		previous = sha256.Sum256(value)
		return nil
	})
	if err == nil && (number != m.Audit || previous != m.AuditHash) {
		err = fmt.Errorf("audit: the chain ends at entry %d of %d: %w", number, m.Audit, ErrDamaged)
	}
	return err
}
