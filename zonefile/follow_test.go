package zonefile_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"aead.dev/minisign"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// mirror is a publisher, a folder that its files are copied to, and a follower.
type mirror struct {
	*zonefile.Follower
	publisher *desk
	dir       string
	options   zonefile.FollowerOptions
	registry  *prometheus.Registry
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	d, public := signedDesk(t)
	d.options.Formats = []zonefile.Format{zonefile.IP4Set, zonefile.IP6Trie, zonefile.Plain}
	d.Publisher = must(zonefile.NewPublisher(d.options))(t)
	m := &mirror{publisher: d, dir: t.TempDir(), registry: prometheus.NewPedanticRegistry()}
	m.options = zonefile.FollowerOptions{
		Dir: m.dir, Key: &public, Every: 10 * time.Second, Memory: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
		Metrics: zonefile.NewFollowerMetrics(m.registry, func() zonefile.FollowerState { return m.State() }, func() *listing.Snapshot { return m.Snapshot() }),
	}
	m.restart()
	return m
}

// restart makes a follower that knows only what is on the disk.
func (m *mirror) restart() { m.Follower = zonefile.NewFollower(m.options) }

// publish makes the next serial, and returns what it lists.
func (m *mirror) publish(t *testing.T, now time.Time, n listing.Next) []string {
	t.Helper()
	m.publisher.next(n)
	must(m.publisher.Publish(now))(t)
	return answersOf(testZone(), m.publisher.snapshot.Load())
}

// fetch copies files of the publisher, all if none is named.
func (m *mirror) fetch(t *testing.T, names ...string) {
	t.Helper()
	for name, text := range m.publisher.files(t) {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		m.put(t, name, text)
	}
}

func (m *mirror) put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (m *mirror) answers() []string {
	if m.Zones() == nil {
		return nil
	}
	return answersOf(m.Zones().All()[0], m.Snapshot())
}

func TestFollowerRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, m *mirror) // what the folder has after serial+1 was fetched whole
		now   time.Duration
		want  string
	}{
		"half of the new one": {func(t *testing.T, m *mirror) {
			t.Helper()
			m.publish(t, made, listing.Next{Time: made, Added: []listing.Entry{entry("203.0.113.250", listing.Summary{}, listing.ClassManual)}})
			m.fetch(t, zonefile.ManifestName, zonefile.SignatureName)
		}, 0, "bl.example.ip4set: has not the "},
		"a manifest without its signature": {func(t *testing.T, m *mirror) {
			t.Helper()
			m.publish(t, made, listing.Next{Time: made, Removed: sampleHosts()})
			m.fetch(t, zonefile.ManifestName)
		}, 0, "the signature beside it is not that of key "},
		"a tampered manifest": {func(t *testing.T, m *mirror) {
			t.Helper()
			m.put(t, zonefile.ManifestName, strings.Replace(m.publisher.files(t)[zonefile.ManifestName], "bl.example", "bl.examplf", 1))
		}, 0, "the signature beside it"},
		"no manifest": {func(t *testing.T, m *mirror) {
			t.Helper()
			if err := os.Remove(filepath.Join(m.dir, zonefile.ManifestName)); err != nil {
				t.Fatal(err)
			}
		}, 0, "no such file"},
		"an expired one": {func(*testing.T, *mirror) {}, 48 * time.Hour, "it expired on 2026-11-24T05:30:00Z"},
		"an expired new one": {func(t *testing.T, m *mirror) {
			t.Helper()
			m.publish(t, made, listing.Next{Time: made, Removed: sampleHosts()})
			m.fetch(t)
		}, 50 * time.Hour, "it expired on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMirror(t)
			must(m.publisher.Publish(made))(t)
			want := m.publish(t, made, listing.Next{Time: made})
			m.fetch(t)
			must(m.Check(made))(t)
			c.spoil(t, m)
			for range 2 { // the second time it is not read again
				if changed, err := m.Check(made.Add(c.now)); changed || err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			}
			if diff := cmp.Diff(want, m.answers()); diff != "" {
				t.Errorf("the last good one is not in force:\n%s", diff)
			}
			if s := m.State(); s.Err == nil || s.Serial != sequence+1 || s.Checked != made || testutil.ToFloat64(gatherOne(t, m.registry, "backscatter_mirror_refused")) != 1 {
				t.Errorf("%+v", s)
			}
			// It goes on as soon as there is a good one.
			want = m.publish(t, made.Add(51*time.Hour), listing.Next{Time: made.Add(51 * time.Hour)})
			m.fetch(t)
			if _, err := m.Check(made.Add(51 * time.Hour)); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, m.answers()); diff != "" {
				t.Errorf("the next good one is not in force:\n%s", diff)
			}
		})
	}
}

