package listing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ErrDecommissioned says that a list has ended; its opposite is an order to take
// that back when it has not.
var (
	ErrDecommissioned    = errors.New("the list is decommissioned")
	ErrNotDecommissioned = errors.New("the list is not decommissioned")
)

// Decommission is the end of a list (RFC 6471 §3.4): it publishes nothing any
// more, so that nobody loses mail by it, and says so. The records stay, and what
// is ordered and reported is kept as before.
type Decommission struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
}

func (d *Decommission) encode(key []byte) []byte {
	e := newEncoder(decommissionVersion)
	e.time(d.At)
	e.text(d.By)
	e.text(d.Reason)
	return e.seal(key)
}

// readDecommission reads whether the list has ended. It comes before the
// exemptions, since all of an ended list is hidden.
func (st *state) readDecommission(tx *bolt.Tx) error {
	st.ended = Decommission{}
	value := tx.Bucket(bucketMeta).Get(keyDecommission)
	if value == nil {
		return nil
	}
	d := openValue(keyDecommission, value, decommissionVersion)
	st.ended = Decommission{At: d.time(), By: d.text(), Reason: d.text()}
	if err := d.finish(); err != nil {
		return fmt.Errorf("whether the list is decommissioned: %w", err)
	}
	return nil
}

// Decommission ends the list: all of it leaves the published state in one serial,
// and the snapshot says since when. With undo it comes back, less what has had its
// time meanwhile. The journal begins anew with either, since more than entries
// comes and goes.
func (s *Store) Decommission(ctx context.Context, o Order, undo bool) (Result, error) {
	name := "decommission"
	if undo {
		name = "undo decommission"
	}
	return s.order(ctx, name, o, 1, func(c *change) ([]Problem, error) {
		var refused refusals
		switch {
		case !undo && !c.ended.At.IsZero():
			refused.add(named("the list"), ErrDecommissioned, "is decommissioned since %s: %s", c.ended.At.Format(time.RFC3339), c.ended.Reason)
		case undo && c.ended.At.IsZero():
			refused.add(named("the list"), ErrNotDecommissioned, "is not decommissioned")
		}
		if err := refused.err(name); err != nil {
			return nil, err
		}
		return nil, c.decommission(o, undo)
	})
}

func (c *change) decommission(o Order, undo bool) error {
	b := c.bucket(bucketMeta)
	action := ActionDecommission
	var err error
	if undo {
		action, c.ended = ActionRecommission, Decommission{}
		err = b.Delete(keyDecommission)
	} else {
		c.ended = Decommission{At: c.now, By: o.By.String(), Reason: o.Reason}
		err = b.Put(keyDecommission, c.ended.encode(keyDecommission))
	}
	if err != nil {
		return fmt.Errorf("write whether the list is decommissioned: %w", err)
	}
	c.findHoles()
	c.cut, c.stale = true, true
	c.dirty = []netip.Prefix{all4, all6}
	c.note(AuditEntry{Action: action, By: o.By, Reason: o.Reason})
	return nil
}
