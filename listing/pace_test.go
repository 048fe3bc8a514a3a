package listing_test

import (
	"testing"
	"time"

	"backscatter/listing"
)

// Steps grow to fill their time on any disk, and shrink at once on one that
// became slow.
func TestPace(t *testing.T) {
	t.Parallel()
	for _, each := range []time.Duration{time.Microsecond, 50 * time.Microsecond, 400 * time.Microsecond, 50 * time.Millisecond} {
		var p listing.Pace
		const commit = 2 * time.Millisecond
		cost := func(n int) time.Duration { return commit + time.Duration(n)*each }
		for range 30 {
			p.Took(p.Next(), cost(p.Next()))
		}
		n := p.Next()
		if cost(n) > 2*listing.StepTime && n > listing.LeastStep {
			t.Errorf("at %s each: %d take %s", each, n, cost(n))
		}
		if n < 256 && cost(n) < listing.StepTime/2 {
			t.Errorf("at %s each: only %d, which take %s", each, n, cost(n))
		}
		before := p.Next()
		p.Took(1, time.Millisecond)
		if p.Next() != before {
			t.Errorf("a step of one changes %d to %d", before, p.Next())
		}
		p.Took(before, time.Second)
		if p.Next() > max(listing.LeastStep, before/10) {
			t.Errorf("after a second: %d, was %d", p.Next(), before)
		}
	}
}
