package zonefile_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
)

// read returns what a text lists as "line prefix", and its problems as
// "line: why".
func read(t *testing.T, f zonefile.Format, text string) (items, problems []string) {
	t.Helper()
	got, bad, err := zonefile.Read(strings.NewReader(text), f)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range got {
		items = append(items, fmt.Sprintf("%d %s", item.Line, item.Prefix))
	}
	for _, p := range bad {
		problems = append(problems, fmt.Sprintf("%d: %s", p.Line, p.Why))
	}
	return items, problems
}

func TestReadPlain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text      string
		items, problems []string
	}{
		{"addresses", "192.0.2.1\n192.0.2.0/28\n2001:db8::1\n", []string{"2 192.0.2.0/28", "3 2001:db8::/64"}, nil},
		{"comments", "# a list\n; too\n\n 192.0.2.1 # why\n192.0.2.2;\n", []string{"4 192.0.2.1/32", "5 192.0.2.2/32"}, nil},
		{"CRLF", "192.0.2.1\r\n192.0.2.2\r\n", []string{"1 192.0.2.1/32", "2 192.0.2.2/32"}, nil},
		{"BOM", "\ufeff192.0.2.1\n", []string{"1 192.0.2.1/32"}, nil},
		{"mapped", "::ffff:192.0.2.1\n", []string{"1 192.0.2.1/32"}, nil},
		{"repeated", "192.0.2.1\n192.0.2.1\n2001:db8::1\n2001:db8::2\n", []string{"1 192.0.2.1/32", "3 2001:db8::/64"}, nil},
		{"test points", "127.0.0.2\n127.0.0.1\n127.0.0.0/24\n", nil, nil},
		{"comment without newline", "192.0.2.1\n# end", []string{"1 192.0.2.1/32"}, nil},
		{"empty", "", nil, nil},
		{"last line without newline", "192.0.2.1\n192.0.2.11", []string{"1 192.0.2.1/32"}, []string{
			"2: the file ends without a newline, so this may be half an address: complete it",
		}},
		{"everything", "0.0.0.0/0\n::/0\n10.0.0.0/8\n", nil, []string{
			"1: 0.0.0.0/0 is wider than /24: cannot be listed", "2: ::/0 is wider than /48: cannot be listed", "3: 10.0.0.0/8 is wider than /24: cannot be listed",
		}},
		{"no addresses", "192.0.2.256\n192.0.2\n192.0.2.01\nexample.net\n192.0.2.1 192.0.2.2\n192.0.2.1/24\n192.0.2.0/33\n\x00\xff\n", nil, []string{
			`1: "192.0.2.256" is no IPv4 or IPv6 address and no prefix`,
			`2: "192.0.2" is no IPv4 or IPv6 address and no prefix`,
			`3: "192.0.2.01" is no IPv4 or IPv6 address and no prefix`,
			`4: "example.net" is no IPv4 or IPv6 address and no prefix`,
			`5: want one address or prefix a line`,
			`6: 192.0.2.1/24 has bits set behind its length, did you mean 192.0.2.0/24: cannot be listed`,
			`7: "192.0.2.0/33" is no IPv4 or IPv6 address and no prefix`,
			`8: "\x00\xff" is no IPv4 or IPv6 address and no prefix`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			items, problems := read(t, zonefile.Plain, c.text)
			if diff := cmp.Diff(c.items, items); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.problems, problems); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadIP4Set(t *testing.T) {
	t.Parallel()
	const wantRange = "want an IPv4 address, a prefix like 192.0.2.0/28 or 192.0.2, or a range like 192.0.2.8-192.0.2.15"
	for _, c := range []struct {
		name, text      string
		items, problems []string
	}{
		{
			"headers", "$SOA 3600 ns1.example.net h.example.net 1 1h 1h 1d 5m\n$NS 1d ns1.example.net\n$TTL 300\n$TIMESTAMP 2026:11:22 +2d\n" +
				"#$1 http://bl.example/\n;$2 x\n:$3 y\n:127.0.0.2:$1$ listed\n!127.0.0.1\n127.0.0.2\n192.0.2.1\n# END entries=1\n",
			[]string{"11 192.0.2.1/32"},
			nil,
		},
		{
			"values", ":2:two\n:127.0.0.3\n::text\n192.0.2.1 :127.0.0.4:text; more\n192.0.2.2 any text\n192.0.2.3:5:text\n192.0.2.4# 5\n192.0.2.5 ; why\n",
			[]string{"4 192.0.2.1/32", "5 192.0.2.2/32", "6 192.0.2.3/32", "7 192.0.2.4/32", "8 192.0.2.5/32"},
			nil,
		},
		{
			"forms of a range", "192.0.2\n192.0.3/25\n198.51.100.8-198.51.100.11\n198.51.100.21-22\n203.0.113-113\n",
			[]string{
				"1 192.0.2.0/24", "2 192.0.3.0/25", "3 198.51.100.8/30", "4 198.51.100.21/32", "4 198.51.100.22/32", "5 203.0.113.0/24",
			},
			nil,
		},
		{
			"exclusions", "192.0.2.0/29\n!192.0.2.4-5\n!192.0.2.1\n198.51.100.7\n!198.51.100\n198.51.100\n!203.0.113.1\n!10.0.0.0/8\n",
			[]string{"1 192.0.2.0/32", "1 192.0.2.2/31", "1 192.0.2.6/31", "4 198.51.100.7/32"},
			nil,
		},
		{
			"bad codes", ":10.0.0.2:x\n:256:x\n192.0.2.1 :x:y\n", nil, []string{
				`1: "10.0.0.2" is no code: want 127.0.0.2 or 2 between colons`,
				`2: "127.0.0.256" is no code: want 127.0.0.2 or 2 between colons`,
				`3: "127.0.0.x" is no code: want 127.0.0.2 or 2 between colons`,
			},
		},
		{
			"bad ranges", "192.0.2.300\n01.2.3.4\n192.0.2.1.1\n192.0.2.9-192.0.2.8\n192.0.2.1/24\n192.0.2.0/33\n192.0.2.0/24-9\n" +
				"0.0.0.0/0\n198.51\n0.0.0.0-255.255.255.255\n2001:db8::1\n-1\n192.0.2.\nwww\n",
			nil,
			[]string{
				"1: " + wantRange, "2: " + wantRange, "3: " + wantRange, "4: the range ends before it begins",
				"5: bits are set behind the prefix length /24", `6: prefix length "33": want 0 to 32`, "7: " + wantRange,
				"8: 0.0.0.0/0 is wider than /24: cannot be listed", "9: 198.51.0.0/16 is wider than /24: cannot be listed",
				"10: 0.0.0.0/0 is wider than /24: cannot be listed", "11: " + wantRange, "12: " + wantRange, "13: " + wantRange, "14: " + wantRange,
			},
		},
		{
			"widest range", "$MAXRANGE4 /32\n192.0.2.1\n192.0.2\n",
			[]string{"2 192.0.2.1/32"},
			[]string{"3: has 256 addresses, and the file's $MAXRANGE4 allows 1"},
		},
		{
			"widest range in addresses", "$MAXRANGE4 64\n192.0.2.0/26\n192.0.2.128/25\n$MAXRANGE4 /24\n192.0.2.100-164\n192.0.2.0/28\n!192.0.2.0/25\n",
			[]string{"2 192.0.2.0/26"},
			[]string{
				"3: has 128 addresses, and the file's $MAXRANGE4 allows 64", "5: has 65 addresses, and the file's $MAXRANGE4 allows 64",
				"7: has 128 addresses, and the file's $MAXRANGE4 allows 64",
			},
		},
		{"bad widest range", "$MAXRANGE4 x\n$MAXRANGE4\n$MAXRANGE4 /33\n$MAXRANGE4 0\n", nil, []string{
			"1: want $MAXRANGE4 with a prefix length like /32 or a number of addresses",
			"2: want $MAXRANGE4 with a prefix length like /32 or a number of addresses",
			"3: want $MAXRANGE4 with a prefix length like /32 or a number of addresses",
			"4: want $MAXRANGE4 with a prefix length like /32 or a number of addresses",
		}},
		{"combined", "$DATASET ip4set a @\n192.0.2.1\n", []string{"2 192.0.2.1/32"}, []string{
			"1: this is a file of format combined: cut out one data set",
		}},
		{"the ends of the space", "0.0.0.0-1\n255.255.255.254-255\n", []string{"1 0.0.0.0/31", "2 255.255.255.254/31"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			items, problems := read(t, zonefile.IP4Set, c.text)
			if diff := cmp.Diff(c.items, items); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.problems, problems); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReadOwnIP4Set reads what we write.
func TestReadOwnIP4Set(t *testing.T) {
	t.Parallel()
	z, s := testZone(), sample()
	items, problems := read(t, zonefile.IP4Set, string(write(t, zonefile.IP4Set, z, s)))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	got := map[string]bool{}
	for _, item := range items {
		_, prefix, _ := strings.Cut(item, " ")
		got[prefix] = true
	}
	want := map[string]bool{}
	for e := range s.All() {
		if _, ok := z.Lookup(s, e.Prefix.Addr()); ok && e.Prefix.Addr().Is4() {
			want[e.Prefix.String()] = true
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReadBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("1", 1<<20)
	got, problems, err := zonefile.Read(strings.NewReader("192.0.2.1\n"+long+"\n192.0.2.2\n"+long), zonefile.Plain)
	if err != nil || len(got) != 2 || len(problems) != 2 || problems[0].Line != 2 || len(problems[0].Text) != 80 || got[1].Line != 3 {
		t.Errorf("%v, %v, %v", got, problems, err)
	}
	if want := `line 2: "` + long[:80] + `": longer than 4096 bytes`; problems[0].String() != want {
		t.Errorf("got %s", problems[0])
	}
	_, problems, err = zonefile.Read(strings.NewReader(strings.Repeat("x\n", 1_000_000)), zonefile.Plain)
	if err == nil || len(problems) > 2000 {
		t.Errorf("a million bad lines: %d problems, error %v", len(problems), err)
	}
	if _, _, err = zonefile.Read(strings.NewReader("\x1f\x8b\x08packed\n"), zonefile.Plain); err == nil || !strings.Contains(err.Error(), "gzip -dc") {
		t.Errorf("a compressed list: %v", err)
	}
	if _, _, err = zonefile.Read(strings.NewReader(""), zonefile.Removals); err == nil {
		t.Error("a file of removals was read as a list")
	}
}

func FuzzRead(f *testing.F) {
	f.Add(uint8(1), "192.0.2.1-9\n!192.0.2.3\n:2:x\n$MAXRANGE4 /30\n")
	f.Add(uint8(0), "192.0.2.1\r\n2001:db8::/48\n# x")
	f.Add(uint8(1), "192.0.2\n!192.0.2.1\n192.0.2.0/25 :3:x\n0-255\n")
	f.Add(uint8(4), "2001:db8:1::/48\n!2001:db8:1::/50\n::ffff:7f00:2 :2:x\n")
	f.Add(uint8(5), "$DATASET ip4set:a @ b\n192.0.2.1\n$DATASET ip6trie @\n2001:db8::\n$DATASET x\n1\n")
	f.Add(uint8(6), `{"prefix":"192.0.2.1"}`+"\n")
	f.Fuzz(func(t *testing.T, n uint8, text string) {
		format := zonefile.Readable[int(n)%len(zonefile.Readable)]
		items, problems, err := zonefile.Read(strings.NewReader(text), format)
		if lines := strings.Count(text, "\n") + 1; len(problems) > lines || err != nil && len(problems) < 1000 {
			t.Fatalf("%d problems of %d lines, %v", len(problems), lines, err)
		}
		var last netip.Prefix
		for _, item := range items {
			if _, err := listing.PrefixKey(item.Prefix); err != nil && item.Prefix.Addr().Is4() {
				t.Fatal(err)
			}
			if last.IsValid() && (last.Overlaps(item.Prefix) || listing.ComparePrefix(last, item.Prefix) >= 0) {
				t.Fatalf("%s and then %s", last, item.Prefix)
			}
			last = item.Prefix
		}
	})
}

// TestExclusionsByAddress compares exclusions with a list of single addresses.
func TestExclusionsByAddress(t *testing.T) {
	t.Parallel()
	const text = "192.0.2.0/25\n192.0.2.200-192.0.2.230\n!192.0.2.0-6\n!192.0.2.64/26\n!192.0.2.220\n!192.0.2.210-215\n"
	items, problems, err := zonefile.Read(strings.NewReader(text), zonefile.IP4Set)
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	for last := range 256 {
		want := (last <= 127 || last >= 200 && last <= 230) && last > 6 && (last < 64 || last > 127) &&
			last != 220 && (last < 210 || last > 215)
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(last)})
		got := 0
		for _, item := range items {
			if item.Prefix.Contains(addr) {
				got++
			}
		}
		if got > 1 || (got == 1) != want {
			t.Errorf("%s is in %d items, wanted: %t", addr, got, want)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, f := range []zonefile.Format{zonefile.Plain, zonefile.IP4Set} {
		b.Run(string(f), func(b *testing.B) {
			var text bytes.Buffer
			for i := range 200_000 {
				fmt.Fprintf(&text, "10.%d.%d.%d\n", i>>16, i>>8&0xff, i&0xff)
			}
			b.ReportAllocs()
			for b.Loop() {
				items, _, err := zonefile.Read(bytes.NewReader(text.Bytes()), f)
				if err != nil || len(items) != 200_000 {
					b.Fatal(len(items), err)
				}
			}
		})
	}
}
