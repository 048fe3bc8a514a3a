package listing_test

import (
	"testing"
	"time"

	"backscatter/listing"
)

// A change of keys changes all hashes. What was seen before is a duplicate all
// the same, and a message and a recipient that were seen before are the same.
func TestFormerKeys(t *testing.T) {
	t.Parallel()
	s := start(t)
	former := bounce(1, "192.0.2.66", time.Now())
	s.observe(former)
	now := func(n int, o listing.Observation) listing.Observation {
		o.Former = []listing.Identities{{ID: o.ID, Recipient: o.Recipient, Original: o.Original}}
		o.ID, o.Recipient, o.Original = id(1000+n), id(2000+n), id(3000+n)
		return o
	}
	again := now(1, former)
	if out := s.observe(again); !out.Duplicate || out.Decision.Events != 1 {
		t.Errorf("once more: %+v", out)
	}
	other := former
	other.ID, other.Reporter, other.Organisation = id(2), "other", "other"
	out := s.observe(now(2, other))
	if out.Duplicate || out.Decision.Events != 2 {
		t.Errorf("by somebody else: %+v", out)
	}
	x := s.explain("192.0.2.66")
	if x.Observations != 2 || x.Events[0].Original != x.Events[1].Original || x.Events[0].Recipient != x.Events[1].Recipient {
		t.Errorf("one message counts as two: %+v", x.Events)
	}
	if out := s.observe(now(3, bounce(3, "192.0.2.66", time.Now()))); out.Duplicate || out.Decision.Events != 3 {
		t.Errorf("another message: %+v", out)
	}
	if x := s.explain("192.0.2.66"); x.Events[0].Original == x.Events[1].Original && x.Events[1].Original == x.Events[2].Original {
		t.Errorf("two messages count as one: %+v", x.Events)
	}
}
