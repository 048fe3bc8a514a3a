package zonefile_test

import (
	"bytes"
	"errors"
	"iter"
	"maps"
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
	"github.com/miekg/dns"
)

func write(t *testing.T, f zonefile.Format, z *zonefile.Zone, s *listing.Snapshot) []byte {
	t.Helper()
	var out bytes.Buffer
	stats, err := zonefile.Write(&out, f, z, s)
	if err != nil {
		t.Fatal(err)
	}
	if stats.Bytes != int64(out.Len()) {
		t.Errorf("%s: stats say %d bytes, wrote %d", f, stats.Bytes, out.Len())
	}
	return out.Bytes()
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, f := range zonefile.Formats {
		got := write(t, f, testZone(), sample())
		name := filepath.Join("testdata", f.File(testZone()))
		if *update {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want := must(os.ReadFile(name))(t)
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-update writes it anew):\n%s", name, diff)
		}
	}
}

// TestStampMovesByDays shows that a list that does not change never expires in
// rbldnsd, and that its bytes stay the same for a day.
func TestStampMovesByDays(t *testing.T) {
	t.Parallel()
	at := func(f zonefile.Format, now time.Time) string {
		var out bytes.Buffer
		if _, err := (zonefile.List{Zone: testZone(), Snapshot: sample(), Now: now}).Write(&out, f); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for _, f := range zonefile.Formats {
		same := at(f, made) == at(f, made.Add(24*time.Hour-1)) && at(f, made) == at(f, made.Add(-time.Hour))
		later := at(f, made.Add(73*time.Hour))
		isStamped := strings.Contains(later, "$TIMESTAMP 2026:11:25:05:30:00 +2d\n")
		if !same || isStamped == (later == at(f, made)) || isStamped != strings.Contains(at(f, made), "$TIMESTAMP") {
			t.Errorf("%s: same within a day: %t, stamped three days later: %t", f, same, isStamped)
		}
	}
}

// rrset is what a name answers for a type.
type rrset map[string][]string // "owner type" → data

func (set rrset) add(rr dns.RR) {
	key := strings.ToLower(rr.Header().Name) + " " + dns.TypeToString[rr.Header().Rrtype]
	set[key] = append(set[key], strings.TrimPrefix(rr.String(), rr.Header().Name))
	slices.Sort(set[key])
}

func collect(rrs iter.Seq[dns.RR]) rrset {
	set := rrset{}
	for rr := range rrs {
		set.add(rr)
	}
	return set
}

func parseZone(t *testing.T, text []byte) iter.Seq[dns.RR] {
	t.Helper()
	return func(yield func(dns.RR) bool) {
		p := dns.NewZoneParser(bytes.NewReader(text), "", "test")
		for rr, ok := p.Next(); ok; rr, ok = p.Next() {
			if !yield(rr) {
				return
			}
		}
		if p.Err() != nil {
			t.Error(p.Err())
		}
	}
}

// TestOneTruth writes random lists and compares what the zone file says, what
// a transfer says, and what a live lookup says.
func TestOneTruth(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		z, s := testZone(), randomSnapshot(rng, 200)
		records := collect(z.Records(s))
		if diff := cmp.Diff(records, collect(parseZone(t, write(t, zonefile.Master, z, s)))); diff != "" {
			t.Fatalf("zone file and records differ: %s", diff)
		}
		names, exists := map[string]bool{}, map[string]bool{}
		for key := range maps.Keys(records) {
			name, _, _ := strings.Cut(key, " ")
			names[name] = true
			for rest := name; rest != ""; _, rest, _ = strings.Cut(rest, ".") {
				exists[rest] = true
			}
		}
		for e := range s.All() {
			for range 5 {
				addr := near(rng, e.Prefix).Unmap()
				owner := z.Owner(addr)
				hit, listed := z.Lookup(s, addr)
				if covered(names, exists, owner) != listed {
					t.Fatalf("%s: the zone file says %t, the lookup %t", addr, !listed, listed)
				}
				if listed {
					compareAnswer(t, z, records, owner, hit)
				}
			}
		}
	}
}

