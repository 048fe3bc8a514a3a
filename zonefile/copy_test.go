package zonefile_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// answers are what the zone says of each of its entries.
func answersOf(z *zonefile.Zone, s *listing.Snapshot) []string {
	var told []string
	for e := range s.All() {
		if e, ok := z.Lookup(s, e.Prefix.Addr()); ok {
			told = append(told, fmt.Sprintf("%s %s %s", e.Prefix, zonefile.Code(e.Class), z.Text(e)))
		}
	}
	return told
}

// TestCopyAnswersTheSame publishes random lists, with and without a URL, and
// wants what a mirror has of it to answer the same, from either set of files.
func TestCopyAnswersTheSame(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(6, 6))
	for round := range 20 {
		s := sample()
		if round > 0 {
			s = randomSnapshot(rng, 400)
		}
		formats := []zonefile.Format{zonefile.IP4Set, zonefile.IP6Trie}
		if round%2 == 1 {
			formats = []zonefile.Format{zonefile.Combined}
		}
		d := newDesk(t, s, formats...)
		z := testZone()
		if round%3 == 1 {
			z.URL = ""
		}
		d.zone.Store(z)
		must(d.Publish(made))(t)
		c := must(must(zonefile.ReadManifest(d.dir))(t).Load(d.dir))(t)
		copied := c.Zones.All()[0]
		if diff := cmp.Diff(answersOf(z, s), answersOf(copied, c.Snapshot)); diff != "" {
			t.Fatalf("round %d (-published +copied):\n%s", round, diff)
		}
		if c.Snapshot.Serial() != s.Serial() || !c.Snapshot.Time().Equal(s.Time()) {
			t.Errorf("serial %d of %s", c.Snapshot.Serial(), c.Snapshot.Time())
		}
		z.TTL, z.NegativeTTL, z.Refresh, z.Retry, z.Expire = 5*time.Minute, 5*time.Minute, time.Hour, 15*time.Minute, 24*time.Hour
		if diff := cmp.Diff(z, copied, cmpopts.IgnoreFields(zonefile.Zone{}, "Copied", "Whole"), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("settings (-published +copied):\n%s", diff)
		}
		if told := max(copied.Whole, c.Snapshot.Len()); told != s.Len() {
			t.Errorf("tells of %d entries, the publisher of %d", told, s.Len())
		}
	}
}

// A zone that does not carry every class tells at its mirror, too, how long the list is.
func TestCopyOfAPartTellsOfTheWhole(t *testing.T) {
	t.Parallel()
	s := sample()
	d := newDesk(t, s, zonefile.IP4Set, zonefile.IP6Trie)
	z := testZone()
	z.Classes = listing.ClassSetOf(listing.ClassBounce)
	d.zone.Store(z)
	must(d.Publish(made))(t)
	c := must(must(zonefile.ReadManifest(d.dir))(t).Load(d.dir))(t)
	if got := c.Zones.All()[0].Whole; got != s.Len() || c.Snapshot.Len() >= s.Len() {
		t.Errorf("the mirror has %d entries and tells of %d, the publisher of %d", c.Snapshot.Len(), got, s.Len())
	}
}

// The mirror tells how old that is which it has; the publisher does not.
func TestCopyTellsItsAge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.IP4Set, zonefile.IP6Trie)
	must(d.Publish(made))(t)
	c := must(must(zonefile.ReadManifest(d.dir))(t).Load(d.dir))(t)
	want := []string{"serial=1795325400", "time=2026-11-22T05:30:00Z", "entries=17", "mirror=2026-11-22T05:30:00Z", "age=5400"}
	got := c.Zones.All()[0].Status(c.Snapshot, made.Add(90*time.Minute))
	got[2] = "entries=17" // a copy has what its zone carries, the publisher what it lists
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCopyOfAListThatEnded(t *testing.T) {
	t.Parallel()
	s := listing.NewSnapshot(listing.Build{Sequence: sequence, Time: made, Decommissioned: made})
	d := newDesk(t, s, zonefile.IP4Set, zonefile.IP6Trie)
	must(d.Publish(made))(t)
	c := must(must(zonefile.ReadManifest(d.dir))(t).Load(d.dir))(t)
	if c.Snapshot.Decommissioned().IsZero() {
		t.Error("the copy does not know that the list has ended")
	}
	if _, ok := c.Zones.All()[0].Lookup(c.Snapshot, netip.MustParseAddr("127.0.0.2")); ok {
		t.Error("the copy lists a test point")
	}
}

