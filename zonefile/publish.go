package zonefile

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"backscatter/listing"
)

// PublisherOptions are what a Publisher needs.
type PublisherOptions struct {
	Dir       string                   // where the files go; its parent exists
	Zone      func() *Zone             // the zone as now configured
	Formats   []Format                 // files to write
	Gzip      bool                     // a compressed copy of each beside it
	Key       *SigningKey              // signs the manifest; nil: it is not signed
	Brake     float64                  // of the list so much may come or go at once; 0: all
	Every     time.Duration            // at most so often; at least a second
	Snapshots func() *listing.Snapshot // the list as now in force
	// Changes returns the journal up to the snapshot at least, oldest first; only
	// Removals needs it.
	Changes func() iter.Seq2[listing.Change, error]
	// Forbidden returns blocks in which something must not be published, and what
	// tells why a prefix that has a part of one must not, if so; nil: all may.
	Forbidden func() ([]netip.Prefix, func(netip.Prefix) error, error)

	Logger  *slog.Logger
	Metrics *Metrics // nil: none
}

// Publisher keeps the files of one zone in one directory up to date.
type Publisher struct {
	o PublisherOptions

	mu   sync.Mutex // one publication at a time; guards what follows
	last published  // zero before the first
	held published  // what was refused; zero when the last publication was not

	former []*os.File // whose places were taken since Tidy

	step func(name string) error // nil but in tests: stops before a step

	state atomic.Pointer[State] // for those who must not wait for a publication
}

// State tells how the files are.
type State struct {
	Serial  uint32    // that they were made from; 0 before the first publication
	Current time.Time // when they were last known to be those of the list in force; zero before the first
	Err     error     // why the last publication failed; nil when it did not
	Held    bool      // it was refused, and not tried in vain
}

// published is what the files in the directory were made from.
type published struct {
	zone     *Zone
	snapshot *listing.Snapshot
	stamp    time.Time // of rbldnsd's formats
}

// File is a published file.
type File struct {
	Name    string `json:"name"`
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"`
	Changed bool   `json:"changed"` // false: it had these bytes already, and was not touched
}

// Publication is what a call of Publish did.
type Publication struct {
	Zone   string `json:"zone"`
	Dir    string `json:"dir"`
	Serial uint32 `json:"serial"`
	Files  []File `json:"files"`
}

// Changed reports whether any file changed.
func (p Publication) Changed() bool {
	return slices.ContainsFunc(p.Files, func(f File) bool { return f.Changed })
}

// NewPublisher returns a publisher, or says what is wrong with its options.
func NewPublisher(o PublisherOptions) (*Publisher, error) {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("dir: want a directory"))
	}
	if len(o.Formats) == 0 {
		errs = append(errs, errors.New("formats: want one at least"))
	}
	for i, f := range o.Formats {
		if _, err := ParseFormat(string(f)); err != nil {
			errs = append(errs, err)
		}
		if slices.Contains(o.Formats[:i], f) {
			errs = append(errs, fmt.Errorf("formats: %s stands there twice", f))
		}
	}
	if slices.Contains(o.Formats, Removals) && o.Changes == nil {
		errs = append(errs, errors.New("formats: removals needs a journal"))
	}
	if o.Every < time.Second {
		errs = append(errs, fmt.Errorf("every %s: want a second at least", o.Every))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("export to %q: %w", o.Dir, err)
	}
	p := &Publisher{o: o}
	p.state.Store(&State{})
	return p, nil
}

