package zonefile_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// hosts is so many addresses.
func hosts(n int) *listing.Snapshot {
	entries := make([]listing.Entry, n)
	for i := range entries {
		entries[i] = entry(fmt.Sprintf("198.51.%d.%d", 100+i/256, i%256), listing.Summary{Until: day("2026-11-28")}, listing.ClassBounce)
	}
	return snapshotOf(entries...)
}

func TestBrake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		from, to int
		held     bool
	}{
		{0, 1000, false}, // a list begins
		{10, 110, false},
		{10, 111, true},
		{1000, 1500, false},
		{1000, 1501, true},
		{1000, 500, false},
		{1000, 499, true},
		{1000, 0, true},
		{100, 0, false},
	} {
		d := newDesk(t, hosts(c.from), zonefile.IP4Set, zonefile.Removals)
		d.options.Brake, d.options.Gzip = 0.5, true
		d.Publisher = must(zonefile.NewPublisher(d.options))(t)
		must(d.Publish(made))(t)
		before := d.files(t)
		d.snapshot.Store(hosts(c.to))
		_, err := d.Publish(made.Add(time.Minute))
		_, refused := errors.AsType[*zonefile.RefusedError](err)
		if refused != c.held || !refused && err != nil || d.State().Held != c.held {
			t.Fatalf("from %d to %d: %v", c.from, c.to, err)
		}
		if !refused {
			continue
		}
		aside := filepath.Join(d.dir, zonefile.RefusedDir)
		why := string(must(os.ReadFile(filepath.Join(aside, zonefile.WhyName)))(t))
		want := fmt.Sprintf("2026-11-22T05:31:00Z serial=1795325400 refused: bl.example.ip4set would go from %d entries to %d at once;", c.from, c.to)
		if !strings.HasPrefix(why, want) || strings.Count(why, "\n") != 1 {
			t.Errorf("it says %q, want %q", why, want)
		}
		if kept := string(must(os.ReadFile(filepath.Join(aside, "bl.example.ip4set")))(t)); kept != string(write(t, zonefile.IP4Set, testZone(), hosts(c.to))) {
			t.Error("what was refused is not kept")
		}
		if err := os.RemoveAll(aside); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, d.files(t)); diff != "" {
			t.Errorf("the former files changed: %s", diff)
		}
		held := `
# HELP backscatter_export_held 1 while what would be published was refused and an operator has to look at it.
# TYPE backscatter_export_held gauge
backscatter_export_held{dir="` + d.dir + `",zone="bl.example."} `
		if err := testutil.GatherAndCompare(d.registry, strings.NewReader(held+"1\n"), "backscatter_export_held"); err != nil {
			t.Error(err)
		}
		must(d.Accept(made.Add(2 * time.Minute)))(t)
		if got := d.files(t)["bl.example.ip4set"]; got != string(write(t, zonefile.IP4Set, testZone(), hosts(c.to))) || d.State().Held || d.State().Err != nil {
			t.Errorf("not published when accepted: %+v", d.State())
		}
		if err := testutil.GatherAndCompare(d.registry, strings.NewReader(held+"0\n"), "backscatter_export_held"); err != nil {
			t.Error(err)
		}
	}
}

