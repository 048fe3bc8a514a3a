package zonefile_test

import (
	"errors"
	"iter"
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

// transferred returns a record as it stands in a message of its own.
func transferred(t *testing.T, zone string, rr dns.RR) zonefile.Record {
	t.Helper()
	wire := make([]byte, dns.Len(rr)+256)
	end, err := dns.PackRR(rr, wire, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	owner := make([]byte, 256)
	n, err := dns.PackDomainName(rr.Header().Name, owner, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	below := n - (len(zone) + 1) // a name takes one octet more than its text
	if zone == "." || below < 0 {
		t.Fatalf("%s lies outside", rr.Header().Name)
	}
	return zonefile.Record{
		Labels: owner[:below], Type: rr.Header().Rrtype, TTL: rr.Header().Ttl, Data: wire[n+10 : end], Message: wire[:end],
	}
}

// records yields records as they come from a primary.
func records(t *testing.T, zone string, rrs []dns.RR) iter.Seq2[zonefile.Record, error] {
	t.Helper()
	return func(yield func(zonefile.Record, error) bool) {
		for _, rr := range rrs {
			if !yield(transferred(t, zone, rr), nil) {
				return
			}
		}
	}
}

func allowed(netip.Prefix) error { return nil }

// wholeOf has all records of a zone.
func wholeOf(z *zonefile.Zone, s *listing.Snapshot) []dns.RR { return slices.Collect(z.Records(s)) }

// sortedText is a set of records as text.
func sortedText(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		out = append(out, rr.String())
	}
	slices.Sort(out)
	return out
}

// recordsOf are all that a copy would hand on.
func recordsOf(c *zonefile.Copy) []string { return sortedText(wholeOf(c.Zones.All()[0], c.Snapshot)) }

// transferZones are settings that a mirror has to find out.
func transferZones() []*zonefile.Zone {
	bare := testZone()
	bare.URL, bare.Texts, bare.Addresses, bare.Hosts, bare.TTL = "", nil, nil, nil, 0
	some := testZone()
	some.URL = "https://bl.example/show?address="
	some.Classes = listing.ClassSetOf(listing.ClassNotice, listing.ClassAutoreply)
	some.Texts = []string{`a "b" \c;` + "\x01", "second"}
	return []*zonefile.Zone{testZone(), bare, some}
}

// TestAssemble takes random lists as records in random order, and wants a copy
// that has the same records: so every name is answered the same.
func TestAssemble(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5936, 1))
	for round := range 30 {
		s := sample()
		if round > 2 {
			s = randomSnapshot(rng, 300)
		}
		z := transferZones()[round%3]
		rrs := wholeOf(z, s)
		want := sortedText(rrs)
		if round%2 == 1 {
			rng.Shuffle(len(rrs), func(i, j int) { rrs[i], rrs[j] = rrs[j], rrs[i] })
		}
		c, err := zonefile.Assemble(z.Name, records(t, z.Name, rrs), allowed)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if diff := cmp.Diff(want, recordsOf(c)); diff != "" {
			t.Fatalf("round %d (-primary +copy):\n%s", round, diff)
		}
		if diff := cmp.Diff(answersOf(z, s), answersOf(c.Zones.All()[0], c.Snapshot)); diff != "" {
			t.Fatalf("round %d (-primary +copy):\n%s", round, diff)
		}
	}
}

func TestAssembleAListThatEnded(t *testing.T) {
	t.Parallel()
	s := listing.NewSnapshot(listing.Build{Sequence: sequence, Time: made, Decommissioned: made.Add(-time.Hour)})
	rrs := wholeOf(testZone(), s)
	c := must(zonefile.Assemble("bl.example.", records(t, "bl.example.", rrs), allowed))(t)
	if diff := cmp.Diff(sortedText(rrs), recordsOf(c)); diff != "" {
		t.Error(diff)
	}
}

