package listing_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
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
		GroupWait: listing.DefaultGroupWait,
		Policy:    p,
		Listable: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"),
			netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32"),
		},
		Reporters: []listing.Reporter{{Name: "local", Organisation: "local"}, {Name: "other", Organisation: "other"}},
		Published: [32]byte{1},
		Probation: listing.DefaultProbation(),
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
