package listing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"
)

// A request is one thing that the writer is asked to do.
type request struct {
	ctx   context.Context //nolint:containedctx // of the call that waits for the reply
	obs   *Observation    // an observation, which may share a transaction with others
	texts packedTexts     // of it
	order func(*change) error
	large bool                // the order
	aside func(*writer) error // between two transactions
	wait  *prometheus.Timer
	reply chan reply // room for one: the writer never waits for who asked
}

type reply struct {
	outcome Outcome
	change  *change // of an order, after the commit
	err     error
}

const (
	// groupLimit bounds the observations that share a transaction.
	groupLimit = 256
	// sleepLimit bounds how long the writer sleeps, whatever the next moment in
	// the index: the clock may be set, and the machine may have slept.
	sleepLimit = time.Minute
	// retryFirst and retryLimit bound the pause before the file is opened anew
	// after a failed commit.
	retryFirst = 100 * time.Millisecond
	retryLimit = 10 * time.Second
	// bulk is the size of a change, or of a list that was read, which takes so much
	// memory that it is given back, when whoever waits for it has what it asked for.
	bulk     = 50_000
	giveBack = 5 * time.Second
	// frugalGC is how much garbage, as a part of what is in use, may lie about while
	// an order of that size is done: percent.
	frugalGC = 40
)

// Run is the one writer, and the actor that ends what has had its time. It
// returns when ctx ends; what was not begun by then gets [ErrClosed]. A failed
// commit does not end it: the callers get [ErrUnavailable] until the file was
// opened anew, checked and written to.
func (s *Store) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return fmt.Errorf("run store %s: it runs already", s.path)
	}
	defer s.shut()
	timer := time.NewTimer(0)
	defer timer.Stop()
	w := writer{Store: s, expected: 1, retry: stopped(), group: group{enough: stopped()}}
	if s.Snapshot().Len() >= bulk {
		w.bulky = s.clock()
	}
	defer w.background.Wait()
	defer w.retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-s.requests:
			w.serve(ctx, r)
		case <-timer.C:
			w.tick()
		case <-w.retry.C:
			w.reopen()
		case r := <-w.renewed:
			w.finishRenewal(r)
		}
		timer.Reset(w.pause())
	}
}

// stopped returns a timer that does not run.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// shut answers whoever still waits, for good.
func (s *Store) shut() {
	s.doneOnce.Do(func() { close(s.done) })
	for {
		select {
		case r := <-s.requests:
			r.reply <- reply{err: ErrClosed}
		default:
			return
		}
	}
}

// writer is what only the goroutine of Run touches, beside Store.state.
type writer struct {
	*Store
	group    group          // that is gathered and stored
	expected int            // size of the last group: wait for as many again
	retry    *time.Timer    // runs when the file is to be opened anew
	backoff  time.Duration  // how long that timer ran last; 0: the last commit was good
	busy     bool           // more is due than one step did
	ending   pace           // of the steps that end what is due
	due      int            // how much the last of them found
	held     time.Duration  // how long the last transaction took, all in all
	alone    bool           // end one thing at a time, to find which fails
	sweep    []byte         // where the walk through the identities goes on
	kept     []byte         // where the walk through the records goes on
	dropped  map[string]int // by the task under way, for the metric
	more     bool           // a step of pruning did not do all that there is

	former *database       // that was closed after a failed commit
	closed <-chan struct{} // closed when it is

	background sync.WaitGroup // what writes the image, and makes the table of endings
	renewed    <-chan renewal // what the latter made; nil: it does not run
	renewing   int            // renewals when it began
	bulky      time.Time      // when a change was made that took much memory; zero: none since it was given back
	survey     survey         // of what is due
	cleared    time.Time      // what was to end by then may end

	// When things were last done: by the clock, which may be set.
	looked    time.Time // the clock was looked at
	refreshed time.Time // the table of endings was made anew
	pruned    time.Time
	pictured  time.Time // an image was written
	rested    time.Time // ending failed, and so did putting it off
}

