package listing_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"backscatter/listing"
)

var (
	operator = listing.Order{By: listing.Actor{UID: 1000, Name: "jdoe", Via: "control socket"}, Reason: "seen in our logs"}
	dryRun   = listing.Order{By: operator.By, Reason: operator.Reason, DryRun: true}
)

// compareEntries lets go-cmp look into prefixes.
var compareEntries = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b listing.Key) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// eager is a rule that lists at the first bounce.
func eager() listing.Settings {
	p := listing.Solo()
	p.Score, p.Originals, p.Recipients, p.Span = 1, 1, 0, 0
	return listing.Settings{
		Policy: p,
		Listable: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"),
			netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32"),
		},
		Reporters: []listing.Reporter{{Name: "local", Organisation: "local"}, {Name: "other", Organisation: "other"}},
		Published: [32]byte{1},
		Horizon:   5 * time.Minute,
	}
}

// running is a store whose writer runs until the test is over.
type running struct {
	*listing.Store
	t    testing.TB
	path string
	stop func()
}

func open(tb testing.TB, path string, settings listing.Settings) *running {
	tb.Helper()
	s, err := listing.Open(path, listing.Options{Settings: settings})
	if err != nil {
		tb.Fatal(err)
	}
	return run(tb, path, s)
}

func run(tb testing.TB, path string, s *listing.Store) *running {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := &running{Store: s, t: tb, path: path}
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
		done <- nil
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	}
	tb.Cleanup(r.stop)
	return r
}

func start(tb testing.TB) *running {
	tb.Helper()
	return open(tb, filepath.Join(tb.TempDir(), "listing.db"), eager())
}

// reopen stops the store, checks the file, and opens it again.
func (r *running) reopen(settings listing.Settings) *running {
	r.t.Helper()
	r.stop()
	return open(r.t, r.path, settings)
}

func (r *running) verify() {
	r.t.Helper()
	if err := r.Verify(); err != nil {
		r.t.Error(err)
	}
}

// published is what the snapshot holds, and must be what Verify finds.
func (r *running) published() []string {
	var out []string
	for e := range r.Snapshot().All() {
		out = append(out, e.Prefix.String())
	}
	return out
}

func (r *running) want(prefixes ...string) {
	r.t.Helper()
	if diff := cmp.Diff(prefixes, r.published(), cmpopts.EquateEmpty()); diff != "" {
		r.t.Errorf("published (-want +got):\n%s", diff)
	}
}

func id(n int) (out listing.ID) {
	binary.BigEndian.PutUint64(out[8:], uint64(n)+1)
	return out
}

// bounce is the nth bounce, from the given source.
func bounce(n int, source string, at time.Time) listing.Observation {
	return listing.Observation{
		ID: id(n), Addr: netip.MustParseAddr(source), Class: listing.ClassBounce, At: at,
		Level: listing.LevelA, Proofs: listing.ProofSetOf(listing.ProofTrap),
		Reporter: "local", Organisation: "local", Sensor: "smtp", TrapDomain: "trap.example",
		Recipient: id(n), Original: id(n),
		Traces: listing.Traces{MessageID: fmt.Sprintf("<%d@mx.example>", n), QueueID: "4F00", HELO: "mx.example"},
	}
}