// compareAnswer finds the records of an owner, by wildcard if need be.
func compareAnswer(t *testing.T, z *zonefile.Zone, records rrset, owner string, hit listing.Entry) {
	t.Helper()
	name := owner
	for rest := owner; records[name+" A"] == nil && rest != ""; {
		_, rest, _ = strings.Cut(rest, ".")
		name = "*." + rest
	}
	want := rrset{}
	want.add(z.A(name, hit))
	want.add(z.TXT(name, hit))
	for key, data := range want {
		if diff := cmp.Diff(data, records[key]); diff != "" {
			t.Fatalf("%s: the lookup and the zone file differ: %s", owner, diff)
		}
	}
}

// TestRecordsStop breaks the walk off after each record, as a client that goes
// away does: an iterator that went on would panic.
func TestRecordsStop(t *testing.T) {
	t.Parallel()
	z, s := testZone(), sample()
	for n := range len(slices.Collect(z.Records(s))) {
		got := 0
		for range z.Records(s) {
			if got++; got > n {
				break
			}
		}
		if got != n+1 {
			t.Fatalf("%d records, want %d", got, n+1)
		}
	}
}

func TestEntryRecords(t *testing.T) {
	t.Parallel()
	z, s := testZone(), sample()
	want := collect(z.Records(s))
	got := rrset{}
	for e := range s.All() {
		for rr := range z.EntryRecords(e) {
			got.add(rr)
		}
	}
	for key, data := range got {
		if diff := cmp.Diff(want[key], data); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
		delete(want, key)
	}
	for key := range want { // what is left is no entry's
		if name, _, _ := strings.Cut(key, " "); !strings.HasSuffix(name, ".0.0.127.bl.example.") &&
			!strings.Contains(name, ".0.0.f.7.f.f.f.f.") && name != "bl.example." && name != "_status.bl.example." {
			t.Errorf("%s is in no entry's records", key)
		}
	}
}

// TestPlainHolds compares the txt format with the snapshot, by our reader.
func TestPlainHolds(t *testing.T) {
	t.Parallel()
	z, s := testZone(), sample()
	var want []netip.Prefix
	for e := range s.All() {
		if _, ok := z.Lookup(s, e.Prefix.Addr()); ok {
			want = append(want, e.Prefix)
		}
	}
	items, problems, err := zonefile.Read(bytes.NewReader(write(t, zonefile.Plain, z, s)), zonefile.Plain)
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	var got []netip.Prefix
	for _, item := range items {
		got = append(got, item.Prefix)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

// full takes so many bytes and then no more.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

var errFull = errors.New("no space left")

func TestWriteErrors(t *testing.T) {
	t.Parallel()
	s := randomSnapshot(rand.New(rand.NewPCG(7, 8)), 2000)
	departed := slices.Repeat([]zonefile.Departure{{Prefix: sampleHosts()[0], Time: made}}, 2000)
	for _, f := range zonefile.Formats {
		l := zonefile.List{Zone: testZone(), Snapshot: s, Now: made, Departed: departed}
		if _, err := l.Write(&full{room: 1 << 13}, f); !errors.Is(err, errFull) {
			t.Errorf("%s: %v", f, err)
		}
	}
	if _, err := zonefile.Write(&full{}, "html", testZone(), s); err == nil {
		t.Error("an unknown format was written")
	}
	z := testZone()
	z.NS, z.Addresses = []string{"ns1.bl.example."}, nil
	if _, err := zonefile.Write(&bytes.Buffer{}, zonefile.Master, z, s); err == nil || !strings.Contains(err.Error(), "have no address") {
		t.Errorf("a zone that BIND refuses: %v", err)
	}
	if _, err := zonefile.ParseFormat("html"); err == nil {
		t.Error("an unknown format was parsed")
	}
}