// do hands a request to the writer and waits for the reply.
func (s *Store) do(ctx context.Context, r *request) (reply, error) {
	r.ctx, r.reply, r.wait = ctx, make(chan reply, 1), s.metrics.waiting()
	select {
	case <-s.done:
		return reply{}, ErrClosed
	default:
	}
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return reply{}, fmt.Errorf("wait for the store: %w", context.Cause(ctx))
	case <-s.done:
		return reply{}, ErrClosed
	}
	select {
	case p := <-r.reply:
		return p, p.err
	case <-ctx.Done():
		// It may be done all the same; an observation's identity makes a
		// second try harmless.
		return reply{}, fmt.Errorf("wait for the store: %w", context.Cause(ctx))
	case <-s.done:
	}
	select {
	case p := <-r.reply:
		return p, p.err
	default:
		return reply{}, ErrClosed
	}
}

// serve does a request, and with it those that come at the same time.
func (w *writer) serve(ctx context.Context, r *request) {
	if r.obs != nil {
		r = w.observeGroup(ctx, r)
	}
	if r != nil {
		w.orderAlone(r)
	}
}

// group is the observations that share a transaction.
type group struct {
	members []*request
	replies []reply
	order   *request // that came after them; nil: none did
	waits   bool
	enough  *time.Timer // runs from when the writer first waits for more
}

// empty makes room for the next group, in the same memory.
func (g *group) empty() {
	clear(g.members)
	clear(g.replies)
	g.members, g.replies, g.order, g.waits = g.members[:0], g.replies[:0], nil, false
}

func (g *group) add(r *request) {
	if r.obs == nil {
		g.order = r
		return
	}
	g.members, g.replies = append(g.members, r), append(g.replies, reply{})
}

