package listing

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bolt "go.etcd.io/bbolt"
)

// What callers of the store branch on. Every error of the store that is not
// about its arguments wraps one of these.
var (
	ErrLocked      = errors.New("the store is in use by another process")
	ErrForeign     = errors.New("the file is no listing store")
	ErrTooNew      = errors.New("the store was written by a newer version")
	ErrDamaged     = errors.New("the store is damaged")
	ErrLost        = errors.New("the store was here and is gone")
	ErrUnavailable = errors.New("the store cannot write now")
	ErrClosed      = errors.New("the store is closed")
	ErrNoReason    = errors.New("a reason is required")
	ErrNotListed   = errors.New("not listed")
	ErrOverlap     = errors.New("overlaps another operator's listing")
	ErrExempt      = errors.New("exempt from listing")
	ErrNotExempt   = errors.New("no such exemption")
	ErrCut         = errors.New("the journal does not reach back so far")
)

// Options are what a store is opened with.
type Options struct {
	Settings Settings
	Logger   *slog.Logger          // nil: no logs
	Metrics  prometheus.Registerer // nil: no metrics
}

// Store is the list on disk and the snapshot made from it. Reading methods and
// orders may be called from any goroutine; orders and observations wait until
// [Store.Run] has committed them.
type Store struct {
	path     string
	log      *slog.Logger
	metrics  *metrics
	snapshot atomic.Pointer[Snapshot]
	settings atomic.Pointer[Settings]
	health   atomic.Pointer[string] // why the store cannot write; nil when it can

	requests   chan *request
	running    atomic.Bool
	imaging    sync.Mutex    // guards the file of the image
	imageFrom  atomic.Int64  // entries, for an image to be written; tests lower it
	imaged     atomic.Uint64 // sequence of the image that this store wrote last
	compacting sync.Mutex    // held while the store is compacted
	done       chan struct{} // closed when no request will be answered any more
	doneOnce   sync.Once

	// dbLock lets readers begin; the writer takes it whole to put another file
	// there, and to reopen it.
	dbLock sync.RWMutex
	db     *database // nil when closed, or lost after a failed commit

	// state belongs to the writer: Open, then Run.
	state     state
	renewals  int                    // of the table of endings, at once
	brakesNow atomic.Pointer[brakes] // those of the state, for all to read
	wide      refusedWide
	clock     func() time.Time  // tests set it
	touched   *touched          // by a compaction under way
	onStage   func(stage) error // tests set it
	// compactStep is what happens at the steps of a compaction, in tests.
	compactStep func(string) error
}

// queueLength bounds the requests that wait for the writer: more than one
// group, so that the next group fills while one commits.
const queueLength = 1024

