package zonefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"aead.dev/minisign"

	"backscatter/listing"
)

// FollowerOptions are what a Follower needs.
type FollowerOptions struct {
	Dir   string              // where somebody else puts a publication
	Key   *minisign.PublicKey // whose signature is wanted; nil: none is
	Every time.Duration       // how often it is looked at
	// Memory is a folder in which the newest serial is kept that was in force, so
	// that an older publication is refused also after a restart.
	Memory string

	Logger  *slog.Logger
	Metrics *FollowerMetrics // nil: none
}

// Follower answers from a directory into which something else, rsync for instance,
// copies what a [Publisher] publishes, in any order and at any time. It goes over
// to a publication when all of it is there, signed, newer than what it has, and
// not expired; until then it keeps what it has.
//
// The rule by which it never has a mixture: it reads the manifest, then the files,
// each of which must have the bytes that the manifest says.
type Follower struct {
	o FollowerOptions

	// What follows belongs to whoever runs Check, which is called by one at a time.
	newest  newest
	of      string // the zone that newest is of; empty: it is not known
	refused refusal
	told    string // the refusal that was logged last
	loaded  bool   // files were read since memory was last given back
	unkept  unkept

	nudge   chan struct{}
	current atomic.Pointer[inForce]
	state   atomic.Pointer[FollowerState]
}

// refusal is of files that need not be read again: nothing of them has changed.
type refusal struct {
	mark string // fingerprint of the files
	err  error
}

// inForce is a copy that is answered from, and the manifest that it came from.
type inForce struct {
	*Copy

	text, signature []byte
	// recalled tells that it is only what was kept: the folder had nothing right since.
	recalled bool
}

// FollowerState tells how a follower is.
type FollowerState struct {
	Zone    string    // empty before the first
	Serial  uint32    // in force
	Entries int       //
	Created time.Time // when the publisher made it
	Expires time.Time //
	Since   time.Time // when it came in force here
	Checked time.Time // when the directory last had just this; zero: never
	Err     error     // why what the directory has is not in force; nil when it is
}

// NewFollower returns a follower that has nothing yet.
func NewFollower(o FollowerOptions) *Follower {
	f := &Follower{o: o, nudge: make(chan struct{}, 1)}
	f.state.Store(&FollowerState{})
	return f
}

// Zones returns the zone that is in force, or nil before the first.
func (f *Follower) Zones() *Set {
	if c := f.current.Load(); c != nil {
		return c.Zones
	}
	return nil
}

// Snapshot returns the list that is in force, or nil before the first.
func (f *Follower) Snapshot() *listing.Snapshot {
	if c := f.current.Load(); c != nil {
		return c.Snapshot
	}
	return nil
}

// State tells how the follower is.
func (f *Follower) State() FollowerState { return *f.state.Load() }

// Look has the directory looked at soon.
func (f *Follower) Look() {
	select {
	case f.nudge <- struct{}{}:
	default: // it will be anyway
	}
}

// Begin looks at the directory for the first time. Where it has nothing that is right,
// what was in force before goes on.
func (f *Follower) Begin(now time.Time) {
	if _, err := f.Check(now); err != nil {
		f.tell(now, errors.Join(err, f.recall(now)))
	}
}

// Run looks at the directory until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	ticker := time.NewTicker(f.o.Every)
	defer ticker.Stop()
	for {
		f.turn(time.Now()) //nolint:forbidigo // the loop reads the clock once a turn
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-f.nudge:
		}
	}
}

// turn checks, and logs what came of it. A refusal is told once.
func (f *Follower) turn(now time.Time) {
	changed, err := f.Check(now)
	log := f.o.Logger.With("dir", f.o.Dir)
	switch {
	case err != nil && err.Error() != f.told:
		f.told = err.Error()
		log.Warn("what the folder has is refused, and what was in force stays", "err", err, "serial", f.State().Serial)
	case err == nil && (changed || f.told != ""):
		f.told = ""
		s := f.State()
		log.Info("in force", "zone", s.Zone, "serial", s.Serial, "entries", s.Entries, "created", s.Created, "expires", s.Expires)
	}
	f.keepIn(log)
	if f.loaded {
		f.loaded = false
		// Reading a list takes more than twice the memory of the list, which nobody
		// needs until there is another; and the former list goes with it.
		debug.FreeOSMemory()
	}
}

// Check looks at the directory once, and goes over to what it has if that is
// right. The error says why it is not.
func (f *Follower) Check(now time.Time) (changed bool, err error) {
	text, signature, err := f.read(f.o.Dir)
	// Of what was recalled it is not known whether the folder has all of it.
	if c := f.current.Load(); err == nil && c != nil && !c.recalled && bytes.Equal(text, c.text) && bytes.Equal(signature, c.signature) {
		err = c.Manifest.alive(now)
		f.tell(now, err)
		return false, err
	}
	if err == nil {
		err = f.take(text, signature, now)
	}
	f.tell(now, err)
	if err != nil {
		f.o.Metrics.Refuse()
	}
	return err == nil, err
}