// Run publishes whenever the list or the zone's settings changed, at most once
// every Every, until ctx ends. A publication that fails is logged, leaves the
// former files, and is tried again after Every.
func (p *Publisher) Run(ctx context.Context) error {
	defer p.retire()
	defer p.Tidy()
	var complaint string
	for started := false; ; started = true {
		now := time.Now() //nolint:forbidigo // the loop reads the clock once a turn
		if !started && p.o.Metrics != nil {
			p.o.Metrics.age.set(p.key(), now) // an age is told even if no export succeeds
		}
		var wait <-chan struct{}
		if s := p.o.Snapshots(); p.due(s, now) {
			complaint = p.turn(now, complaint)
			p.Tidy()
		} else {
			wait = s.Superseded()
		}
		// After a publication only time can begin the next turn.
		timer := time.NewTimer(p.o.Every)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-wait:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// turn publishes once and logs what came of it. It returns the error's text: a
// full disk is told once, and not every minute.
func (p *Publisher) turn(now time.Time, complaint string) string {
	log := p.o.Logger.With("zone", p.o.Zone().Name, "dir", p.o.Dir)
	done, err := p.Publish(now)
	if err != nil {
		if err.Error() != complaint {
			log.Error("export failed, the former files stay", "err", err)
		}
		return err.Error()
	}
	if complaint != "" || done.Changed() {
		entries := 0
		for _, f := range done.Files {
			entries = max(entries, f.Entries)
		}
		log.Info("list exported", "serial", done.Serial, "files", len(done.Files), "entries", entries)
	}
	return ""
}

// due reports whether the files have to be made anew; if not, they are known
// to be current.
func (p *Publisher) due(s *listing.Snapshot, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	current := published{zone: p.o.Zone(), snapshot: s, stamp: stampAt(s, now)}
	if p.last == current {
		p.confirm(now)
	}
	return p.last != current && p.held != current
}

func (p *Publisher) confirm(now time.Time) {
	p.state.Store(&State{Serial: p.last.snapshot.Serial(), Current: now})
	if p.o.Metrics != nil {
		p.o.Metrics.age.set(p.key(), now)
	}
}

func (p *Publisher) key() ageKey { return ageKey{zone: p.o.Zone().Name, dir: p.o.Dir} }

func (p *Publisher) retire() {
	if p.o.Metrics != nil {
		p.o.Metrics.age.forget(p.key())
	}
}

// State returns how the files are. It never waits for a publication, which
// takes long with millions of entries.
func (p *Publisher) State() State { return *p.state.Load() }

// Publish makes all files from the list in force, now. Files that would have
// the same bytes are not touched. All are written and read back before the
// first takes its place; on an error before that the former files stay. The
// files take their places first, then the manifest, then its signature: whatever
// stops this between two of them, what is signed stays what it was, a reader that
// verifies takes nothing else, and the next publication completes it.
func (p *Publisher) Publish(now time.Time) (Publication, error) { return p.publishWith(now, p.o.Brake) }

// Accept publishes as Publish does, however much came or went: an operator has
// looked at it.
func (p *Publisher) Accept(now time.Time) (Publication, error) {
	defer p.Tidy()
	return p.publishWith(now, 0)
}

func (p *Publisher) publishWith(now time.Time, brake float64) (Publication, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.o.Snapshots() // before the zone: whoever changes both changes the zone first
	zone := p.o.Zone()
	current := published{zone: zone, snapshot: s, stamp: stampAt(s, now)}
	done, err := p.publish(current, brake, now)
	refused, held := errors.AsType[*RefusedError](err)
	p.held = published{}
	if held && refused.lasts {
		p.held = current
	}
	p.count(func(m *Metrics) { m.setHeld(zone.Name, p.o.Dir, held) })
	if err != nil {
		err = remedy(err)
		former := p.State()
		p.state.Store(&State{Serial: former.Serial, Current: former.Current, Err: err, Held: held})
		p.count(func(m *Metrics) { m.errors.WithLabelValues(zone.Name).Inc() })
		return Publication{}, fmt.Errorf("export %s to %s: %w", zone.Name, p.o.Dir, err)
	}
	if done.Changed() {
		p.count(func(m *Metrics) { m.publications.WithLabelValues(zone.Name).Inc() })
	}
	p.last = current
	p.confirm(now)
	return done, nil
}

func (p *Publisher) count(what func(*Metrics)) {
	if p.o.Metrics != nil {
		what(p.o.Metrics)
	}
}

func (p *Publisher) publish(what published, brake float64, now time.Time) (done Publication, err error) {
	z, s := what.zone, what.snapshot
	if err := makeFolder(p.o.Dir); err != nil {
		return Publication{}, err
	}
	list := List{Zone: z, Snapshot: s, Now: now}
	if slices.Contains(p.o.Formats, Removals) {
		if list.Departed, err = Departures(z, s, now, p.o.Changes()); err != nil {
			return Publication{}, err
		}
	}
	b := &batch{dir: p.o.Dir, list: list, step: p.step}
	defer func() { err = errors.Join(err, b.discard()) }()
	if err = b.write(p.o.Formats, p.o.Gzip); err == nil {
		err = p.guard(b, brake)
	}
	if err != nil {
		return Publication{}, errors.Join(err, b.setAside(err, now))
	}
	if err := b.sign(p.o.Key); err != nil {
		return Publication{}, err
	}
	files, err := b.replace(now)
	p.former = append(p.former, b.former...)
	return Publication{Zone: z.Name, Dir: p.o.Dir, Serial: s.Serial(), Files: files}, err
}

// manyEntries is of how many a publication leaves so much memory behind that it is
// collected at once: else the next one comes on top of it. It is not given back to the
// system, which would have to hand it out again page by page a minute later.
const manyEntries = 1 << 18

// Tidy gives back what calls of Publish leave, which takes a while: the files whose
// places were taken, and memory. Run and Accept do it by themselves, once the new ones
// are in force.
func (p *Publisher) Tidy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.former) == 0 {
		return
	}
	for _, f := range p.former {
		_ = f.Close() // it was only held, or is none
	}
	p.former = nil
	if s := p.last.snapshot; s != nil && s.Len() >= manyEntries {
		runtime.GC()
	}
}
