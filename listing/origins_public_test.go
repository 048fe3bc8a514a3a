package listing_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"backscatter/listing"
)

// What everybody is told was seen at several trap domains and by several hosts: who
// forges mail from one address cannot find out by it whether that is a trap.
func TestPublicRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "listing.db"), eager())
		start := time.Now().UTC().Truncate(24 * time.Hour)
		time.Sleep(time.Until(start.Add(34 * time.Hour))) // ten in the morning
		n := 0
		spam := func(host, trap, source, origin string) listing.ID {
			n++
			o := reportedBy("local", n, source)
			o.TrapDomain, o.Traces.URLHosts, o.Traces.Origin = trap, []string{host}, netip.MustParseAddr(origin)
			s.observe(o)
			return o.ID
		}
		sources := []string{"192.0.2.66", "192.0.2.67", "192.0.2.68"}
		traps := []string{"one.example", "two.example", "three.example"}
		for i := range 12 { // everything often enough, and the host another each time
			spam(fmt.Sprintf("u%d.pills.example.co.uk", i), traps[i%3], sources[i/3%3], "198.51.100.1")
		}
		// What somebody wrote to learn of one trap more: a host, an origin, a
		// backscatterer and a domain of his own, in a run that is told anyway too.
		spam("probe.pills.example.co.uk", "four.example", "192.0.2.99", "198.51.100.99")
		for range 5 {
			spam("probe.evil.example", "four.example", "192.0.2.99", "198.51.100.99")
		}
		for _, source := range sources { // two trap domains, one of them under two names
			spam("casino.example", "one.example", source, "198.51.100.1")
			spam("casino.example", "two.example", source, "198.51.100.1")
			spam("casino.example", "sub.two.example", source, "198.51.100.1")
		}
		for _, trap := range traps { // one backscatterer
			spam("watches.example", trap, "192.0.2.66", "198.51.100.1")
		}
		for i, trap := range traps { // with what was revoked: another
			id := spam("drugs.example", trap, sources[i], "198.51.100.1")
			if i > 0 {
				continue
			}
			if _, err := s.Revoke(t.Context(), operator, listing.Revocation{Event: id}); err != nil {
				t.Fatal(err)
			}
		}
		for i, trap := range traps { // an address in place of a name
			spam("203.0.113.5", trap, sources[i], "198.51.100.2")
		}
		same := func(when string, want ...listing.PublicRun) {
			t.Helper()
			got, err := s.PublicRuns(t.Context(), time.Now(), 7*24*time.Hour, 10)
			if d := cmp.Diff(append([]listing.PublicRun{}, want...), got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); err != nil || d != "" {
				t.Errorf("%s: %v\n%s", when, err, d)
			}
		}
		same("on the same day")
		time.Sleep(14*time.Hour - time.Second)
		same("on the same day, late")
		time.Sleep(time.Second)
		addrs := func(texts ...string) []netip.Addr {
			out := []netip.Addr{}
			for _, text := range texts {
				out = append(out, netip.MustParseAddr(text))
			}
			return out
		}
		day := start.Add(24 * time.Hour).Format(time.DateOnly)
		pills := listing.PublicRun{
			Domain: "example.co.uk", First: day, Last: day, Observations: 10,
			Origins: addrs("198.51.100.1"), Backscatters: addrs(sources...),
		}
		hosted := listing.PublicRun{
			Domain: "203.0.113.5", First: day, Last: day, Observations: 1,
			Origins: addrs("198.51.100.2"), Backscatters: addrs(),
		}
		same("on the next", pills, hosted)
		if got, err := s.PublicRuns(t.Context(), time.Now(), time.Hour, 1); err != nil || len(got) != 1 || got[0].Domain != "example.co.uk" {
			t.Errorf("of less than a day, one: %+v, %v", got, err)
		}
		time.Sleep(7 * 24 * time.Hour)
		same("a week later")
	})
}
