package dnsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// CopierOptions are what a [Copier] is made of.
type CopierOptions struct {
	Zone      string                   // its name, lower case, with its final dot
	Primaries []netip.AddrPort         // who has it
	Key       *Key                     // signs what is asked, and must sign what comes; nil: nothing is signed
	Forbidden func(netip.Prefix) error // why something must not be listed
	Keeper    *zonefile.Keeper         // keeps the copy for the next start

	// Dial connects to a primary; nil: by TCP.
	Dial func(ctx context.Context, to string) (net.Conn, error)

	Logger   *slog.Logger
	Metrics  prometheus.Registerer     // nil counts without showing
	Refusals *zonefile.FollowerMetrics // counts what is refused; nil: it is not counted
}

// Copier keeps a copy of a zone that primaries have, as a secondary does: it asks
// them for the serial when the zone's SOA says so (RFC 1035 §3.3.13) and when it is
// told (RFC 1996), and takes what changed (IXFR) or all (AXFR). What it answers from
// is always one whole serial of a primary, and it takes none that is older; only after
// a crash it begins with what the disk has. When no primary has confirmed it for the
// time that the SOA allows, it answers from nothing.
type Copier struct {
	o    CopierOptions
	key  *key
	zone []byte // its name in wire format
	log  *slog.Logger

	// What follows belongs to whoever runs Run, and before that to Begin.
	newest   zonefile.Confirmation // the newest serial that was in force, and when it was confirmed
	known    bool                  // newest is
	failures int                   // in a row
	told     string                // the error that was logged last

	current atomic.Pointer[zonefile.Copy] // nil: none yet
	expired atomic.Bool                   // current is too old to be answered from
	state   atomic.Pointer[zonefile.FollowerState]
	nudge   chan struct{}
	from    atomic.Pointer[netip.Addr] // who told last that there is something new
	unsaved chan *zonefile.Copy
	counts  copierCounts
}

const (
	copierPause = 250 * time.Millisecond // between two looks, however often we are told
	firstRetry  = time.Second            // as long as there is no SOA to say how often; then twice as long, and so on
	lastRetry   = time.Minute            //
	savePause   = time.Second            // between two copies on the disk, or
	saveShare   = 20                     // so many times as long as the last one took to write
	takeAtMost  = time.Hour              // one transfer
	dialPatient = 10 * time.Second
)

// NewCopier returns a copier that has nothing yet.
func NewCopier(o CopierOptions) (*Copier, error) {
	c := &Copier{o: o, log: o.Logger.With("zone", o.Zone), nudge: make(chan struct{}, 1), unsaved: make(chan *zonefile.Copy, 1)}
	var err error
	if c.zone, err = wireName(o.Zone); err != nil {
		return nil, fmt.Errorf("zone %q: %w", o.Zone, err)
	}
	if len(o.Primaries) == 0 {
		return nil, fmt.Errorf("zone %q: no primary is named", o.Zone)
	}
	if o.Key != nil {
		if c.key, err = o.Key.compile(); err != nil {
			return nil, err
		}
	}
	if o.Dial == nil {
		c.o.Dial = func(ctx context.Context, to string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: dialPatient}
			return dialer.DialContext(ctx, "tcp", to)
		}
	}
	c.counts = newCopierCounts(o.Metrics)
	c.state.Store(&zonefile.FollowerState{})
	return c, nil
}

// Zones returns the zone as it was taken, or nil when there is nothing to answer
// from.
func (c *Copier) Zones() *zonefile.Set {
	if now := c.current.Load(); now != nil && !c.expired.Load() {
		return now.Zones
	}
	return nil
}

// Snapshot returns the list, likewise.
func (c *Copier) Snapshot() *listing.Snapshot {
	if now := c.current.Load(); now != nil && !c.expired.Load() {
		return now.Snapshot
	}
	return nil
}

// State tells how the copy is.
func (c *Copier) State() zonefile.FollowerState { return *c.state.Load() }

// Look has the primaries asked soon.
func (c *Copier) Look() {
	select {
	case c.nudge <- struct{}{}:
	default: // they will be anyway
	}
}

// Notify is Look for who was told by a primary, which is asked first.
func (c *Copier) Notify(from netip.Addr) {
	c.from.Store(&from)
	c.Look()
}

// Begin takes the copy that is on the disk, if there is one.
func (c *Copier) Begin(now time.Time) {
	var err error
	if c.newest, c.known, err = c.o.Keeper.Recall(); err != nil {
		c.log.Error("it is not known which serial was the newest, so that of the copy on the disk counts, if there is one", "err", err)
	}
	kept, err := c.o.Keeper.Load()
	if err != nil {
		c.log.Warn("a copy on the disk is not used", "err", err)
	}
	if kept == nil {
		c.tell(err)
		return
	}
	if zone := kept.Zones.All()[0].Name; zone != c.o.Zone {
		c.log.Warn("the copy on the disk is of another zone", "is", zone)
		return
	}
	// One that was written before the newest was in force may be answered from until
	// that is taken again, which is at once; but nobody has confirmed it since.
	own := zonefile.Confirmation{Serial: kept.Snapshot.Serial(), Confirmed: kept.Manifest.Created}
	switch {
	case !c.known: // what was written is at least not to be gone behind
		c.newest, c.known = own, true
	case c.newest.Serial == own.Serial:
		own = c.newest
	}
	if kept, err = kept.ConfirmedAt(own.Confirmed); err != nil {
		c.tell(err)
		return
	}
	c.enter(kept, now)
	c.expire(now)
}

