package listing_test

import (
	"bytes"
	"errors"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// all20 holds every [host].
var all20 = netip.MustParsePrefix("20.0.0.0/8")

// exempting returns the settings with prefixes that the configuration exempts.
func exempting(s listing.Settings, prefixes ...netip.Prefix) listing.Settings {
	for _, p := range prefixes {
		s.BuiltIn = append(s.BuiltIn, listing.Exemption{Prefix: p, Reason: "ours", BuiltIn: true})
	}
	return s
}

// brakeOn compares which brakes are on: by status and metric.
func brakeOn(t *testing.T, reg *prometheus.Registry, s *running, name string) {
	t.Helper()
	var want strings.Builder
	want.WriteString("# HELP backscatter_brake 1 while the brake is on and waits for an operator.\n# TYPE backscatter_brake gauge\n")
	for _, brake := range []string{"expiry", "listing", "publication"} {
		value := " 0\n"
		if brake == name {
			value = " 1\n"
		}
		want.WriteString("backscatter_brake{brake=\"" + brake + "\"}" + value)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want.String()), "backscatter_brake"); err != nil {
		t.Error(err)
	}
	on := s.status().Brakes
	if (name == "listing") == on.Frozen.IsZero() || (name == "expiry") == on.Stalled.IsZero() || (name == "publication") == on.Withheld.IsZero() {
		t.Errorf("brakes %+v, want that on %q alone", on, name)
	}
}

// metered opens a store that tells its metrics.
func metered(t *testing.T, path string, settings listing.Settings) (*running, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	s, err := listing.Open(path, listing.Options{Settings: settings, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	return run(t, path, s), reg
}

// unordered is a publication that nobody ordered, of 250 that are listed.
type unordered struct {
	brake  string
	before func(s *running) // of what is listed then, all or nothing is published
	make   func(s *running) *running
	after  int // so many are published once an operator agreed
}

func (c unordered) test(t *testing.T) {
	t.Helper()
	s, reg := metered(t, filepath.Join(t.TempDir(), "listing.db"), braked())
	s.listMany(250, time.Time{})
	if c.before != nil {
		c.before(s)
	}
	before := s.Snapshot()
	brakeOn(t, reg, s, "")
	s = c.make(s)
	if s.Snapshot().Sequence() != before.Sequence() || s.Snapshot().Len() != before.Len() {
		t.Errorf("%d are published, were %d", s.Snapshot().Len(), before.Len())
	}
	brakeOn(t, reg, s, c.brake)
	if n := s.actions()[listing.ActionBrake]; n == 0 {
		t.Error("the audit does not tell")
	}
	s.resume()
	time.Sleep(10 * time.Second)
	if got := s.Snapshot().Len(); got != c.after {
		t.Errorf("after resume %d are published, want %d", got, c.after)
	}
	brakeOn(t, reg, s, "")
	s.verify()
}

// However a publication would come about that nobody ordered and that takes or brings
// over half the list, what is published stays, and an operator is waited for.
func TestEveryPublicationIsBraked(t *testing.T) {
	t.Parallel()
	const listed = 250
	for name, c := range map[string]unordered{
		"a wide exemption ends": {
			"expiry",
			func(s *running) { s.exempt(false, time.Now().Add(time.Hour), all20) },
			func(s *running) *running { time.Sleep(2 * time.Hour); return s }, listed,
		},
		"narrow exemptions end together": {
			"expiry",
			func(s *running) {
				var all []netip.Prefix
				for n := range listed {
					all = append(all, netip.MustParsePrefix(host(n)+"/32"))
				}
				s.exempt(false, time.Now().Add(time.Hour), all...)
			},
			func(s *running) *running { time.Sleep(2 * time.Hour); return s }, listed,
		},
		"a reload exempts": {
			"publication", nil,
			func(s *running) *running {
				r, err := s.Apply(s.t.Context(), operator, exempting(braked(), all20))
				if err != nil || len(r.Removed) != 0 || len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0].Why, "250 of 250 listings would go") {
					s.t.Errorf("applied: %+v, %v", r, err)
				}
				return s
			}, 0,
		},
		"a reload exempts no more": {
			"publication",
			func(s *running) { // an operator agreed to it
				if _, err := s.Apply(s.t.Context(), operator, exempting(braked(), all20)); err != nil {
					s.t.Fatal(err)
				}
				s.resume()
			},
			func(s *running) *running {
				if _, err := s.Apply(s.t.Context(), operator, braked()); err != nil {
					s.t.Error(err)
				}
				return s
			}, listed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, c.test)
		})
	}
}

// exempt exempts by an operator's word, or as what others listed.
func (r *running) exempt(imported bool, until time.Time, prefixes ...netip.Prefix) {
	r.t.Helper()
	if _, err := r.Exempt(r.t.Context(), operator, exemptions(imported, until, prefixes...)); err != nil {
		r.t.Fatal(err)
	}
}

