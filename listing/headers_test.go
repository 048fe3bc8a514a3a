package listing_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

// headed is a bounce with the header of its report.
func headed(n int, source string, at time.Time) listing.Observation {
	o := bounce(n, source, at)
	o.Headers = header(n)
	return o
}

func header(n int) string { return fmt.Sprintf("From: <MAILER-DAEMON>\nX-Number: %d\n", n) }

func keeping(d time.Duration, bytes int64) listing.Settings {
	settings := eager()
	settings.Headers = listing.KeepHeaders{For: d, Bytes: bytes}
	return settings
}

func headersOf(t *testing.T, s *running, source string) []string {
	t.Helper()
	k, err := listing.HostKey(netip.MustParseAddr(source))
	if err != nil {
		t.Fatal(err)
	}
	all, err := s.Headers(k)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, h := range all {
		out = append(out, h.Text)
	}
	return out
}

// Headers are kept only where that is asked for, and for as long; they go with
// their time, and all of them when nobody wants them any more.
func TestHeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.observe(headed(1, "192.0.2.66", time.Now()))
		if got := headersOf(t, s, "192.0.2.66"); len(got) != 0 {
			t.Errorf("kept, and nobody asked for it: %q", got)
		}
		s = s.reopen(keeping(30*day, 1<<20))
		s.observe(headed(2, "192.0.2.66", time.Now()))
		time.Sleep(time.Minute)
		s.observe(headed(3, "192.0.2.66", time.Now()))
		s.observe(headed(3, "192.0.2.66", time.Now())) // a duplicate
		s.observe(headed(4, "192.0.2.67", time.Now()))
		if diff := cmp.Diff([]string{header(3), header(2)}, headersOf(t, s, "192.0.2.66")); diff != "" {
			t.Error(diff)
		}
		s.verify()
		v, err := s.Examine()
		if err != nil || v.Headers != 3 {
			t.Errorf("verify counts %d headers, %v", v.Headers, err)
		}
		time.Sleep(29 * day)
		if got := headersOf(t, s, "192.0.2.66"); len(got) != 2 {
			t.Errorf("%d headers after 29 days", len(got))
		}
		time.Sleep(2 * day)
		if got := headersOf(t, s, "192.0.2.66"); len(got) != 0 {
			t.Errorf("%d headers after 31 days", len(got))
		}
		s.verify()
		for i := range 450 {
			s.observe(headed(1000+i, "192.0.2.68", time.Now()))
		}
		s = s.reopen(eager())
		time.Sleep(20 * time.Second) // three steps, and no ten minutes between them
		if v, err := s.Examine(); err != nil || v.Headers != 0 {
			t.Errorf("%d headers that nobody wants, %v", v.Headers, err)
		}
		s.verify()
	})
}

// However many and long they are, headers take no more room than they may, and
// the newest stay. Those of observations that go for want of room go, too.
func TestHeadersBounded(t *testing.T) {
	t.Parallel()
	const room = 2 * listing.MaxHeader
	s := start(t).reopen(keeping(30*day, room))
	long := func(n int, source string) listing.Observation {
		o := bounce(n, source, time.Now())
		o.Headers = strings.Repeat(fmt.Sprintf("X-Filler: %d\n", n), 4000)
		return o
	}
	for i := range 5 {
		s.observe(long(i, "192.0.2.66"))
	}
	got := headersOf(t, s, "192.0.2.66")
	total := 0
	for _, text := range got {
		total += len(text)
		if len(text) > listing.MaxHeader || !strings.HasSuffix(text, "\n") {
			t.Errorf("a header of %d bytes, that ends in %q", len(text), text[len(text)-5:])
		}
	}
	if len(got) == 0 || total > room {
		t.Errorf("%d headers, %d bytes", len(got), total)
	}
	s.verify()
	for i := range 1050 {
		s.observe(headed(100+i, "192.0.2.67", time.Now()))
	}
	if v, err := s.Examine(); err != nil || v.Headers > v.Observations || len(v.Damage) > 0 {
		t.Errorf("%+v %v", v, err)
	}
	kept := 0
	_ = s.DB().View(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("headers")).ForEach(func(_, value []byte) error {
			kept += len(value)
			return nil
		})
	})
	if kept > room {
		t.Errorf("%d bytes of headers, of %d", kept, room)
	}
}