// gatherOne returns a gauge that has the value that the registry tells now.
func gatherOne(t *testing.T, registry *prometheus.Registry, name string) prometheus.Gauge {
	t.Helper()
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "copy"})
	g.Set(gauge(t, registry, name))
	return g
}

// An older publication is refused though it is signed and has not expired, and
// also by a follower that was started anew.
func TestFollowerRefusesAReplay(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	must(m.publisher.Publish(made))(t)
	old := m.publisher.files(t)
	m.fetch(t)
	must(m.Check(made))(t)
	want := m.publish(t, made, listing.Next{Time: made, Removed: sampleHosts()})
	m.fetch(t)
	must(m.Check(made))(t)
	for name, text := range old {
		m.put(t, name, text)
	}
	if _, err := m.Check(made); err == nil || !strings.Contains(err.Error(), "serial 1795325400 of 2026-11-22T05:30:00Z is older than serial 1795325401") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(want, m.answers()); diff != "" {
		t.Error(diff)
	}
	m.restart()
	if _, err := m.Check(made); err == nil || !strings.Contains(err.Error(), "is older") || m.Snapshot() != nil {
		t.Errorf("after a restart: %v", err)
	}
	// Of one serial the later stamp is the newer.
	m.fetch(t)
	must(m.Check(made))(t)
	yesterday := m.publisher.files(t)
	must(m.publisher.Publish(made.Add(24 * time.Hour)))(t)
	m.fetch(t)
	must(m.Check(made.Add(24 * time.Hour)))(t)
	for name, text := range yesterday {
		m.put(t, name, text)
	}
	if _, err := m.Check(made.Add(24 * time.Hour)); err == nil || !strings.Contains(err.Error(), "is older") {
		t.Errorf("yesterday's: %v", err)
	}
}