// TestCopyRefuses cuts the files off at many of their bytes, and damages them there:
// nothing of that is taken, whatever it would mean.
func TestCopyRefuses(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.IP4Set, zonefile.IP6Trie)
	must(d.Publish(made))(t)
	m := must(zonefile.ReadManifest(d.dir))(t)
	for _, file := range m.Files {
		path := filepath.Join(d.dir, file.Name)
		good := must(os.ReadFile(path))(t)
		refused := func(what string, bad []byte) {
			t.Helper()
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := m.Load(d.dir); err == nil || !strings.Contains(err.Error(), file.Name) {
				t.Errorf("%s, %s: %v", file.Name, what, err)
			}
		}
		for at := 0; at < len(good); at += 11 {
			refused(fmt.Sprintf("cut off at %d", at), good[:at])
			flipped := slices.Clone(good)
			flipped[at] ^= 1
			refused(fmt.Sprintf("byte %d flipped", at), flipped)
		}
		refused("longer", append(slices.Clone(good), "192.0.2.1\n"...))
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(m.Load(d.dir))(t)
	if err := os.Remove(filepath.Join(d.dir, m.Files[1].Name)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Load(d.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	m.Files = m.Files[:1]
	if _, err := m.Load(d.dir); err == nil || !strings.Contains(err.Error(), "ip6trie") {
		t.Errorf("with half of the list: %v", err)
	}
	m.Settings = nil
	if _, err := m.Load(d.dir); err == nil || !strings.Contains(err.Error(), "settings") {
		t.Errorf("without settings: %v", err)
	}
}

// What no list may have is refused though its bytes are those of the manifest: a
// publisher may have faults, and a manifest without a signature be anybody's.
func TestCopyRefusesWhatNoListHas(t *testing.T) {
	t.Parallel()
	const points = "has not the test points"
	for _, c := range []struct {
		format    zonefile.Format
		old, text string
		entries   int // more than were published
		want      string
	}{
		{zonefile.IP4Set, "\n127.0.0.2\n", "\n", 0, points},
		{zonefile.IP4Set, "\n!127.0.0.1\n", "\n", 0, points},
		{zonefile.IP4Set, "\n!127.0.0.1\n", "\n!127.0.0.10\n", 0, points},
		{zonefile.IP4Set, "\n127.0.0.3\n", "\n127.0.0.1\n", 0, "127.0.0.1 is listed, and must not be"},
		{zonefile.IP4Set, "\n192.0.2.66\n", "\n127.0.0.2\n", 0, "127.0.0.2 is listed, and must not be"},
		{zonefile.IP4Set, "\n192.0.2.66\n", "\n192.0.2.66\n192.0.2.66\n", 1, "1 entries are there twice"},
		{zonefile.IP4Set, "\n192.0.2.66\n", "\n192.0.2.66\n192.0.2.68\n", 0, "has 14 entries, not the 13 of the manifest"},
		{zonefile.IP4Set, ":127.0.0.3:$1$ backscatter: test point", ":127.0.0.6:$1$ backscatter: test point", 0, "127.0.0.3 is listed, and must not be"},
		{zonefile.IP6Trie, "\n::ffff:7f00:2 ", "\n#", 0, points},
		{zonefile.IP6Trie, "\n::ffff:7f00:2 ", "\n::ffff:7f00:1 ", 0, "127.0.0.1 is listed, and must not be"},
		{zonefile.IP6Trie, "\n2001:db8:1:2::/64 ", "\n::ffff:c000:0242/128 ", 0, "no prefix that can be listed"},
	} {
		d := newDesk(t, sample(), zonefile.IP4Set, zonefile.IP6Trie)
		must(d.Publish(made))(t)
		m := must(zonefile.ReadManifest(d.dir))(t)
		name := c.format.File(testZone())
		text := strings.Replace(d.files(t)[name], c.old, c.text, 1)
		if text == d.files(t)[name] {
			t.Fatalf("%s has no %q", name, c.old)
		}
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for i, f := range m.Files {
			if f.Name == name {
				m.Files[i] = zonefile.ManifestFile{Name: name, SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(text))), Size: int64(len(text)), Entries: f.Entries + c.entries}
			}
		}
		if _, err := m.Load(d.dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %q for %q: %v, want %q", name, c.text, c.old, err, c.want)
		}
	}
}

// FuzzCopyLine feeds the reader of a mirror what no publisher of ours writes:
// whoever has the key can. What is taken can be listed and told.
func FuzzCopyLine(f *testing.F) {
	var text strings.Builder
	for _, format := range []zonefile.Format{zonefile.IP4Set, zonefile.IP6Trie, zonefile.Combined} {
		if _, err := zonefile.Write(&text, format, testZone(), sample()); err != nil {
			f.Fatal(err)
		}
	}
	for line := range strings.Lines(text.String()) {
		f.Add([]byte(line))
	}
	f.Add([]byte("1.2.3\n"))
	f.Add([]byte(":127.0.0.2:$1$ backscatter: 1 bounce;\n256.1.1.1\n"))
	f.Fuzz(func(t *testing.T, lines []byte) {
		entries, _ := zonefile.ReadCopied(lines, 64)
		for _, e := range entries {
			if !e.Prefix.IsValid() || e.Prefix != e.Prefix.Masked() || !listing.AllClasses.Has(e.Class) || !e.Classes.Has(e.Class) {
				t.Errorf("%q is taken for %+v", lines, e)
			}
			if got := testZone().Text(e); len(got) > 255 {
				t.Errorf("%q has a text of %d bytes", lines, len(got))
			}
		}
	})
}
