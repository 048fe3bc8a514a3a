package listing

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"
)

// What is dropped for its age is gone for good, and could as well be dropped a week
// later. So after the clock jumped, age is measured by what it said before, until it
// went on evenly for a week, or an operator says that it is right. A store that did
// not run for long cannot tell that from a jump: it goes on like any other, and drops
// a week later what grew old meanwhile.
const (
	// jumpLimit is how far the clock may move from one look at it to the next.
	jumpLimit = 24 * time.Hour
	// doubtTime is how long a clock that jumped is not believed.
	doubtTime = 7 * 24 * time.Hour
	// stampEvery is how often what the clock says is stored, for the next start: often
	// enough that a restart is no jump, and seldom enough that it costs nothing.
	stampEvery = 12 * time.Hour
)

// watchClock looks whether the clock jumped since it was looked at last. It writes
// only when it did, when it is believed again, when an operator let things end by a clock that
// was ahead, and every [stampEvery].
func (w *writer) watchClock(at time.Time) {
	b := &w.state.brakes
	last := cmp.Or(w.looked, b.Seen)
	if b.noted(last, at) || w.regular(task{"note the clock", func(c *change) error { return c.noteClock(last) }}) {
		w.looked = at
	}
}

// noted reports whether there is nothing to note of the clock.
func (b *brakes) noted(last, now time.Time) bool {
	return !jumped(last, now) && !b.believedAgain(now) && !b.Cleared.After(now) && now.Sub(b.Seen).Abs() < stampEvery
}

func jumped(last, now time.Time) bool { return !last.IsZero() && now.Sub(last).Abs() > jumpLimit }

func (b *brakes) believedAgain(now time.Time) bool {
	return !b.Jumped.IsZero() && now.Sub(b.Jumped) >= doubtTime
}

// believed returns what age is measured by.
func (b *brakes) believed(now time.Time) time.Time {
	if b.Jumped.IsZero() || b.Believed.After(now) {
		return now
	}
	return b.Believed
}

// noteClock notes what the clock says, and that it jumped since a last look.
func (c *change) noteClock(last time.Time) error {
	b := &c.brakes
	switch {
	case b.noted(last, c.now):
		return nil
	case jumped(last, c.now):
		if b.Jumped.IsZero() {
			b.Believed = last
		}
		b.Jumped = c.now
		why := fmt.Sprintf("nothing is dropped for its age for %s: the clock went from %s to %s at once",
			words(doubtTime), last.Format(time.RFC3339), c.now.Format(time.RFC3339))
		c.log.Warn("the clock jumped, or the store did not run; if the clock is right, 'backscatter resume' has it believed at once",
			slog.String("why", why))
		c.note(AuditEntry{Action: ActionBrake, By: Actor{UID: -1, Name: actorWriter}, Reason: why})
	case b.believedAgain(c.now):
		b.Jumped, b.Believed = time.Time{}, time.Time{}
	}
	if b.Cleared.After(c.now) { // an operator let what was over by a clock that was wrong
		b.Cleared = time.Time{}
	}
	b.Seen = c.now
	return nil
}

// prune does a regular task that drops what is old. Such a task publishes nothing
// and leaves nothing in the audit, so that age is all that it takes the time for; and
// that is the time that was looked at, since the clock may jump before the task begins.
func (w *writer) prune(what string, fn func(*change) error) {
	w.regular(task{"prune " + what, func(c *change) error {
		c.now = c.brakes.believed(w.looked)
		return fn(c)
	}})
}