func (r *running) observe(o listing.Observation) listing.Outcome {
	r.t.Helper()
	out, err := r.Observe(context.Background(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func key(tb testing.TB, text string) listing.Key {
	tb.Helper()
	k, err := listing.ParseKey(text)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func (r *running) list(until time.Time, texts ...string) listing.Result {
	r.t.Helper()
	var keys []listing.Manual
	for _, text := range texts {
		keys = append(keys, listing.Manual{Key: key(r.t, text), Until: until})
	}
	result, err := r.List(context.Background(), operator, keys)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

func (r *running) delist(hold time.Duration, texts ...string) listing.Result {
	r.t.Helper()
	var keys []listing.Key
	for _, text := range texts {
		keys = append(keys, key(r.t, text))
	}
	result, err := r.Delist(context.Background(), operator, keys, hold)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

func TestBounceIsListedAndExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		before := s.Snapshot()
		out := s.observe(bounce(1, "192.0.2.66", time.Now()))
		if !out.Listed || out.Duplicate || out.Sequence != before.Sequence()+1 || !out.Decision.List {
			t.Fatalf("outcome %+v", out)
		}
		s.want("192.0.2.66/32")
		select {
		case <-before.Superseded():
		default:
			t.Error("the old snapshot is not superseded")
		}
		listed := time.Now()
		e, ok := s.Snapshot().Lookup(netip.MustParseAddr("::ffff:192.0.2.66"))
		want := listing.Entry{
			Prefix: netip.MustParsePrefix("192.0.2.66/32"), Class: listing.ClassBounce, Classes: listing.ClassSetOf(listing.ClassBounce),
			Summary: listing.Summary{Events: 1, Since: listing.DateOf(listed), Last: listing.DateOf(listed), Until: listing.DateOf(listed.Add(7 * 24 * time.Hour))},
		}
		if diff := cmp.Diff(want, e, compareEntries); !ok || diff != "" {
			t.Errorf("entry (-want +got):\n%s", diff)
		}

		// A second bounce renews, and publishes nothing.
		time.Sleep(24 * time.Hour)
		if out := s.observe(bounce(2, "192.0.2.66", time.Now())); out.Sequence != before.Sequence()+1 {
			t.Errorf("a renewal moved the serial to %d", out.Sequence)
		}
		// When the day that is published comes, the new one is published.
		time.Sleep(6*24*time.Hour + time.Minute)
		e, _ = s.Snapshot().Lookup(netip.MustParseAddr("192.0.2.66"))
		if e.Summary.Until != want.Summary.Until+1 || e.Summary.Events != 2 || s.Snapshot().Sequence() != before.Sequence()+2 {
			t.Errorf("renewed entry %+v at %d", e, s.Snapshot().Sequence())
		}
		if _, ok := s.Snapshot().Until(e.Prefix.Addr()); ok {
			t.Error("it ends tomorrow and is in the table of endings")
		}
		time.Sleep(24*time.Hour - 3*time.Minute)
		if until, ok := s.Snapshot().Until(e.Prefix.Addr()); !ok || !until.Equal(listed.Add(8*24*time.Hour)) {
			t.Errorf("table of endings: %s %t", until, ok)
		}
		time.Sleep(3 * time.Minute)
		s.want()
		s.verify()

		x, err := s.Explain(netip.MustParseAddr("192.0.2.66"))
		if err != nil || x.Listed || len(x.Events) != 2 || len(x.History) != 1 || x.History[0].How != listing.Expired {
			t.Errorf("%v %+v", err, x)
		}
	})
}

func TestObserveOutcomes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		if _, err := s.Exempt(t.Context(), operator, []listing.Exemption{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}}); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		levelC := bounce(4, "192.0.2.4", now)
		levelC.Level = listing.LevelC
		stranger := bounce(5, "192.0.2.5", now)
		stranger.Reporter = "nobody"
		future := bounce(6, "192.0.2.6", now.Add(24*time.Hour))
		for _, c := range []struct {
			name string
			obs  listing.Observation
			want listing.Outcome
		}{
			{"first", bounce(1, "192.0.2.1", now), listing.Outcome{Listed: true}},
			{"again", bounce(1, "192.0.2.1", now), listing.Outcome{Listed: true, Duplicate: true}},
			{"another", bounce(2, "192.0.2.1", now), listing.Outcome{Listed: true}},
			{"stale", bounce(3, "192.0.2.3", now.Add(-7*24*time.Hour-time.Second)), listing.Outcome{Stale: true}},
			{"level C", levelC, listing.Outcome{}},
			{"reporter not enrolled", stranger, listing.Outcome{}},
			{"exempt", bounce(7, "198.51.100.7", now), listing.Outcome{Exempt: true}},
			{"from the future", future, listing.Outcome{Listed: true}},
			{"IPv6", bounce(8, "2001:db8::8", now), listing.Outcome{Listed: true}},
			{"IPv4 in IPv6", bounce(9, "::ffff:192.0.2.9", now), listing.Outcome{Listed: true}},
		} {
			got := s.observe(c.obs)
			got.Key, got.Decision, got.Sequence = listing.Key{}, listing.Decision{}, 0
			if diff := cmp.Diff(c.want, got, compareEntries); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
		}
		s.want("192.0.2.1/32", "192.0.2.6/32", "192.0.2.9/32", "2001:db8::/64")
		for text, want := range map[string]int{"192.0.2.1": 2, "192.0.2.3": 0, "192.0.2.4": 1, "198.51.100.7": 1} {
			x, err := s.Explain(netip.MustParseAddr(text))
			if err != nil || len(x.Events) != want || x.Observations != want {
				t.Errorf("%s: %d events, want %d: %v", text, len(x.Events), want, err)
			}
		}
		s.verify()

		s = s.reopen(eager())
		if out := s.observe(bounce(2, "192.0.2.1", now)); !out.Duplicate {
			t.Error("an identity was forgotten over a restart")
		}
	})
}

func TestObserveRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	good := bounce(1, "192.0.2.1", time.Now())
	for name, spoil := range map[string]func(*listing.Observation){
		"no address":  func(o *listing.Observation) { o.Addr = netip.Addr{} },
		"no identity": func(o *listing.Observation) { o.ID = listing.ID{} },
		"no class":    func(o *listing.Observation) { o.Class = listing.ClassOther },
		"manual":      func(o *listing.Observation) { o.Class = listing.ClassManual },
		"no level":    func(o *listing.Observation) { o.Level = 0 },
		"no time":     func(o *listing.Observation) { o.At = time.Time{} },
	} {
		o := good
		spoil(&o)
		if _, err := s.Observe(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s.want()
}

func TestObservationKeepsWhatItTells(t *testing.T) {
	t.Parallel()
	s := start(t)
	o := bounce(1, "2001:db8::1:2:3:4", time.Now().UTC().Truncate(time.Second))
	o.Proofs = listing.ProofSetOf(listing.ProofTrap, listing.ProofDKIM)
	o.SPFFailed = true
	o.Traces.Origin = netip.MustParseAddr("198.51.100.9")
	o.Traces.URLHosts = []string{"a.example", "b.example"}
	o.Traces.Subject = id(99)
	o.Traces.Diagnostic = "smtp; 550 no such user"
	s.observe(o)
	x, err := s.Explain(o.Addr)
	if err != nil || len(x.Events) != 1 {
		t.Fatal(err, x)
	}
	e := x.Events[0]
	want := listing.Event{
		ID: o.ID, At: o.At, Class: o.Class, Level: o.Level, Proofs: o.Proofs.Names(), SPFFailed: true, Traces: o.Traces,
		Reporter: o.Reporter, Organisation: o.Organisation, Sensor: o.Sensor, TrapDomain: o.TrapDomain, Recipient: o.Recipient, Original: o.Original,
	}
	if diff := cmp.Diff(want, e, compareEntries); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestKeptObservationsAreBounded(t *testing.T) {
	t.Parallel()
	s := start(t)
	now := time.Now()
	const sent = 1200
	errs := make(chan error, sent)
	for n := range sent {
		go func() {
			_, err := s.Observe(context.Background(), bounce(n, "192.0.2.1", now.Add(-time.Duration(sent-n)*time.Second)))
			errs <- err
		}()
	}
	for range sent {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	x, err := s.Explain(netip.MustParseAddr("192.0.2.1"))
	if err != nil || x.Observations < 900 || x.Observations > 1000 {
		t.Errorf("%d kept: %v", x.Observations, err)
	}
	s.verify()
}

func TestOrdersNeedAReason(t *testing.T) {
	t.Parallel()
	s := start(t)
	k, p := key(t, "192.0.2.1"), netip.MustParsePrefix("192.0.2.0/24")
	for _, reason := range []string{"", " \t"} {
		o := listing.Order{By: operator.By, Reason: reason}
		for name, do := range map[string]func() error{
			"list":     func() error { _, err := s.List(t.Context(), o, []listing.Manual{{Key: k}}); return err },
			"delist":   func() error { _, err := s.Delist(t.Context(), o, []listing.Key{k}, time.Hour); return err },
			"exempt":   func() error { _, err := s.Exempt(t.Context(), o, []listing.Exemption{{Prefix: p}}); return err },
			"unexempt": func() error { _, err := s.Unexempt(t.Context(), o, []netip.Prefix{p}); return err },
			"apply":    func() error { _, err := s.Apply(t.Context(), o, eager()); return err },
		} {
			if err := do(); !errors.Is(err, listing.ErrNoReason) {
				t.Errorf("%s with reason %q: %v", name, reason, err)
			}
		}
	}
}

func TestListRefuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.list(time.Time{}, "192.0.2.0/25", "198.51.100.1", "2001:db8:1::/56")
	for _, c := range []struct {
		name string
		keys []string
		want error
	}{
		{"host in a listed prefix", []string{"192.0.2.7"}, listing.ErrOverlap},
		{"prefix round a listed prefix", []string{"192.0.2.0/24"}, listing.ErrOverlap},
		{"prefix round a listed host", []string{"198.51.100.0/24"}, listing.ErrOverlap},
		{"/64 in a listed prefix", []string{"2001:db8:1:1::1"}, listing.ErrOverlap},
		{"overlap within the order", []string{"203.0.113.0/28", "203.0.113.3"}, listing.ErrOverlap},
		{"special-purpose space", []string{"10.0.0.1"}, listing.ErrExempt},
		{"one of many", []string{"203.0.113.1", "127.0.0.1", "203.0.113.2"}, listing.ErrExempt},
	} {
		var keys []listing.Manual
		for _, text := range c.keys {
			keys = append(keys, listing.Manual{Key: key(t, text)})
		}
		_, err := s.List(t.Context(), operator, keys)
		var refused *listing.RefusedError
		if !errors.Is(err, c.want) || !errors.As(err, &refused) || len(refused.Problems) == 0 {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err := s.List(t.Context(), operator, []listing.Manual{{Key: key(t, "203.0.113.9"), Until: time.Now().Add(-time.Hour)}})
	if err == nil {
		t.Error("listed until the past")
	}
	s.want("192.0.2.0/25", "198.51.100.1/32", "2001:db8:1::/56")
	s.verify()
}

func TestDryRunLeavesNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.list(time.Time{}, "192.0.2.1")
	before := s.Snapshot()
	audit, err := s.Audit(listing.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() (listing.Result, error){
		"list": func() (listing.Result, error) {
			return s.List(t.Context(), dryRun, []listing.Manual{{Key: key(t, "192.0.2.0/24")}})
		},
		"delist": func() (listing.Result, error) {
			return s.Delist(t.Context(), dryRun, []listing.Key{key(t, "192.0.2.1")}, 0)
		},
		"exempt": func() (listing.Result, error) {
			return s.Exempt(t.Context(), dryRun, []listing.Exemption{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}})
		},
	} {
		r, err := do()
		if name == "list" {
			if !errors.Is(err, listing.ErrOverlap) {
				t.Errorf("list: %v", err)
			}
			continue
		}
		if err != nil || !r.DryRun || len(r.Removed) != 1 || r.Sequence != before.Sequence()+1 {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
	after, err := s.Audit(listing.AuditFilter{})
	if err != nil || len(after) != len(audit) || s.Snapshot() != before {
		t.Errorf("a dry run left something: %d entries, were %d: %v", len(after), len(audit), err)
	}
	s.verify()
}

func TestDelist(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.observe(bounce(1, "192.0.2.66", time.Now()))
		s.list(time.Now().Add(48*time.Hour), "192.0.2.66", "198.51.100.0/24")
		if _, err := s.Delist(t.Context(), operator, []listing.Key{key(t, "203.0.113.1")}, 0); !errors.Is(err, listing.ErrNotListed) {
			t.Errorf("delist what is not listed: %v", err)
		}
		if _, err := s.Delist(t.Context(), operator, []listing.Key{key(t, "198.51.100.7")}, 0); !errors.Is(err, listing.ErrNotListed) {
			t.Errorf("delist a part of a prefix: %v", err)
		}
		if r := s.delist(2*time.Hour, "192.0.2.66", "203.0.113.1"); len(r.Removed) != 1 || len(r.Skipped) != 1 {
			t.Errorf("%+v", r)
		}
		s.want("198.51.100.0/24")

		// What was seen before never counts again; what comes during the hold
		// does not list until it is over.
		if out := s.observe(bounce(2, "192.0.2.66", time.Now().Add(-time.Minute))); out.Listed || out.Decision.Events != 0 {
			t.Errorf("evidence from before the delist: %+v", out)
		}
		time.Sleep(time.Hour)
		for _, source := range []string{"192.0.2.66", "203.0.113.1"} {
			n := int(netip.MustParseAddr(source).As4()[0])
			if out := s.observe(bounce(n, source, time.Now())); out.Listed || !out.Decision.List {
				t.Errorf("evidence during the hold: %+v", out)
			}
		}
		time.Sleep(time.Hour + time.Minute)
		s.want("192.0.2.66/32", "198.51.100.0/24", "203.0.113.1/32")
		x, err := s.Explain(netip.MustParseAddr("192.0.2.66"))
		if err != nil || len(x.History) != 1 || x.History[0].By != listing.ByEvidence|listing.ByOperator || x.History[0].How != listing.Delisted {
			t.Errorf("history %+v: %v", x.History, err)
		}
		s.verify()
	})
}

func TestCoveredHostComesBack(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	s.list(time.Time{}, "192.0.2.0/24")
	s.want("192.0.2.0/24")
	s.observe(bounce(2, "192.0.2.67", time.Now()))
	s.want("192.0.2.0/24")
	x, err := s.Explain(netip.MustParseAddr("192.0.2.67"))
	if err != nil || !x.Listed || x.CoveredBy == nil || x.CoveredBy.String() != "192.0.2.0/24" || x.Class != listing.ClassManual || x.By != listing.ByEvidence {
		t.Errorf("%+v %v", x, err)
	}
	s.delist(0, "192.0.2.0/24")
	s.want("192.0.2.66/32", "192.0.2.67/32")
	s.verify()
}

func TestExemption(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.list(time.Time{}, "192.0.2.0/24")
		s.observe(bounce(1, "2001:db8::1", time.Now()))
		exempt := func(text string, d time.Duration) {
			t.Helper()
			x := listing.Exemption{Prefix: netip.MustParsePrefix(text)}
			if d > 0 {
				x.Until = time.Now().Add(d)
			}
			if _, err := s.Exempt(t.Context(), operator, []listing.Exemption{x}); err != nil {
				t.Fatal(err)
			}
		}
		exempt("192.0.2.0/25", time.Hour)
		exempt("2001:db8::/33", 0)
		s.want("192.0.2.128/25")
		s = s.reopen(eager())
		s.want("192.0.2.128/25")
		s.verify()
		time.Sleep(time.Hour + time.Second)
		s.want("192.0.2.0/24")
		if _, err := s.Unexempt(t.Context(), operator, []netip.Prefix{netip.MustParsePrefix("2001:db8::/33")}); err != nil {
			t.Fatal(err)
		}
		s.want("192.0.2.0/24", "2001:db8::/64")
		for _, text := range []string{"203.0.113.0/24", "127.0.0.0/8"} {
			if _, err := s.Unexempt(t.Context(), operator, []netip.Prefix{netip.MustParsePrefix(text)}); !errors.Is(err, listing.ErrNotExempt) {
				t.Errorf("unexempt %s: %v", text, err)
			}
		}
		if _, err := s.Exempt(t.Context(), operator, []listing.Exemption{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}); err == nil {
			t.Error("exempted the whole Internet")
		}
		s.verify()
	})
}

func TestApply(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	s.observe(bounce(2, "198.51.100.7", time.Now()))
	from := s.Snapshot().Sequence()

	next := eager()
	next.Policy = listing.Community()
	next.Listable = next.Listable[:1]
	next.BuiltIn = []listing.Exemption{{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Reason: "this server"}}
	if _, err := s.Apply(t.Context(), operator, next); err != nil {
		t.Fatal(err)
	}
	s.want("192.0.2.66/32") // the policy is stricter, and what is listed stays so
	changes, err := collected(s.Journal(from))
	if err != nil || len(changes) != 1 || len(changes[0].Removed) != 1 || changes[0].Removed[0].Prefix.String() != "198.51.100.7/32" {
		t.Errorf("journal: %+v %v", changes, err)
	}
	if out := s.observe(bounce(3, "192.0.2.1", time.Now())); !out.Exempt {
		t.Errorf("%+v", out)
	}

	next.Published = [32]byte{2}
	from = s.Snapshot().Sequence()
	if r, err := s.Apply(t.Context(), operator, next); err != nil || r.Sequence != from+1 {
		t.Errorf("other published settings: %+v %v", r, err)
	}
	if _, err := collected(s.Journal(from)); !errors.Is(err, listing.ErrCut) {
		t.Errorf("journal across other published settings: %v", err)
	}
	s = s.reopen(next)
	if s.Snapshot().Sequence() != from+1 {
		t.Error("the same settings moved the serial")
	}
	s = s.reopen(eager())
	s.want("192.0.2.66/32", "198.51.100.7/32")
	s.verify()
}

func TestJournal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		first := s.Snapshot().Sequence()
		s.list(time.Time{}, "192.0.2.1", "192.0.2.2")
		s.delist(0, "192.0.2.1")
		changes, err := collected(s.Journal(first))
		var got []string
		for _, c := range changes {
			for _, e := range c.Removed {
				got = append(got, fmt.Sprintf("%d -%s", c.Sequence-first, e.Prefix))
			}
			for _, e := range c.Added {
				got = append(got, fmt.Sprintf("%d +%s", c.Sequence-first, e.Prefix))
			}
		}
		if want := []string{"1 +192.0.2.1/32", "1 +192.0.2.2/32", "2 -192.0.2.1/32"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, want %v: %v", got, want, err)
		}
		if none, err := collected(s.Journal(first + 2)); err != nil || len(none) != 0 {
			t.Errorf("from the newest: %v %v", none, err)
		}
		for _, from := range []uint64{0, first - 1, first + 3} {
			if _, err := collected(s.Journal(from)); !errors.Is(err, listing.ErrCut) {
				t.Errorf("from %d: %v", from, err)
			}
		}
		time.Sleep(31 * 24 * time.Hour)
		if _, err := collected(s.Journal(first)); !errors.Is(err, listing.ErrCut) {
			t.Errorf("after a month: %v", err)
		}
		s.verify()
	})
}

