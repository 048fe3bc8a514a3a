package listing

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// WideError is a prefix that is wider than may be listed. It wraps [ErrKey].
type WideError struct {
	Prefix netip.Prefix
	widest int
}

// Error names the prefix and the bound.
func (e *WideError) Error() string {
	return fmt.Sprintf("%s is wider than /%d: %s", e.Prefix, e.widest, ErrKey)
}

// Unwrap returns [ErrKey].
func (e *WideError) Unwrap() error { return ErrKey }

// WideStatus is what the brake on wide prefixes refused since the start. It is on at
// all times; what it refused is a typing error, or a list of somebody else's that
// is not what it was.
type WideStatus struct {
	Refused int          `json:"refused"`
	Last    time.Time    `json:"last"` // when it refused one
	Prefix  netip.Prefix `json:"prefix"`
}

// refusedWide counts what the brake on wide prefixes refused.
type refusedWide struct {
	mu  sync.Mutex // guards the other
	was WideStatus
}

// Refused counts what a text was refused for where that is a [WideError]: a prefix
// that is too wide is no [Key], so it is whoever reads the orders who meets it.
func (s *Store) Refused(err error) {
	wide, ok := errors.AsType[*WideError](err)
	if !ok {
		return
	}
	s.wide.mu.Lock()
	defer s.wide.mu.Unlock()
	s.wide.was = WideStatus{Refused: s.wide.was.Refused + 1, Last: s.now(), Prefix: wide.Prefix}
}

// status returns nil when nothing was refused.
func (r *refusedWide) status() *WideStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.was.Refused == 0 {
		return nil
	}
	out := r.was
	return &out
}

func (r *refusedWide) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.was.Refused
}
