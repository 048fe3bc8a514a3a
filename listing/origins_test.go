package listing_test

import (
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"backscatter/listing"
)

// Bounces of mail with the same subject that led to the same host are one run.
func TestSpamRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), eager())
		start := time.Now().UTC().Truncate(time.Second)
		addr := netip.MustParseAddr
		spam := func(n int, source, origin, host string, subject byte) listing.ID {
			o := reportedBy("local", n, source)
			o.Traces.Subject, o.Traces.URLHosts = listing.ID{subject}, nil
			if subject == 0 {
				o.Traces.Subject = listing.ID{}
			}
			if host != "" {
				o.Traces.URLHosts = []string{host, "other.example"}
			}
			if origin != "" {
				o.Traces.Origin = addr(origin)
			} else {
				o.Traces.Origin = netip.Addr{}
			}
			s.observe(o)
			time.Sleep(time.Minute)
			return o.ID
		}
		spam(1, "192.0.2.67", "198.51.100.2", "pills.example", 1)
		spam(2, "192.0.2.66", "198.51.100.1", "pills.example", 1)
		spam(3, "192.0.2.66", "", "pills.example", 1)
		spam(4, "192.0.2.66", "198.51.100.1", "", 1)
		spam(5, "192.0.2.66", "198.51.100.1", "", 0)
		revoked := spam(6, "192.0.2.68", "198.51.100.3", "casino.example", 2)
		if _, err := s.Revoke(t.Context(), operator, listing.Revocation{Event: revoked}); err != nil {
			t.Fatal(err)
		}
		s = s.reopen(eager())
		same := func(since time.Time, most, leftOut int, want ...listing.SpamRun) {
			t.Helper()
			got, err := s.SpamRuns(t.Context(), since, most)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got.Runs {
				if got.Runs[i].Originals == 0 || got.Runs[i].Subject.IsZero() {
					t.Errorf("%+v", got.Runs[i])
				}
				got.Runs[i].Subject = listing.ID{} // kept shorter than it was told
			}
			if d := cmp.Diff(want, got.Runs, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" || got.LeftOut != leftOut {
				t.Errorf("%d left out\n%s", got.LeftOut, d)
			}
		}
		pills := listing.SpamRun{
			URLHost: "pills.example", First: start, Last: start.Add(2 * time.Minute), Observations: 3, Originals: 3,
			Origins:      []netip.Addr{addr("198.51.100.1"), addr("198.51.100.2")},
			Backscatters: []netip.Addr{addr("192.0.2.66"), addr("192.0.2.67")},
		}
		same(time.Time{}, 1, 1, pills)
		same(start, 10, 1, pills, listing.SpamRun{
			First: start.Add(3 * time.Minute), Last: start.Add(3 * time.Minute), Observations: 1, Originals: 1,
			Origins: []netip.Addr{addr("198.51.100.1")}, Backscatters: []netip.Addr{addr("192.0.2.66")},
		})
		same(start.Add(time.Hour), 10, 0, []listing.SpamRun{}...)
	})
}