// read reads the manifest of a folder and its signature.
func (f *Follower) read(dir string) (text, signature []byte, err error) {
	text, err = readSmall(filepath.Join(dir, ManifestName))
	if err == nil && f.o.Key != nil {
		signature, err = readSmall(filepath.Join(dir, SignatureName))
	}
	return text, signature, err
}

// take goes over to a publication.
func (f *Follower) take(text, signature []byte, now time.Time) error {
	m, err := openManifest(f.o.Dir, text, signature, f.o.Key)
	if err != nil {
		return err
	}
	err = m.alive(now)
	if err == nil {
		err = f.admit(f.o.Dir, m)
	}
	if err != nil {
		return err
	}
	// To read millions of lines again and again would change nothing.
	mark := fingerprint(f.o.Dir, m, text)
	if f.refused.err != nil && mark == f.refused.mark {
		return f.refused.err
	}
	f.loaded = true
	c, err := m.Load(f.o.Dir)
	if err != nil {
		f.refused = refusal{mark, err}
		return err
	}
	if again, _, err := f.read(f.o.Dir); err != nil || !bytes.Equal(again, text) {
		f.Look()
		return fmt.Errorf("%s: changed while the files were read", filepath.Join(f.o.Dir, ManifestName))
	}
	if err := f.remember(m); err != nil {
		return err
	}
	f.goOver(&inForce{Copy: c, text: text, signature: signature}, now)
	f.unkept = unkept{is: true}
	return nil
}

func (f *Follower) goOver(to *inForce, now time.Time) {
	former := f.current.Swap(to)
	m := to.Manifest
	f.state.Store(&FollowerState{
		Zone: m.Zone, Serial: m.Serial, Entries: to.Snapshot.Len(), Created: m.Created, Expires: m.Expires, Since: now,
	})
	if former != nil {
		former.Snapshot.Supersede()
	}
}

// admit refuses what a folder has that is of another zone, or older than what was here.
// Of what was recalled the zone is no matter: the mirror may be another's since.
func (f *Follower) admit(dir string, m Manifest) error {
	if c := f.current.Load(); c != nil && !c.recalled && c.Manifest.Zone != m.Zone {
		return fmt.Errorf("%s: is of zone %s, and %s is in force; for another zone start another mirror", dir, m.Zone, c.Manifest.Zone)
	}
	if f.of != m.Zone {
		kept, err := readNewest(f.memory(m.Zone))
		if err != nil {
			return err
		}
		f.newest, f.of = kept, m.Zone
	}
	if f.newest.after(m) {
		return fmt.Errorf("%s: serial %d of %s is older than serial %d of %s, which was in force; if the publisher had to begin anew, remove %s",
			dir, m.Serial, stamp(m.Created), f.newest.serial, stamp(f.newest.created), f.memory(m.Zone))
	}
	return nil
}

func (f *Follower) tell(now time.Time, err error) {
	s := f.State()
	s.Err = err
	if err == nil {
		s.Checked = now
	}
	f.state.Store(&s)
}

// alive tells whether the publication may be used still.
func (m Manifest) alive(now time.Time) error {
	if !now.Before(m.Expires) {
		return fmt.Errorf("%s: serial %d of %s: %w on %s: is it fetched, and does the publisher run?", m.Zone, m.Serial, stamp(m.Created), ErrExpired, stamp(m.Expires))
	}
	return nil
}

// ErrExpired is wrapped by the error about a publication that is too old.
var ErrExpired = errors.New("it expired")

// fingerprint tells files apart without reading them.
func fingerprint(dir string, m Manifest, text []byte) string {
	var b strings.Builder
	b.Write(text)
	for _, f := range m.Files {
		if info, err := os.Stat(filepath.Join(dir, f.Name)); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", f.Name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}

// newest is the newest publication that was in force.
type newest struct {
	serial  uint32
	created time.Time
}

// after reports whether the manifest is older. Serials are in the order of RFC
// 1982; of one serial that is newer which was made later.
func (n newest) after(m Manifest) bool {
	switch {
	case n.created.IsZero():
		return false
	case m.Serial == n.serial:
		return m.Created.Before(n.created)
	}
	return int32(m.Serial-n.serial) < 0
}

func (f *Follower) memory(zone string) string { return filepath.Join(f.o.Memory, "mirror."+zone) }

// remember keeps what is about to be in force. It comes first: what was answered
// once must not be gone behind after a crash.
func (f *Follower) remember(m Manifest) error {
	n := newest{m.Serial, m.Created}
	if n == f.newest {
		return nil
	}
	if err := writeBeside(f.memory(m.Zone), fmt.Appendf(nil, "%d %s\n", n.serial, stamp(n.created))); err != nil {
		return fmt.Errorf("remember serial %d: %w", m.Serial, err)
	}
	f.newest = n
	return nil
}

func readNewest(name string) (n newest, err error) {
	text, err := readSmall(name)
	if errors.Is(err, fs.ErrNotExist) {
		return newest{}, nil
	}
	var created string
	if err == nil {
		_, err = fmt.Sscanf(string(text), "%d %s\n", &n.serial, &created)
	}
	if err == nil {
		n.created, err = time.Parse(time.RFC3339, created)
	}
	if err != nil {
		return newest{}, fmt.Errorf("%s: has not the newest serial: %w; remove it to take any", name, err)
	}
	return n, nil
}