func exemptions(imported bool, until time.Time, prefixes ...netip.Prefix) (out []listing.Exemption) {
	for _, p := range prefixes {
		out = append(out, listing.Exemption{Prefix: p, Reason: "a provider", Observe: imported, Until: until})
	}
	return out
}

// A start with a configuration that exempts the list goes on with the list as it was,
// as often as it is started, until an operator agrees.
func TestRestartIsBraked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "listing.db")
	s := open(t, path, braked())
	s.listMany(250, time.Time{})
	for range 2 {
		s.stop()
		var reg *prometheus.Registry
		if s, reg = metered(t, path, exempting(braked(), all20)); s.Snapshot().Len() != 250 {
			t.Fatalf("%d are published", s.Snapshot().Len())
		}
		brakeOn(t, reg, s, "publication")
		if on := s.status().Brakes; on.Gone != 250 || on.Come != 0 || on.Of != 250 {
			t.Errorf("brakes %+v", on)
		}
		s.verify()
	}
	if n := s.actions()[listing.ActionBrake]; n != 1 {
		t.Errorf("the audit tells %d times", n)
	}
	if would, err := s.Resume(t.Context(), dryRun); err != nil || len(would.Removed) != 250 || s.Snapshot().Len() != 250 {
		t.Errorf("%d would go: %v", len(would.Removed), err)
	}
	if done := s.resume(); len(done.Removed) != 250 || s.status().Brakes != (listing.BrakeStatus{}) {
		t.Errorf("%d went, brakes %+v", len(done.Removed), s.status().Brakes)
	}
	s.verify()
}

// What others listed, and whose relays somebody is, take no half of the list away.
func TestImportedExemptionsAreBraked(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "listing.db"), braked())
	s.listMany(250, time.Time{})
	for _, o := range []listing.Order{dryRun, operator} {
		_, err := s.Exempt(t.Context(), o, exemptions(true, time.Time{}, all20))
		if !errors.Is(err, listing.ErrBrake) || !strings.Contains(err.Error(), "250 of 250 listings would go") || !strings.Contains(err.Error(), "your own word") {
			t.Errorf("import: %v", err)
		}
	}
	_, err := s.Reporter(t.Context(), listing.ReporterOrder{Order: operator, Action: listing.ActionEnrol, Name: "new", Relays: []netip.Prefix{all20}})
	if !errors.Is(err, listing.ErrBrake) {
		t.Errorf("enrol: %v", err)
	}
	if s.Snapshot().Len() != 250 || s.actions()[listing.ActionEnrol] != 0 || len(s.exempted()) != 0 {
		t.Errorf("%d are published, exempt is %v", s.Snapshot().Len(), s.exempted())
	}
	s.exempt(true, time.Time{}, netip.MustParsePrefix("20.0.0.0/18")) // which hides 64 of them
	if n := s.Snapshot().Len(); n != 186 {
		t.Errorf("%d are published", n)
	}
	s.exempt(false, time.Time{}, all20) // an operator's own word
	if n := s.Snapshot().Len(); n != 0 {
		t.Errorf("%d are published", n)
	}
	s.verify()
}

// exempted returns what is exempt by command.
func (r *running) exempted() (out []netip.Prefix) {
	r.t.Helper()
	all, err := r.Exemptions()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, x := range all {
		if !x.BuiltIn {
			out = append(out, x.Prefix)
		}
	}
	return out
}

// While what the configuration exempts waits, orders go on, and none of them lets it
// through; a configuration that was mended lifts the brake.
func TestWithheldExemptionsKeepWaiting(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "listing.db")
	s, reg := metered(t, path, braked())
	s.listMany(250, time.Time{})
	if _, err := s.Apply(t.Context(), operator, exempting(braked(), all20)); err != nil {
		t.Fatal(err)
	}
	s.list(time.Time{}, "192.0.2.1")
	s.delist(0, host(7))
	hiding, others := netip.MustParsePrefix(host(9)+"/32"), netip.MustParsePrefix("203.0.113.0/28")
	if _, err := s.Reporter(t.Context(), listing.ReporterOrder{Order: operator, Action: listing.ActionEnrol, Name: "new", Relays: []netip.Prefix{hiding, others}}); err != nil {
		t.Fatal(err)
	}
	// What hides nothing is exempt at once, else it could be listed meanwhile.
	if _, err := s.Apply(t.Context(), operator, exempting(braked(), all20, netip.MustParsePrefix("198.51.100.0/28"))); err != nil {
		t.Fatal(err)
	}
	for n, source := range []string{"203.0.113.1", "198.51.100.1"} {
		if out := s.observe(bounce(n, source, time.Now())); out.Listed || !out.Exempt {
			t.Errorf("%s: %+v", source, out)
		}
	}
	if n := s.Snapshot().Len(); n != 250 {
		t.Errorf("%d are published", n)
	}
	brakeOn(t, reg, s, "publication")
	if got, want := s.status().Withheld, []listing.Withheld{
		{Prefix: all20, Reason: "ours"}, {Prefix: hiding, Reason: "relay of reporter new"},
	}; !slices.Equal(got, want) {
		t.Errorf("waiting: %+v, want %+v", got, want)
	}
	if _, err := s.Apply(t.Context(), operator, exempting(braked(), netip.MustParsePrefix(host(8)+"/32"))); err != nil {
		t.Fatal(err)
	}
	brakeOn(t, reg, s, "")
	if waits := s.status().Withheld; len(waits) != 0 {
		t.Errorf("waiting: %+v", waits)
	}
	if n := s.Snapshot().Len(); n != 248 { // less a relay, too
		t.Errorf("%d are published", n)
	}
	s.verify()
}