// Open opens the store at path, makes it when there is none, and brings it in
// line with the settings. It writes nothing into a file that it refuses.
func Open(path string, o Options) (*Store, error) {
	s := newStore(path, o.Logger)
	if err := o.Settings.Validate(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	var img *image
	var noImage error
	var beside sync.WaitGroup // the file is checked meanwhile; should the image not fit, that is found out
	beside.Go(func() { img, noImage = readImage(path) })
	db, err := openFile(path, s.now())
	beside.Wait()
	if err != nil {
		return nil, err
	}
	s.db = db
	if err := removeAll(compactName(path)); err != nil { // a crash in the middle of a compaction leaves it
		s.log.Warn("what a compaction left behind cannot be removed", slog.Any("err", err))
	}
	if err := s.load(o.Settings, img, noImage); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := s.metrics.register(o.Metrics); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func newStore(path string, logger *slog.Logger) *Store {
	s := &Store{
		path:        path,
		log:         logger,
		requests:    make(chan *request, queueLength),
		done:        make(chan struct{}),
		compactStep: func(string) error { return nil },
		clock:       clock,
	}
	s.imageFrom.Store(imageFrom)
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.metrics = newMetrics(s)
	return s
}

// load makes the snapshot that the database says was published, then applies
// the settings as a change of its own.
func (s *Store) load(settings Settings, img *image, noImage error) error {
	st, snap, err := s.recoverState(img, noImage)
	if err != nil {
		return fmt.Errorf("open store %s: %w", s.path, err)
	}
	s.setState(st)
	s.snapshot.Store(snap)
	s.settings.Store(&settings)
	order := Order{By: Actor{UID: -1, Name: actorStart}, Reason: "the configuration at start"}
	apply := func(held *heldError) error {
		_, err := s.runAlone(func(c *change) error { return errors.Join(c.noteClock(c.brakes.Seen), c.apply(order, settings, held)) })
		return err
	}
	err = apply(nil)
	if held, ok := errors.AsType[*heldError](err); ok {
		err = apply(held)
	}
	if err != nil {
		return fmt.Errorf("open store %s: apply the configuration: %w", s.path, err)
	}
	s.renewEndings()
	return nil
}

// setState puts a state in force.
func (s *Store) setState(st state) {
	s.state = st
	if told := s.brakesNow.Load(); told == nil || *told != st.brakes {
		on := st.brakes
		s.brakesNow.Store(&on)
	}
}

// Close closes the database. Run must have returned, or never been called.
func (s *Store) Close() error {
	s.doneOnce.Do(func() { close(s.done) })
	s.dbLock.Lock()
	defer s.dbLock.Unlock()
	if s.db == nil {
		return nil
	}
	if s.health.Load() == nil {
		s.writeImage(s.snapshot.Load())
	}
	db := s.db
	s.db = nil
	if err := db.Close(); err != nil {
		return fmt.Errorf("close store %s: %w", s.path, err)
	}
	return nil
}

// Snapshot returns what is published now.
func (s *Store) Snapshot() *Snapshot { return s.snapshot.Load() }

// Settings returns the settings in force.
func (s *Store) Settings() Settings { return *s.settings.Load() }

// view runs fn in a read transaction.
func (s *Store) view(fn func(tx *bolt.Tx, now time.Time) error) error {
	return guard(func() error {
		now, err := s.reader()
		if err != nil {
			return err
		}
		defer now.end()
		return fn(now.tx, s.now())
	})
}

// reader begins a read transaction. The writer may put another file in the place
// of that which it reads; the end of the transaction lets go of it.
func (s *Store) reader() (*reading, error) {
	s.dbLock.RLock()
	defer s.dbLock.RUnlock()
	if s.db != nil {
		if err := still(s.path); err != nil {
			return nil, fmt.Errorf("read store %s: %w", s.path, err)
		}
		return s.db.read()
	}
	select {
	case <-s.done:
		return nil, ErrClosed
	default:
		return nil, fmt.Errorf("read store %s: %w", s.path, ErrUnavailable)
	}
}

// Actor is who asked for a change.
type Actor struct {
	UID  int    `json:"uid"`            // of the process at the other end of the control socket; -1 for none
	Name string `json:"name,omitempty"` // of the user, or of the part of the program that acted
	Via  string `json:"via,omitempty"`  // control socket, offline
}

// Order is what every change by an operator carries.
type Order struct {
	By     Actor  `json:"by"`
	Reason string `json:"reason"`
	DryRun bool   `json:"dry_run,omitempty"` // compute the difference, change nothing
}

// Manual is one listing that an operator asks for.
type Manual struct {
	Key   Key       `json:"key"`
	Until time.Time `json:"until,omitzero"` // zero: permanent
}

// Problem is one part of an order that could not be done, and why.
type Problem struct {
	Key string `json:"key"`
	Why string `json:"why"`
}

// Result is what an order changed in what is published.
type Result struct {
	Sequence uint64    `json:"sequence"`
	Added    []Entry   `json:"added"`
	Removed  []Entry   `json:"removed"`
	Skipped  []Problem `json:"skipped,omitempty"`
	DryRun   bool      `json:"dry_run,omitempty"`
}

// Outcome is what became of an observation. It is told after the commit.
type Outcome struct {
	Duplicate bool     `json:"duplicate,omitempty"` // its ID was seen before; nothing was counted
	Stale     bool     `json:"stale,omitempty"`     // older than the window; not kept
	Exempt    bool     `json:"exempt,omitempty"`    // kept, and not counted
	Listed    bool     `json:"listed,omitempty"`    // the key is listed by evidence now
	Key       Key      `json:"key"`
	Decision  Decision `json:"decision"`
	Sequence  uint64   `json:"sequence"` // of the snapshot that shows it
}

// Filter chooses a page of listings, in the order of their keys.
type Filter struct {
	Class  Class        // ClassOther: all
	Within netip.Prefix // zero: everywhere
	By     Source       // what it is listed by, among others; zero: whatever
	After  Key          // the last key of the page before; zero: from the start
	Limit  int          // at most 1000, which is also what 0 means
}