func TestAudit(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	s.list(time.Time{}, "198.51.100.1", "198.51.100.2")
	s.delist(0, "192.0.2.66")
	all, err := s.Audit(listing.AuditFilter{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range all {
		got = append(got, fmt.Sprintf("%d %s %s %d", a.Number, a.Action, a.By.Name, a.Count))
	}
	want := []string{"1 apply start 0", "2 evidence evidence 1", "3 list jdoe 2", "4 delist jdoe 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	some, err := s.Audit(listing.AuditFilter{After: 2, Within: netip.MustParsePrefix("198.51.100.2/32"), Limit: 5})
	if err != nil || len(some) != 1 || some[0].Number != 3 || some[0].By != operator.By || some[0].Reason != operator.Reason {
		t.Errorf("%+v %v", some, err)
	}
	s.verify()
}

func TestListings(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.observe(bounce(1, "192.0.2.66", time.Now()))
	s.list(time.Time{}, "198.51.100.1", "198.51.100.2", "2001:db8::1")
	for _, c := range []struct {
		name   string
		filter listing.Filter
		want   []string
	}{
		{"all", listing.Filter{}, []string{"192.0.2.66", "198.51.100.1", "198.51.100.2", "2001:db8::/64"}},
		{"class", listing.Filter{Class: listing.ClassBounce}, []string{"192.0.2.66"}},
		{"by", listing.Filter{By: listing.ByOperator, Limit: 2}, []string{"198.51.100.1", "198.51.100.2"}},
		{"after", listing.Filter{After: key(t, "198.51.100.1")}, []string{"198.51.100.2", "2001:db8::/64"}},
		{"within", listing.Filter{Within: netip.MustParsePrefix("198.51.100.0/24")}, []string{"198.51.100.1", "198.51.100.2"}},
		{"within one", listing.Filter{Within: netip.MustParsePrefix("192.0.2.66/32")}, []string{"192.0.2.66"}},
	} {
		page, err := s.Listings(c.filter)
		var got []string
		for _, l := range page {
			got = append(got, l.Key.String())
			if !l.Published {
				t.Errorf("%s: %s is not published", c.name, l.Key)
			}
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v: %v", c.name, got, c.want, err)
		}
	}
}