// A store of before there were headers, a backup of it, and one with headers
// that are damaged.
func TestHeadersInFiles(t *testing.T) {
	t.Parallel()
	s := start(t).reopen(keeping(30*day, 1<<20))
	s.observe(headed(1, "192.0.2.66", time.Now()))
	s.observe(headed(2, "192.0.2.66", time.Now()))
	s.stop()
	path := filepath.Join(t.TempDir(), "other.db")
	data, err := os.ReadFile(s.path)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	edit := func(fn func(*bolt.Tx) error) {
		t.Helper()
		db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 10 * time.Second})
		if err == nil {
			err = db.Update(fn)
		}
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	edit(func(tx *bolt.Tx) error {
		key, _ := tx.Bucket([]byte("headers")).Cursor().First()
		return tx.Bucket([]byte("headers")).Put(key, []byte("not a header at all"))
	})
	v, err := listing.Check(path)
	if err != nil || len(v.Damage) != 2 || v.Damage[0].Part != "headers" {
		t.Fatalf("%+v %v", v, err)
	}
	if _, err := listing.Repair(t.Context(), path, operator, false); err != nil {
		t.Fatal(err)
	}
	if v, err := listing.Check(path); err != nil || len(v.Damage) != 0 || v.Headers != 1 {
		t.Errorf("after the repair: %+v %v", v, err)
	}
	edit(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("headers")) })
	if v, err := listing.Check(path); err != nil || len(v.Damage) != 0 || v.Observations != 2 {
		t.Errorf("without headers: %+v %v", v, err)
	}
	old, err := listing.Open(path, listing.Options{Settings: keeping(30*day, 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, path, old)
	r.observe(headed(3, "192.0.2.66", time.Now()))
	if diff := cmp.Diff([]string{header(3)}, headersOf(t, r, "192.0.2.66")); diff != "" {
		t.Error(diff)
	}
	r.verify()
}

// A damaged count of headers keeps none of them from its end, is named, and is right
// again when those are gone that nobody counted.
func TestDamagedHeaderCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t).reopen(keeping(30*day, 1<<20))
		for i := range 250 { // more than one step drops
			s.observe(headed(i, "192.0.2.66", time.Now()))
		}
		err := s.DB().Update(func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte("meta"))
			value := slices.Clone(b.Get([]byte("headers")))
			value[len(value)/2] ^= 4
			return b.Put([]byte("headers"), value)
		})
		if err != nil {
			t.Fatal(err)
		}
		v, err := s.Examine()
		if err != nil || len(v.Damage) != 1 || !strings.Contains(v.Damage[0].String(), "count of headers") {
			t.Errorf("verify: %+v %v", v.Damage, err)
		}
		if out := s.observe(headed(1000, "192.0.2.67", time.Now())); !out.Listed {
			t.Errorf("an observation whose header cannot be counted: %+v", out)
		}
		s.stop()
		time.Sleep(31 * day)
		s = open(t, s.path, keeping(30*day, 1<<20))
		s.resume() // the clock is right
		time.Sleep(time.Hour)
		if v, err := s.Examine(); err != nil || v.Headers != 0 || len(v.Damage) != 0 {
			t.Errorf("%d headers after their time, %+v %v", v.Headers, v.Damage, err)
		}
		s.observe(headed(1001, "192.0.2.68", time.Now()))
		if got := headersOf(t, s, "192.0.2.68"); len(got) != 1 {
			t.Errorf("%d headers are kept", len(got))
		}
		s.verify()
	})
}

// A header goes with its observation, however long headers are kept.
func TestHeadersGoWithWhatTheyAreOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		settings := keeping(365*day, 1<<20)
		settings.Retention.Observations = 30 * day
		s := start(t).reopen(settings)
		s.observe(headed(1, "192.0.2.66", time.Now()))
		s.stop()
		time.Sleep(20 * day)
		s = open(t, s.path, settings)
		s.resume() // the clock is right
		s.observe(headed(2, "192.0.2.67", time.Now()))
		s.stop()
		time.Sleep(35 * day)
		s = open(t, s.path, settings)
		s.resume()
		time.Sleep(time.Hour)
		v, err := s.Examine()
		if err != nil || v.Observations != 1 || v.Headers != 1 || len(v.Damage) != 0 {
			t.Errorf("%d observations and %d headers after their time, %+v %v", v.Observations, v.Headers, v.Damage, err)
		}
	})
}
