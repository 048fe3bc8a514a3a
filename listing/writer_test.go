package listing_test

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

func TestRequestsWaitForRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "listing.db")
		s, err := listing.Open(path, listing.Options{Settings: eager()})
		if err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() {
			_, err := s.Observe(context.Background(), bounce(1, "192.0.2.1", time.Now()))
			result <- err
		}()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Observe(short, bounce(2, "192.0.2.2", time.Now())); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a writer: %v", err)
		}
		r := run(t, path, s)
		if err := <-result; err != nil {
			t.Error(err)
		}
		r.want("192.0.2.1/32") // the other had gone
		r.stop()
		if _, err := s.Observe(t.Context(), bounce(3, "192.0.2.3", time.Now())); !errors.Is(err, listing.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		if _, err := s.Explain(netip.MustParseAddr("192.0.2.1")); !errors.Is(err, listing.ErrClosed) {
			t.Errorf("read after the end: %v", err)
		}
	})
}

func TestSendersShareCommits(t *testing.T) {
	t.Parallel()
	const senders, each = 64, 20
	s := start(t)
	before, err := s.Status()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	now := time.Now()
	for sender := range senders {
		wg.Go(func() {
			for i := range each {
				n := sender*each + i
				addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}).String()
				out, err := s.Observe(context.Background(), bounce(n, addr, now))
				if err != nil || !out.Listed {
					t.Errorf("%+v %v", out, err)
				}
				if _, ok := s.Snapshot().Lookup(netip.MustParseAddr(addr)); !ok {
					t.Errorf("%s is acknowledged and not answered", addr)
				}
			}
		})
	}
	wg.Wait()
	after, err := s.Status()
	if err != nil {
		t.Fatal(err)
	}
	commits := after.Commits - before.Commits
	t.Logf("%d observations in %d commits", senders*each, commits)
	if commits > senders*each/4 {
		t.Errorf("%d commits for %d observations", commits, senders*each)
	}
	if after.Observations != senders*each {
		t.Errorf("%d observations", after.Observations)
	}
	s.verify()
}

// One that comes alone, where two came before, waits for another for as long as it
// is told to; the next expects none.
func TestGroupWait(t *testing.T) {
	t.Parallel()
	for _, wait := range []time.Duration{0, 40 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			settings := eager()
			settings.GroupWait = wait
			path := filepath.Join(t.TempDir(), "listing.db")
			s, err := listing.Open(path, listing.Options{Settings: settings})
			if err != nil {
				t.Fatal(err)
			}
			observe := func(n int) {
				if _, err := s.Observe(context.Background(), bounce(n, "192.0.2.1", time.Now())); err != nil {
					t.Error(err)
				}
			}
			var two sync.WaitGroup
			two.Go(func() { observe(1) })
			two.Go(func() { observe(2) })
			synctest.Wait() // both are there when the writer begins
			r := run(t, path, s)
			two.Wait()
			for n, want := range []time.Duration{wait, 0} {
				begun := time.Now()
				observe(3 + n)
				if took := time.Since(begun); took != want {
					t.Errorf("with %s: number %d took %s, want %s", wait, 3+n, took, want)
				}
			}
			r.stop()
		})
	}
}

// A failed commit: who waits gets an error, the list is served on, and writing
// goes on when the disk does. Whether the failed commit reached the disk or not,
// nothing acknowledged is lost and nothing is half there.
func TestFailedCommit(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]bool{"nothing reached the disk": false, "all reached the disk": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "listing.db")
				s, err := listing.Open(path, listing.Options{Settings: eager()})
				if err != nil {
					t.Fatal(err)
				}
				fault := s.InjectFault()
				r := run(t, path, s)
				r.observe(bounce(1, "192.0.2.1", time.Now()))
				fault.Break(syscall.ENOSPC, after)
				for n := range 3 {
					if _, err := s.Observe(t.Context(), bounce(2, "192.0.2.2", time.Now())); !errors.Is(err, listing.ErrUnavailable) {
						t.Errorf("try %d: %v", n, err)
					}
				}
				if _, err := s.List(t.Context(), operator, []listing.Manual{{Key: key(t, "192.0.2.3")}}); !errors.Is(err, listing.ErrUnavailable) {
					t.Errorf("order: %v", err)
				}
				if st, err := s.Status(); err != nil || st.Writable || st.WhyNot == "" || st.Listings == 0 {
					t.Errorf("status: %+v %v", st, err)
				}
				if _, ok := s.Snapshot().Lookup(netip.MustParseAddr("192.0.2.1")); !ok {
					t.Error("the list is not served")
				}
				time.Sleep(time.Minute)
				fault.Mend()
				time.Sleep(time.Minute)
				if st, err := s.Status(); err != nil || !st.Writable {
					t.Errorf("status: %+v %v", st, err)
				}
				if out := r.observe(bounce(2, "192.0.2.2", time.Now())); out.Duplicate != after || !out.Listed {
					t.Errorf("%+v", out)
				}
				r.want("192.0.2.1/32", "192.0.2.2/32")
				r.verify()
				r = r.reopen(eager())
				r.want("192.0.2.1/32", "192.0.2.2/32")
			})
		})
	}
}

