package listing_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"backscatter/listing"
)

// withImage returns a closed store with a list of many kinds, and an image.
func withImage(t *testing.T) (s *running, want []listing.Entry) {
	t.Helper()
	s = start(t)
	s.ImageAlways()
	keys := hosts(t, 6_000)
	for i := range 9_000 { // a /16 that is dense
		keys = append(keys, listing.Manual{Key: key(t, fmt.Sprintf("12.1.%d.%d", i>>8, i&255))})
	}
	if _, err := s.List(t.Context(), operator, keys); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		s.observe(bounce(i, fmt.Sprintf("192.0.2.%d", i&255), time.Now()))
	}
	s.list(time.Time{}, "198.51.100.0/24", "2001:db8:1::/48")
	s.observe(bounce(1000, "2001:db8::1", time.Now()))
	want = slices.Collect(s.Snapshot().All())
	s.stop()
	return s, want
}

func imageOf(s *running) string { return s.path + ".image" }

// The image makes the same list as the records, also when the store went on
// after it was written and was then killed.
func TestImage(t *testing.T) {
	t.Parallel()
	s, want := withImage(t)
	again := open(t, s.path, eager())
	if !again.FromImage() {
		t.Error("the image is of no use")
	}
	if diff := cmp.Diff(want, slices.Collect(again.Snapshot().All()), compareEntries); diff != "" {
		t.Errorf("from the image (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(counted(want), again.Snapshot().Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	again.list(time.Time{}, "203.0.113.1")
	again.delist(0, "12.1.0.7", "198.51.100.0/24")
	again.observe(bounce(2000, "203.0.113.2", time.Now()))
	want = slices.Collect(again.Snapshot().All())
	if err := again.Abandon(); err != nil { // as a crash does
		t.Fatal(err)
	}
	third, err := listing.Open(s.path, listing.Options{Settings: eager()})
	if err != nil {
		t.Fatal(err)
	}
	last := run(t, s.path, third)
	if !last.FromImage() {
		t.Error("the image and the journal are of no use")
	}
	if diff := cmp.Diff(want, slices.Collect(last.Snapshot().All()), compareEntries); diff != "" {
		t.Errorf("from the image and the journal (-want +got):\n%s", diff)
	}
	last.verify()
}

func counted(entries []listing.Entry) map[listing.Class]int {
	out := make(map[listing.Class]int)
	for _, e := range entries {
		out[e.Class]++
	}
	return out
}

// An image that is damaged, cut, another store's or of another time is not
// believed, and costs nothing but time.
func TestImageThatIsWrong(t *testing.T) {
	t.Parallel()
	s, want := withImage(t)
	good := read(t, imageOf(s))
	other := start(t)
	other.ImageAlways()
	other.list(time.Time{}, "192.0.2.200")
	other.stop()
	flip := func(at int) []byte {
		out := bytes.Clone(good)
		out[at] ^= 1
		return out
	}
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("127.0.0.2\n"), "cut": good[:len(good)/2], "another store's": read(t, imageOf(other)),
		"magic": flip(3), "sequence": flip(20), "digest": flip(28), "contents": flip(40), "hosts": flip(len(good) / 2), "end": flip(len(good) - 1),
	} {
		if err := os.WriteFile(imageOf(s), data, 0o600); err != nil {
			t.Fatal(err)
		}
		again := open(t, s.path, eager())
		if again.FromImage() {
			t.Errorf("%s: believed", name)
		}
		if diff := cmp.Diff(want, slices.Collect(again.Snapshot().All()), compareEntries); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		again.stop()
	}
}

// FuzzImage reads anything as an image without harm.
func FuzzImage(f *testing.F) {
	snap := listing.NewSnapshot(listing.Build{Sequence: 7, Entries: slices.Values([]listing.Entry{
		{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Class: listing.ClassBounce, Classes: listing.ClassSetOf(listing.ClassBounce)},
		{Prefix: netip.MustParsePrefix("2001:db8::/48"), Class: listing.ClassManual, Classes: listing.ClassSetOf(listing.ClassManual)},
	})})
	f.Add(listing.EncodeImage(snap))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := listing.DecodeImage(data); err == nil && n > len(data) {
			t.Errorf("%d entries in %d bytes", n, len(data))
		}
	})
}

// BenchmarkOpen measures how long it takes until a store answers: from the
// image, and from the records.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{1_000_000, 5_000_000} {
		s := open(b, filepath.Join(b.TempDir(), "listing.db"), eager())
		keys := hosts(b, n)
		for i := 0; i < n; i += 1_000_000 {
			part := keys[i:min(i+1_000_000, n)]
			for j := range part {
				part[j].Until = time.Now().Add(7 * 24 * time.Hour)
			}
			if _, err := s.List(b.Context(), operator, part); err != nil {
				b.Fatal(err)
			}
		}
		s.stop()
		for _, from := range []string{"image", "records"} {
			if from == "records" {
				if err := os.Remove(imageOf(s)); err != nil {
					b.Fatal(err)
				}
			}
			b.Run(fmt.Sprintf("%dM/%s", n/1_000_000, from), func(b *testing.B) {
				for b.Loop() {
					again, err := listing.Open(s.path, listing.Options{Settings: eager()})
					if err != nil {
						b.Fatal(err)
					}
					if again.Snapshot().Len() != n {
						b.Fatalf("%d entries", again.Snapshot().Len())
					}
					b.StopTimer()
					if err := again.Abandon(); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			})
		}
		r, err := listing.Compact(b.Context(), s.path, operator, func(int64, int64) {})
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("%d listings: %d bytes, %.1f each", n, r.After, float64(r.After)/float64(n))
	}
}