// Run keeps the copy up to date until ctx ends, and on the disk.
func (c *Copier) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.refresh(ctx) })
	g.Go(func() error { return c.save(ctx) })
	return g.Wait()
}

func (c *Copier) refresh(ctx context.Context) error {
	for {
		c.turn(ctx)
		_ = pause(ctx, copierPause) // that ctx has ended is seen next
		timer := time.NewTimer(c.wait(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-c.nudge:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// wait returns how long nothing is to be done: until the SOA says that it is time
// (RFC 1035 §3.3.13), or what there is expires.
func (c *Copier) wait(now time.Time) time.Duration {
	copied := c.current.Load()
	if copied == nil {
		return min(firstRetry<<min(c.failures, 10), lastRetry)
	}
	z := copied.Zones.All()[0]
	wait := z.Copied.Add(z.Refresh).Sub(now)
	if c.failures > 0 {
		wait = z.Retry
	}
	if !c.expired.Load() {
		wait = min(wait, z.Copied.Add(z.Expire).Sub(now))
	}
	return max(0, wait)
}

// turn asks the primaries, and logs what came of it. What is wrong is told once.
func (c *Copier) turn(ctx context.Context) {
	changed, err := c.consult(ctx)
	now := time.Now()
	c.expire(now)
	if ctx.Err() != nil {
		return
	}
	c.tell(err)
	s := c.State()
	switch {
	case err != nil:
		c.failures++
		c.o.Refusals.Refuse()
		if err.Error() != c.told {
			c.told = err.Error()
			c.log.Warn("no primary has confirmed the copy", "err", err, "serial", s.Serial)
		}
	default:
		if c.failures = 0; changed || c.told != "" {
			c.log.Info("in force", "serial", s.Serial, "entries", s.Entries)
		}
		c.told = ""
	}
}

// consult asks the primaries one after the other, until one has something newer.
// There is no error when one at least has what we have.
func (c *Copier) consult(ctx context.Context) (changed bool, err error) {
	var errs []error
	confirmed := false
	for _, primary := range c.order() {
		changed, err := c.ask(ctx, primary)
		switch {
		case changed:
			return true, nil
		case err == nil:
			confirmed = true
		default:
			errs = append(errs, fmt.Errorf("primary %s: %w", primary, err))
		}
	}
	if confirmed {
		return false, c.confirm(time.Now())
	}
	return false, errors.Join(errs...)
}

// order returns the primaries, first the one that said that there is something new.
func (c *Copier) order() []netip.AddrPort {
	from := c.from.Swap(nil)
	if from == nil {
		return c.o.Primaries
	}
	var first, rest []netip.AddrPort
	for _, p := range c.o.Primaries {
		if peer(p.Addr()) == *from {
			first = append(first, p)
		} else {
			rest = append(rest, p)
		}
	}
	return append(first, rest...)
}

// ask asks one primary, and takes what it has if that is newer.
func (c *Copier) ask(ctx context.Context, primary netip.AddrPort) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, takeAtMost)
	defer cancel()
	x, end, err := c.dial(ctx, primary.String())
	if err != nil {
		return false, err
	}
	defer end()
	soa, err := x.serial(time.Now())
	if err != nil {
		return false, fmt.Errorf("ask for the serial: %w", err)
	}
	if err := c.admit(soa.Serial); err != nil {
		return false, err
	}
	have := c.current.Load()
	if have != nil && have.Snapshot.Serial() == soa.Serial {
		return false, nil
	}
	next, err := c.take(ctx, x, have, primary)
	if errors.Is(err, errCurrent) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := c.admit(next.Snapshot.Serial()); err != nil {
		return false, err
	}
	if err := c.accept(next, time.Now()); err != nil {
		return false, err
	}
	return true, nil
}

// admit refuses a serial that is older than what was in force before.
func (c *Copier) admit(serial uint32) error {
	if !c.known {
		return nil
	}
	if order, ok := listing.CompareSerial(serial, c.newest.Serial); !ok || order < 0 {
		return fmt.Errorf("serial %d is older than serial %d, which was in force; if the publisher had to begin anew, stop the mirror and remove the copy in its state folder",
			serial, c.newest.Serial)
	}
	return nil
}

// take takes what changed, or, if there is nothing yet or that does not work, all.
func (c *Copier) take(ctx context.Context, x *exchange, have *zonefile.Copy, primary netip.AddrPort) (*zonefile.Copy, error) {
	if have != nil {
		next, kind, err := x.changes(have, c.o.Forbidden, time.Now())
		if c.counts.count(kind, x.bytes, err); err == nil || errors.Is(err, errCurrent) || ctx.Err() != nil {
			return next, err
		}
		c.log.Warn("what changed cannot be taken, so all of the zone is", "primary", primary.String(), "err", err)
	}
	y, end, err := c.dial(ctx, primary.String())
	if err != nil {
		return nil, err
	}
	defer end()
	next, err := y.whole(c.o.Forbidden, time.Now())
	c.counts.count(Whole, y.bytes, err)
	if err != nil {
		return nil, fmt.Errorf("take the zone: %w", err)
	}
	return next, nil
}