// Without a bound on the listings of an hour, no more begin at once than may come at once.
func TestEvidenceAtOnceIsBraked(t *testing.T) {
	t.Parallel()
	settings := braked()
	settings.Brakes = listing.Brakes{Endings: 10}
	path := filepath.Join(t.TempDir(), "listing.db")
	raw, err := listing.Open(path, listing.Options{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	var hold sync.Once
	began, wait := make(chan struct{}), make(chan struct{})
	raw.OnStage(func(stage string) error {
		if stage == "begin" {
			hold.Do(func() { close(began); <-wait })
		}
		return nil
	})
	s := run(t, path, raw)
	var sent sync.WaitGroup
	send := func(n int) {
		sent.Go(func() {
			if _, err := s.Observe(t.Context(), bounce(n, host(n), time.Now())); err != nil {
				t.Error(err)
			}
		})
	}
	const together = 30 // they share the transaction that waits
	send(together)
	<-began
	for n := range together {
		send(n)
	}
	for s.status().Waiting < together {
		runtime.Gosched()
	}
	close(wait)
	sent.Wait()
	if st := s.status(); st.Listings != 10 || st.Brakes.Frozen.IsZero() || st.Brakes.Limit != 10 || st.Brakes.Held != together+1-10 {
		t.Errorf("%d are listed, brakes %+v", st.Listings, st.Brakes)
	}
	if why := s.why(listing.ActionBrake); len(why) != 1 || !strings.HasSuffix(why[0], "more than 10 new listings by evidence at once") {
		t.Errorf("the audit tells %q", why)
	}
	s.resume()
	if n := s.Snapshot().Len(); n != together+1 {
		t.Errorf("%d are listed", n)
	}
	s.verify()
}

// why returns the reasons that the audit has for an action.
func (r *running) why(action string) (out []string) {
	r.t.Helper()
	page, err := r.Audit(listing.AuditFilter{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, a := range page {
		if a.Action == action {
			out = append(out, a.Reason)
		}
	}
	return out
}

// The state of the brakes is read as programs wrote it that had none on publication.
func TestFormerBrakes(t *testing.T) {
	t.Parallel()
	s := frozen(t)
	since := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	edit(t, s.path, func(tx *bolt.Tx) error {
		meta, now := tx.Bucket([]byte("meta")), []byte("brakes")
		if bytes.Equal(meta.Get(now), listing.FormerBrakes(since, 1, 3)) {
			t.Error("it is the same as now")
		}
		return meta.Put(now, listing.FormerBrakes(since, 1, 3))
	})
	s = open(t, s.path, s.Settings())
	if on := s.status().Brakes; !on.Frozen.Equal(since) || on.Limit != 1 || on.Held != 3 || !on.Withheld.IsZero() {
		t.Errorf("brakes %+v", on)
	}
	s.verify()
}

// An order that an operator gave is not braked, however large.
func TestOrdersAreNotBraked(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "listing.db"), braked())
	s.listMany(250, time.Time{})
	s.exempt(false, time.Time{}, all20)
	if _, err := s.Unexempt(t.Context(), operator, []netip.Prefix{all20}); err != nil || s.Snapshot().Len() != 250 {
		t.Errorf("%d are published: %v", s.Snapshot().Len(), err)
	}
	keys := slices.Collect(s.keys(250))
	if _, err := s.Delist(t.Context(), operator, keys, 0); err != nil || s.Snapshot().Len() != 0 {
		t.Errorf("%d are published: %v", s.Snapshot().Len(), err)
	}
	s.verify()
}

func (r *running) keys(n int) func(func(listing.Key) bool) {
	return func(yield func(listing.Key) bool) {
		for i := range n {
			if !yield(key(r.t, host(i))) {
				return
			}
		}
	}
}

// A prefix of which an exemption leaves many pieces is one listing still, and when it
// is whole again.
func TestPiecesAreNotCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), braked())
		s.list(time.Time{}, "20.1.1.0/24")
		var all []netip.Prefix
		for n := range 60 {
			all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{20, 1, 1, byte(4*n + 1)}), 32))
		}
		s.exempt(true, time.Now().Add(time.Hour), all...)
		if n := s.Snapshot().Len(); n <= 100 {
			t.Errorf("%d pieces", n)
		}
		time.Sleep(2 * time.Hour)
		s.want("20.1.1.0/24")
		s.verify()
	})
}