// gather adds what waits already. When nothing does, and the last group was larger,
// its senders are likely to be on their way back with more: it gives them a moment
// ([Settings.GroupWait]), until the first of them is there.
func (w *writer) gather(ctx context.Context, g *group) {
	for came := false; len(g.members) < groupLimit && g.order == nil; came = true {
		select {
		case r := <-w.requests:
			g.add(r)
			continue
		default:
		}
		if came || len(g.members) >= w.expected {
			return
		}
		if !g.waits {
			g.waits = true
			g.enough.Reset(w.settings.Load().GroupWait)
		}
		select {
		case r := <-w.requests:
			g.add(r)
		case <-g.enough.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// observeGroup stores observations in one transaction, each as it comes, and returns
// the order that came after them, if one did. One that cannot be stored does not keep
// the others from it.
func (w *writer) observeGroup(ctx context.Context, first *request) (order *request) {
	g := &w.group
	g.add(first)
	c, err := w.transact(func(c *change) error {
		for done := 0; done < len(g.members); {
			from := done
			done = len(g.members)
			if err := c.observeAll(g.members[from:], g.replies[from:]); err != nil {
				return err
			}
			w.gather(ctx, g)
		}
		return nil
	})
	if g.waits {
		g.enough.Stop()
	}
	w.expected = len(g.members)
	w.metrics.groups.Observe(float64(len(g.members)))
	for i, r := range g.members {
		if err != nil {
			g.replies[i] = reply{err: err}
		} else {
			g.replies[i].outcome.Sequence = c.meta.Sequence
		}
		w.metrics.observed(r, g.replies[i])
		r.reply <- g.replies[i]
	}
	order = g.order
	g.empty()
	return order
}

// orderAlone does one order in a transaction of its own.
func (w *writer) orderAlone(r *request) {
	if r.ctx.Err() != nil {
		r.reply <- reply{err: context.Cause(r.ctx)}
		return
	}
	if r.aside != nil {
		r.reply <- reply{err: r.aside(w)}
		return
	}
	if r.large {
		defer debug.SetGCPercent(debug.SetGCPercent(frugalGC))
	}
	c, err := w.transact(r.order)
	if errors.Is(err, errDryRun) {
		err = nil
	}
	r.reply <- reply{change: c, err: err}
}

// transact runs fn in a transaction, commits, publishes, and keeps the state of
// health: after a failed commit nothing is written until the file was opened
// anew.
func (w *writer) transact(fn func(*change) error) (*change, error) {
	if w.db == nil {
		return nil, w.unavailable()
	}
	began := clock()
	c, err := w.runAlone(fn)
	w.held = clock().Sub(began)
	w.metrics.hold.Observe(w.held.Seconds())
	var failed *commitError
	switch {
	case errors.As(err, &failed):
		w.broken(failed)
		return nil, w.unavailable()
	case err == nil:
		w.backoff = 0
		if len(c.added)+len(c.removed) >= bulk {
			w.bulky = w.clock()
		}
	}
	return c, err
}

func (s *Store) unavailable() error {
	why := "the file is closed"
	if p := s.health.Load(); p != nil {
		why = *p
	}
	return fmt.Errorf("write store %s: %w: %s", s.path, ErrUnavailable, why)
}

// commitError is a failure after which nobody knows what is on the disk.
type commitError struct{ err error }

func (e *commitError) Error() string { return e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// runAlone runs fn in a transaction: commit, then the next snapshot, then the
// swap. The order is that of package doc's first invariant. With errDryRun from
// fn nothing is left, and the change tells what it would have done.
func (s *Store) runAlone(fn func(*change) error) (*change, error) {
	tx, c, err := s.make(fn)
	if tx == nil {
		return nil, &commitError{err}
	}
	if err != nil || !c.wrote {
		return s.undo(tx, c, err)
	}
	timer := s.metrics.committing()
	if err := guard(func() error { return s.commit(tx) }); err != nil {
		_ = s.db.apart(tx.Rollback) // it may be rolled back already; the file is opened anew anyway
		return nil, &commitError{err}
	}
	timer.ObserveDuration()
	s.metrics.commits.WithLabelValues(commitDone).Inc()
	c.tx = nil
	s.setState(c.state)
	s.settings.Store(c.settings)
	_ = s.at(stageState)
	if c.meta.Sequence != c.current.sequence || !c.meta.Newest.Equal(c.current.newest) {
		s.swap(c.next())
	}
	if c.stale {
		s.renewEndings()
	}
	_ = s.at(stagePublished)
	return c, nil
}

// make makes a change in a transaction, which it leaves open.
func (s *Store) make(fn func(*change) error) (tx *bolt.Tx, c *change, err error) {
	err = guard(func() error {
		if err := s.at(stageBegin); err != nil {
			return err
		}
		if tx, err = s.begin(); err != nil {
			return err
		}
		c = s.newChange(tx)
		if err = fn(c); err == nil {
			err = s.at(stageChanged)
		}
		if err == nil || errors.Is(err, errDryRun) {
			if undone := c.finish(); undone != nil {
				return undone
			}
		}
		return err
	})
	if panicked, ok := errors.AsType[*panicError](err); ok {
		s.log.Error("a transaction panicked", slog.Any("err", err), slog.String("stack", string(panicked.stack)))
	}
	return tx, c, err
}

// undo ends a transaction that failed, or has nothing to write.
func (s *Store) undo(tx *bolt.Tx, c *change, err error) (*change, error) {
	if failed := guard(tx.Rollback); failed != nil {
		return nil, &commitError{errors.Join(err, failed)}
	}
	if c == nil { // the file is too damaged for a change to begin
		return nil, err
	}
	c.tx = nil
	if err == nil {
		// Those that the file says were applied: by a commit that failed, and
		// reached the disk all the same, they are not yet in force.
		s.settings.Store(c.settings)
	}
	return c, err
}

// commit ends a transaction.
func (s *Store) commit(tx *bolt.Tx) error {
	if err := s.at(stageFinished); err != nil {
		return err
	}
	if err := s.db.commit(tx); err != nil {
		return err
	}
	return s.at(stageCommitted)
}

// swap publishes the next snapshot.
func (s *Store) swap(next *Snapshot) {
	old := s.snapshot.Swap(next)
	_ = s.at(stageSwapped)
	if old != nil {
		old.Supersede()
	}
}