// TestAssembleRefuses changes one thing of a whole zone.
func TestAssembleRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(rrs []dns.RR) []dns.RR
		want  string
	}{
		"no SOA":                     {without(dns.TypeSOA, ""), "has no SOA"},
		"no NS":                      {without(dns.TypeNS, ""), "name server"},
		"no _status":                 {without(dns.TypeTXT, "_status.bl.example."), "_status"},
		"no test point":              {without(dns.TypeA, "2.0.0.127.bl.example."), "is missing"},
		"a text without its address": {without(dns.TypeA, "9.113.0.203.bl.example."), "has not both"},
		"an address without a text":  {without(dns.TypeTXT, "9.113.0.203.bl.example."), "has not both"},
		"a name of a prefix missing": {without(0, "*.6.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example."), "1 of its names are missing"},
		"127.0.0.1":                  {with("1.0.0.127.bl.example. 300 IN A 127.0.0.2"), "has no place"},
		"a name of no list":          {with("www.bl.example. 300 IN A 192.0.2.1"), "has no place"},
		"another type":               {with("9.113.0.203.bl.example. 300 IN MX 0 mail.example."), "has no place"},
		"an address twice":           {with("9.113.0.203.bl.example. 300 IN A 127.0.0.4"), "not both"},
		"no code":                    {with("7.7.7.7.bl.example. 300 IN A 192.0.2.1"), "no code"},
		"another TTL":                {with("7.7.7.7.bl.example. 301 IN A 127.0.0.2"), "TTL"},
		"words of another list":      {with("7.7.7.7.bl.example. 300 IN A 127.0.0.2", `7.7.7.7.bl.example. 300 IN TXT "listed"`), "not the text of an entry"},
		"a text about another": {with("7.7.7.7.bl.example. 300 IN A 127.0.0.9",
			`7.7.7.7.bl.example. 300 IN TXT "https://bl.example/7.7.7.8 backscatter: listed by an operator; permanent; for use on MAIL FROM:<> only"`), "is no name of 7.7.7.8"},
		"a text of another URL": {with("7.7.7.7.bl.example. 300 IN A 127.0.0.9",
			`7.7.7.7.bl.example. 300 IN TXT "https://bl.test/7.7.7.7 backscatter: listed by an operator; permanent; for use on MAIL FROM:<> only"`), "another URL"},
		"a half of a prefix": {with("7.7.7.7.bl.example. 300 IN A 127.0.0.9",
			`7.7.7.7.bl.example. 300 IN TXT "https://bl.example/7.7.7.6/31 backscatter: listed by an operator; permanent; for use on MAIL FROM:<> only"`), "of its names are missing"},
		"wider than ever": {with("7.7.7.7.bl.example. 300 IN A 127.0.0.9",
			`7.7.7.7.bl.example. 300 IN TXT "https://bl.example/7.0.0.0/8 backscatter: listed by an operator; permanent; for use on MAIL FROM:<> only"`), "wider than /24"},
		"forbidden": {with("8.8.8.8.bl.example. 300 IN A 127.0.0.9",
			`8.8.8.8.bl.example. 300 IN TXT "https://bl.example/8.8.8.8 backscatter: listed by an operator; permanent; for use on MAIL FROM:<> only"`), "not that one"},
		"several strings": {with(`7.7.7.7.bl.example. 300 IN TXT "a" "b"`), "not of one string"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rrs := c.spoil(wholeOf(testZone(), sample()))
			_, err := zonefile.Assemble("bl.example.", records(t, "bl.example.", rrs), func(p netip.Prefix) error {
				if p == netip.MustParsePrefix("8.8.8.8/32") {
					return errors.New("not that one")
				}
				return nil
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func without(rrtype uint16, owner string) func([]dns.RR) []dns.RR {
	return func(rrs []dns.RR) []dns.RR {
		return slices.DeleteFunc(rrs, func(rr dns.RR) bool {
			return (rrtype == 0 || rr.Header().Rrtype == rrtype) && (owner == "" || rr.Header().Name == owner)
		})
	}
}

func with(texts ...string) func([]dns.RR) []dns.RR {
	return func(rrs []dns.RR) []dns.RR {
		for _, text := range texts {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			rrs = append(rrs, rr)
		}
		return rrs
	}
}

// editsOf are what an incremental transfer from one list to another consists of:
// record by record, as servers make it that know nothing of entries.
func editsOf(t *testing.T, z *zonefile.Zone, before, after *listing.Snapshot) []zonefile.Edit {
	t.Helper()
	index := func(s *listing.Snapshot) map[string]dns.RR {
		out := map[string]dns.RR{}
		for _, rr := range wholeOf(z, s) {
			out[rr.String()] = rr
		}
		return out
	}
	was, is := index(before), index(after)
	var out []zonefile.Edit
	for text, rr := range was {
		if is[text] == nil {
			out = append(out, zonefile.Edit{Record: transferred(t, z.Name, rr), Removed: true})
		}
	}
	for text, rr := range is {
		if was[text] == nil {
			out = append(out, zonefile.Edit{Record: transferred(t, z.Name, rr)})
		}
	}
	return out
}

func edits(list []zonefile.Edit) iter.Seq2[zonefile.Edit, error] {
	return func(yield func(zonefile.Edit, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// TestPatch goes from random list to random list, and wants the copy to have the
// records of each.
func TestPatch(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1995, 1))
	for i, z := range transferZones() {
		before := sample()
		c := must(zonefile.Assemble(z.Name, records(t, z.Name, wholeOf(z, before)), allowed))(t)
		for round := range 15 {
			after := randomSnapshot(rng, 200)
			var entries []listing.Entry
			for e := range after.All() {
				entries = append(entries, e)
			}
			after = listing.NewSnapshot(listing.Build{Sequence: before.Sequence() + 1, Time: made.Add(time.Duration(round) * time.Minute), Entries: slices.Values(entries)})
			next, err := c.Patch(edits(editsOf(t, z, before, after)), allowed)
			if err != nil {
				t.Fatalf("zone %d, round %d: %v", i, round, err)
			}
			if diff := cmp.Diff(sortedText(wholeOf(z, after)), recordsOf(next)); diff != "" {
				t.Fatalf("zone %d, round %d (-primary +copy):\n%s", i, round, diff)
			}
			if diff := cmp.Diff(sortedText(wholeOf(z, before)), recordsOf(c)); diff != "" {
				t.Fatalf("zone %d, round %d: the former copy changed:\n%s", i, round, diff)
			}
			before, c = after, next
		}
	}
}

// TestPatchRefuses leaves out or adds one record of a change, each in turn.
func TestPatchRefuses(t *testing.T) {
	t.Parallel()
	z := testZone()
	before, after := sample(), randomSnapshot(rand.New(rand.NewPCG(1995, 2)), 20)
	after = after.Next(listing.Next{Sequence: sequence + 1, Time: made.Add(time.Minute)})
	c := must(zonefile.Assemble(z.Name, records(t, z.Name, wholeOf(z, before)), allowed))(t)
	all := editsOf(t, z, before, after)
	for i, e := range all {
		if _, err := c.Patch(edits(slices.Delete(slices.Clone(all), i, i+1)), allowed); err == nil {
			t.Errorf("without %d %v", e.Type, e.Labels)
		}
		if _, err := c.Patch(edits(append(slices.Clone(all), e)), allowed); !errors.Is(err, zonefile.ErrMismatch) {
			t.Errorf("twice %d %v: %v", e.Type, e.Labels, err)
		}
	}
	inside := with(`5.101.51.198.bl.example. 300 IN A 127.0.0.9`,
		`5.101.51.198.bl.example. 300 IN TXT "https://bl.example/198.51.101.5 backscatter: listed by an operator; permanent; for use on MAIL FROM:<> only"`)(nil)
	var list []zonefile.Edit
	for _, rr := range inside {
		list = append(list, zonefile.Edit{Record: transferred(t, z.Name, rr)})
	}
	if _, err := c.Patch(edits(list), allowed); err == nil || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("a host inside a prefix: %v", err)
	}
}

// TestKeeper wants the copy back that was saved last and is whole.
func TestKeeper(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := must(zonefile.NewKeeper(dir))(t)
	if c, err := k.Load(); c != nil || err != nil {
		t.Fatalf("of nothing: %v, %v", c, err)
	}
	z := transferZones()[2]
	copyOf := func(s *listing.Snapshot) *zonefile.Copy {
		return must(zonefile.Assemble(z.Name, records(t, z.Name, wholeOf(z, s)), allowed))(t)
	}
	first := copyOf(sample())
	if err := k.Save(first, made); err != nil {
		t.Fatal(err)
	}
	second := copyOf(sample().Next(listing.Next{Sequence: sequence + 1, Time: made, Removed: sampleHosts()}))
	for range 3 { // each time into the other folder
		if err := k.Save(second, made); err != nil {
			t.Fatal(err)
		}
	}
	k = must(zonefile.NewKeeper(dir))(t)
	got := must(k.Load())(t)
	if diff := cmp.Diff(recordsOf(second), recordsOf(got)); diff != "" {
		t.Errorf("(-saved +loaded):\n%s", diff)
	}
	// What is damaged is passed over.
	if err := k.Save(first, made); err != nil {
		t.Fatal(err)
	}
	names := must(filepath.Glob(filepath.Join(dir, "*", "bl.example.ip4set")))(t)
	for i, name := range names {
		if err := os.WriteFile(name, []byte("# half"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := must(zonefile.NewKeeper(dir))(t).Load()
		if i == 0 && (err != nil || got == nil) {
			t.Errorf("one of two is damaged: %v", err)
		}
		if i == 1 && (err == nil || got != nil) {
			t.Error("both are damaged, and one is taken")
		}
	}
	if _, ok, err := k.Recall(); ok || err != nil {
		t.Error("nothing was to be remembered", err)
	}
	want := zonefile.Confirmation{Serial: sequence, Confirmed: made}
	if err := k.Remember(want); err != nil {
		t.Fatal(err)
	}
	if got, ok, err := k.Recall(); got != want || !ok || err != nil {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
}