// A real full disk: a small tmpfs, where that can be mounted.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("no tmpfs of our own: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := open(t, filepath.Join(dir, "listing.db"), eager())
	ballast := filepath.Join(dir, "ballast")
	s.observe(bounce(0, "192.0.2.0", time.Now()))
	if err := os.WriteFile(ballast, make([]byte, 256<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	acknowledged := []int{0}
	failed := 0
	for n := 1; n < 2000 && failed < 20; n++ {
		o := bounce(n, netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}).String(), time.Now())
		o.Traces.Diagnostic = "a long one, so that the disk is full sooner"
		switch _, err := s.Observe(t.Context(), o); {
		case err == nil:
			acknowledged = append(acknowledged, n)
		case errors.Is(err, listing.ErrUnavailable):
			failed++
			time.Sleep(20 * time.Millisecond) // a sender that comes back
		default:
			t.Fatal(err)
		}
	}
	if failed == 0 {
		t.Fatal("the disk was never full")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room again", func() bool { // it is tried every ten seconds at least
		_, err := s.Observe(t.Context(), bounce(5000, "198.51.100.1", time.Now()))
		return err == nil
	})
	s.verify()
	for _, n := range acknowledged {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		if out := s.observe(bounce(n, addr.String(), time.Now())); !out.Duplicate {
			t.Fatalf("observation %d was acknowledged and is lost", n)
		}
	}
	t.Logf("%d acknowledged, %d failed while the disk was full", len(acknowledged), failed)
}

// A crash at any moment: the file as it is while the store runs, copied, must
// open and hold everything acknowledged before the copy began.
func TestCopyOfALiveFile(t *testing.T) {
	t.Parallel()
	s := start(t)
	for n := range 200 {
		s.observe(bounce(n, netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}).String(), time.Now()))
		if n%20 != 0 {
			continue
		}
		copied := filepath.Join(t.TempDir(), "listing.db")
		copyFile(t, s.path, copied)
		c := open(t, copied, eager())
		if got := c.Snapshot(); got.Len() != n+1 || got.Sequence() != s.Snapshot().Sequence() {
			t.Errorf("after %d: %d listings at %d, want those of %d", n, got.Len(), got.Sequence(), s.Snapshot().Sequence())
		}
		c.verify()
		c.stop()
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestExpiryInSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		until := time.Now().Add(time.Hour)
		var keys []listing.Manual
		for n := range 2500 {
			k, err := listing.HostKey(netip.AddrFrom4([4]byte{8, 8, byte(n >> 8), byte(n)}))
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, listing.Manual{Key: k, Until: until})
		}
		if _, err := s.List(t.Context(), operator, keys); err != nil {
			t.Fatal(err)
		}
		from := s.Snapshot().Sequence()
		time.Sleep(time.Hour + time.Second)
		s.want()
		changes, err := collected(s.Journal(from))
		if err != nil || len(changes) < 10 {
			t.Errorf("%d steps: %v", len(changes), err)
		}
		for _, c := range changes {
			if len(c.Removed) > 256 {
				t.Errorf("a step ends %d", len(c.Removed))
			}
		}
		s.verify()
	})
}

// What ended while no writer ran is gone as soon as one does.
func TestExpiryWhileStopped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.list(time.Now().Add(time.Hour), "192.0.2.1")
		s.stop()
		time.Sleep(2 * time.Hour)
		s = open(t, s.path, eager())
		synctest.Wait()
		time.Sleep(time.Millisecond)
		s.want()
		s.verify()
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	path := filepath.Join(t.TempDir(), "listing.db")
	s, err := listing.Open(path, listing.Options{Settings: eager(), Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, path, s)
	r.observe(bounce(1, "192.0.2.1", time.Now()))
	r.observe(bounce(1, "192.0.2.1", time.Now()))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v %v", problems, err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"backscatter_store_observations_total listed": 1, "backscatter_store_observations_total duplicate": 1,
		"backscatter_listings bounce": 1, "backscatter_listings manual": 0, "backscatter_store_writable": 1,
		"backscatter_store_wait_seconds": 2, "backscatter_store_group_size": 2,
		"backscatter_serial": float64(s.Snapshot().Serial()),
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if got["backscatter_store_commits_total done"] < 2 || got["backscatter_store_commit_seconds"] < 2 {
		t.Errorf("commits: %v", got)
	}
}

// One record that cannot be read keeps neither other reports nor other endings
// from being done, and is named.
func TestDamagedRecordHarmsNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		until := time.Now().Add(time.Hour)
		s.list(until, "192.0.2.1", "192.0.2.2", "192.0.2.3")
		err := s.DB().Update(func(tx *bolt.Tx) error {
			key, value := tx.Bucket([]byte("records")).Cursor().First()
			spoilt := append([]byte(nil), value...)
			spoilt[len(spoilt)/2] ^= 1
			return tx.Bucket([]byte("records")).Put(append([]byte(nil), key...), spoilt)
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Explain(netip.MustParseAddr("192.0.2.1")); !errors.Is(err, listing.ErrDamaged) || !strings.Contains(err.Error(), "192.0.2.1") {
			t.Errorf("explain: %v", err)
		}
		if err := s.Verify(); !errors.Is(err, listing.ErrDamaged) || !strings.Contains(err.Error(), "192.0.2.1") {
			t.Errorf("verify: %v", err)
		}
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				_, err := s.Observe(context.Background(), bounce(n, netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}).String(), time.Now()))
				if (n == 1) != errors.Is(err, listing.ErrDamaged) {
					t.Errorf("observation of 192.0.2.%d: %v", n, err)
				}
			})
		}
		wg.Wait()
		time.Sleep(7*24*time.Hour + time.Minute)
		s.want("192.0.2.1/32") // what it was cannot be told any more
	})
}