func TestFollowerWantsTheRightKey(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	must(m.publisher.Publish(made))(t)
	m.fetch(t)
	_, stranger := newKey(t)
	m.options.Key = &stranger
	m.restart()
	if _, err := m.Check(made); err == nil || !strings.Contains(err.Error(), "signature") || m.Zones() != nil {
		t.Errorf("another's signature: %v", err)
	}
	m.options.Key = nil
	m.restart()
	must(m.Check(made))(t)
	if m.Snapshot().Len() == 0 {
		t.Error("nothing is in force")
	}
	// The serial that was in force must be known; what cannot be read is told.
	if err := os.WriteFile(filepath.Join(m.options.Memory, "mirror.bl.example"), []byte("x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.restart()
	if _, err := m.Check(made); err == nil || !strings.Contains(err.Error(), "mirror.bl.example") {
		t.Errorf("got %v", err)
	}
}

func TestFollowerOfOneZone(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	must(m.publisher.Publish(made))(t)
	m.fetch(t)
	must(m.Check(made))(t)
	z := testZone()
	z.Name = "other.example."
	m.publisher.zone.Store(z)
	m.publish(t, made, listing.Next{Time: made})
	m.fetch(t)
	if _, err := m.Check(made); err == nil || !strings.Contains(err.Error(), "zone other.example") {
		t.Errorf("got %v", err)
	}
}

// A folder has a zone that cannot be read, and then another: which serial of that was
// in force is what counts, and not that of the first.
func TestFollowerKnowsTheNewestOfEachZone(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	other := testZone()
	other.Name = "other.example."
	m.publisher.zone.Store(other)
	must(m.publisher.Publish(made))(t)
	m.fetch(t)
	former := m.publisher.files(t)
	m.publish(t, made.Add(time.Minute), listing.Next{Time: made.Add(time.Minute)})
	m.fetch(t)
	must(m.Check(made.Add(time.Minute)))(t) // the newer of other.example was in force

	m.publisher.zone.Store(testZone())
	m.publish(t, made.Add(2*time.Minute), listing.Next{Time: made.Add(2 * time.Minute)})
	m.restart()
	m.fetch(t, zonefile.ManifestName, zonefile.SignatureName) // without its files
	if _, err := m.Check(made.Add(2 * time.Minute)); err == nil {
		t.Error("taken without its files")
	}
	for name, text := range former {
		m.put(t, name, text)
	}
	if _, err := m.Check(made.Add(2 * time.Minute)); err == nil || !strings.Contains(err.Error(), "older") {
		t.Errorf("an older one of the other zone: %v", err)
	}
}

// TestFollowerNeverMixes has files copied one by one, in any order, cut off and
// in place, while the publisher goes on, and the follower look after each step.
func TestFollowerNeverMixes(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(50, 6))
	m := newMirror(t)
	must(m.publisher.Publish(made))(t)
	published := map[uint32][]string{sequence: answersOf(testZone(), m.publisher.snapshot.Load())}
	last, switches := uint32(0), 0
	look := func() {
		changed, _ := m.Check(made)
		s := m.State()
		if s.Serial < last {
			t.Fatalf("serial %d follows %d", s.Serial, last)
		}
		if last = s.Serial; !changed {
			return
		}
		switches++
		if diff := cmp.Diff(published[s.Serial], m.answers()); diff != "" {
			t.Fatalf("serial %d is a mixture:\n%s", s.Serial, diff)
		}
	}
	for round := range 60 {
		if rng.IntN(3) > 0 {
			e := randomEntry(rng, randomHost(rng))
			published[sequence+1+uint32(len(published)-1)] = m.publish(t, made, listing.Next{Time: made, Added: []listing.Entry{e}})
		}
		names := []string{"bl.example.ip4set", "bl.example.ip6trie", "bl.example.txt", zonefile.ManifestName, zonefile.SignatureName}
		rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		if round%10 != 9 {
			names = names[:1+rng.IntN(len(names))] // killed in the middle
		}
		for _, name := range names {
			text := m.publisher.files(t)[name]
			if rng.IntN(4) == 0 {
				m.put(t, name, text[:rng.IntN(len(text))])
				look()
			}
			m.put(t, name, text)
			look()
		}
	}
	if switches < 5 {
		t.Errorf("only %d publications came in force", switches)
	}
}

func randomHost(rng *rand.Rand) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(rng.IntN(256)), byte(rng.IntN(256))}), 32)
}

// TestFollowerRuns follows a follower by the clock: it looks every ten seconds,
// logs a refusal once, and at once when asked to.
func TestFollowerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		d := newDesk(t, listing.NewSnapshot(listing.Build{Sequence: sequence, Time: now}), zonefile.IP4Set, zonefile.IP6Trie)
		var log strings.Builder
		f := zonefile.NewFollower(zonefile.FollowerOptions{
			Dir: d.dir, Every: 10 * time.Second, Memory: t.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Writer(&log), nil)),
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- f.Run(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := strings.Count(log.String(), "refused"); n != 1 || f.Snapshot() != nil {
			t.Errorf("told %d times:\n%s", n, log.String())
		}
		must(d.Publish(now))(t)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if f.State().Serial != sequence {
			t.Errorf("%+v", f.State())
		}
		first := f.Snapshot()
		d.next(listing.Next{Time: now})
		must(d.Publish(now))(t)
		f.Look()
		synctest.Wait()
		if f.State().Serial != sequence+1 {
			t.Errorf("%+v", f.State())
		}
		select {
		case <-first.Superseded():
		default:
			t.Error("who waits for a newer snapshot is not told")
		}
		time.Sleep(49 * time.Hour)
		synctest.Wait()
		if s := f.State(); !errors.Is(s.Err, zonefile.ErrExpired) || f.Snapshot() == nil {
			t.Errorf("after two days: %+v", s)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestFollowerMetricsLint(t *testing.T) {
	t.Parallel()
	for _, p := range must(testutil.GatherAndLint(newMirror(t).registry))(t) {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestReadPublicKey(t *testing.T) {
	t.Parallel()
	_, public, err := zonefile.NewKey("")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(public), "\n")
	for _, text := range []string{string(public), lines[1], " " + lines[1] + "\n"} {
		var want minisign.PublicKey
		if err := want.UnmarshalText(public); err != nil {
			t.Fatal(err)
		}
		if key, err := zonefile.ReadPublicKey(text); err != nil || !key.Equal(want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "x", lines[0]} {
		if _, err := zonefile.ReadPublicKey(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