// TestPublishReadsBack damages what was written, before it is read back: nothing of
// it is published.
func TestPublishReadsBack(t *testing.T) {
	t.Parallel()
	plain := func(text []byte) (string, error) { return string(text), nil }
	unpack := func(text []byte) (string, error) {
		r, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			return "", err
		}
		unpacked, err := io.ReadAll(r)
		return string(unpacked), err
	}
	cut := func(text []byte) []byte { return text[:len(text)-1] }
	more := func(text []byte) []byte { return append(text, '\n') }
	other := func(text []byte) []byte {
		return bytes.Replace(text, []byte("\n192.0.2.66\n"), []byte("\n192.0.2.67\n"), 1)
	}
	comment := func(text []byte) []byte {
		return bytes.Replace(text, []byte("# bl.example "), []byte("# BL.example "), 1)
	}
	words := func(text []byte) []byte {
		return bytes.Replace(text, []byte(" backscatter: "), []byte(" backscatter; "), 1)
	}
	setting := func(text []byte) []byte { return bytes.Replace(text, []byte("$TTL 300"), []byte("$TTL 900"), 1) }
	flip := func(text []byte) []byte { text[len(text)/2] ^= 1; return text }
	for _, c := range []struct {
		what, name string
		read       func([]byte) (string, error)
		damage     func([]byte) []byte
	}{
		{"cut off", "bl.example.ip4set", plain, cut},
		{"longer", "bl.example.ip4set", plain, more},
		{"of another host", "bl.example.ip4set", plain, other},
		{"of another comment", "bl.example.ip4set", plain, comment},
		{"of another text", "bl.example.ip4set", plain, words},
		{"of another TTL", "bl.example.ip4set", plain, setting},
		{"cut off", "bl.example.ip4set.gz", unpack, cut},
		{"longer", "bl.example.ip4set.gz", unpack, more},
		{"flipped", "bl.example.ip4set.gz", unpack, flip},
	} {
		d := newDesk(t, sample(), zonefile.IP4Set)
		d.options.Gzip = true
		d.Publisher = must(zonefile.NewPublisher(d.options))(t)
		must(d.Publish(made))(t)
		before := d.files(t)
		d.next(listing.Next{Time: made})
		path := filepath.Join(d.dir, "."+c.name+".new")
		d.StopBefore(func(step string) error {
			for step == "read back "+c.name { // until all is written
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				if told, err := c.read(text); err == nil && strings.Contains(told, "# END serial=") {
					return os.WriteFile(path, c.damage(text), 0o600)
				}
			}
			return nil
		})
		_, err := d.Publish(made)
		if _, refused := errors.AsType[*zonefile.RefusedError](err); !refused || !strings.Contains(err.Error(), "read back "+path) {
			t.Errorf("%s %s: %v", c.name, c.what, err)
		}
		if err := os.RemoveAll(filepath.Join(d.dir, zonefile.RefusedDir)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, d.files(t)); diff != "" {
			t.Errorf("%s %s: the former files changed: %s", c.name, c.what, diff)
		}
	}
}

// What cannot be read back is not refused: another time it may do.
func TestPublishCannotReadBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.IP4Set)
	d.StopBefore(func(step string) error {
		if step == "read back bl.example.ip4set" {
			return os.Remove(filepath.Join(d.dir, ".bl.example.ip4set.new"))
		}
		return nil
	})
	_, err := d.Publish(made)
	if _, refused := errors.AsType[*zonefile.RefusedError](err); refused || err == nil || d.State().Held {
		t.Errorf("held %t: %v", d.State().Held, err)
	}
	d.StopBefore(func(string) error { return nil })
	must(d.Publish(made))(t)
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.IP4Set)
	exempt := errors.New("is exempt")
	// One lies inside what is listed, beside one that is open, and one around it.
	blocks := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("203.0.113.129/32"), netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("127.0.0.2/32"),
	} // which is answered, and not listed
	d.options.Forbidden = func() ([]netip.Prefix, func(netip.Prefix) error, error) {
		return blocks, func(p netip.Prefix) error {
			if p.Overlaps(blocks[1]) || p.Overlaps(blocks[2]) || p == blocks[3] {
				return exempt
			}
			return nil
		}, nil
	}
	d.Publisher = must(zonefile.NewPublisher(d.options))(t)
	if _, err := d.Accept(made); !errors.Is(err, exempt) || !strings.Contains(err.Error(), "203.0.113.128/30: is exempt") || !d.State().Held {
		t.Errorf("got %v", err)
	}
	if len(must(os.ReadDir(d.dir))(t)) != 1 { // RefusedDir
		t.Error("something was published")
	}
	d.next(listing.Next{Time: made, Removed: []netip.Prefix{netip.MustParsePrefix("203.0.113.128/30")}})
	if _, err := d.Accept(made); !errors.Is(err, exempt) || !strings.Contains(err.Error(), "2001:db8:1:2::/64: is exempt") {
		t.Errorf("got %v", err)
	}
	blocks[2] = blocks[1]
	must(d.Publish(made))(t)

	broken := errors.New("no exemptions")
	d.options.Forbidden = func() ([]netip.Prefix, func(netip.Prefix) error, error) { return nil, nil, broken }
	if _, err := must(zonefile.NewPublisher(d.options))(t).Publish(made); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
