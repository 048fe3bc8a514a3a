package zonefile_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
)

func TestReadOthers(t *testing.T) {
	t.Parallel()
	const address = "want one IPv4 address: ip4tset has no prefixes, ranges, exclusions or texts"
	for _, c := range []struct {
		name            string
		format          zonefile.Format
		text            string
		items, problems []string
	}{
		{
			"ip4tset", zonefile.IP4TSet, "$TTL 300\n:2:text\n# x\n127.0.0.2\n192.0.2.1\n192.0.2\n192.0.2.0/24\n!192.0.2.1\n192.0.2.1 text\n192.0.2.1-2\n192.0.2.2 # why\n",
			[]string{"5 192.0.2.1/32", "11 192.0.2.2/32"},
			[]string{"6: " + address, "7: " + address, "8: " + address, "9: " + address, "10: " + address},
		},
		{
			"ip4trie", zonefile.IP4Trie, ":2:a-b\n192.0.2/25 :3:a-b\n!192.0.2.0/26\n198.51.100.7\ta-b\n198.51.100.8-9\n!198.51.100.8-9\n!127.0.0.1\n",
			[]string{"2 192.0.2.64/26", "4 198.51.100.7/32"},
			[]string{"5: ip4trie has no ranges", "6: ip4trie has no ranges"},
		},
		{
			"ip6trie", zonefile.IP6Trie, "$SOA 1 a b 1 1 1 1 1\n:2:text\n::ffff:7f00:2 :2:test\n2001:db8:1::/48 :127.0.0.3:x\n!2001:db8:1::/49\n2001:db8:2:3::4\n2001:db8::/32\n2001:db8::1 :x:y\nwww\n2001:db8:3:4\n!2001:db8:3:4::5\n!::ffff:7f00:1\n",
			[]string{"4 2001:db8:1:8000::/49", "6 2001:db8:2:3::/64"},
			[]string{"7: 2001:db8::/32 is wider than /48: cannot be listed", `8: "127.0.0.x" is no code: want 127.0.0.2 or 2 between colons`, `9: "www" is no IPv4 or IPv6 address and no prefix`, "11: excludes a part of 2001:db8:3:4::/64, which is listed whole or not at all: it is not"},
		},
		{
			"combined", zonefile.Combined, "# common\n$SOA 1 a b 1 1 1 1 1\n192.0.2.9\n$DATASET ip4set:x @ a\n:2:t\n192.0.2.1-2\n#$DATASET ip6trie b\n2001:db8:1::1\n" +
				"$DATASET dnset:names c\nexample.net\n$DATASET\nx\n$DATASET combined d\n1\n$DATASET ip4trie e\n192.0.2.1\n198.51.100/24\n",
			[]string{"6 192.0.2.1/32", "6 192.0.2.2/32", "17 198.51.100.0/24", "8 2001:db8:1::/64"},
			[]string{
				"3: stands before the first $DATASET", `9: a data set of type "dnset" has no addresses, or is not known: it is passed over`,
				"11: want $DATASET with a type and a sub-zone: what follows is passed over", `13: a data set of type "combined" has no addresses, or is not known: it is passed over`,
			},
		},
		{
			"jsonl", zonefile.JSONL, `{"prefix":"192.0.2.1","more":1}` + "\n" + `{"prefix":"2001:db8::/64"}` + "\n" + `{"class":"bounce"}` + "\n" + `{"prefix":"0.0.0.0/0"}` + "\n[]\n",
			[]string{"1 192.0.2.1/32", "2 2001:db8::/64"},
			[]string{
				`3: want a JSON object with "prefix"`, "4: 0.0.0.0/0 is wider than /24: cannot be listed",
				"5: want a JSON object: json: cannot unmarshal array into Go value of type zonefile.jsonEntry",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			items, problems := read(t, c.format, c.text)
			if diff := cmp.Diff(c.items, items); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.problems, problems); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReadWhatWeWrite reads our own files back and finds every entry.
func TestReadWhatWeWrite(t *testing.T) {
	t.Parallel()
	s := randomSnapshot(rand.New(rand.NewPCG(15, 16)), 300)
	for _, f := range []zonefile.Format{zonefile.IP4Set, zonefile.IP6Trie, zonefile.Combined, zonefile.JSONL, zonefile.Plain} {
		var want, got []netip.Prefix
		for e := range s.All() {
			is4 := e.Prefix.Addr().Is4()
			if carried := e.ClassIn(testZone().Classes) != 0; carried && (f != zonefile.IP4Set || is4) && (f != zonefile.IP6Trie || !is4) {
				want = append(want, e.Prefix)
			}
		}
		items, problems, err := zonefile.Read(bytes.NewReader(write(t, f, testZone(), s)), f)
		if err != nil || len(problems) > 0 {
			t.Errorf("%s: %v, %v", f, err, problems)
		}
		for _, item := range items {
			got = append(got, item.Prefix)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d prefixes, want %d", f, len(got), len(want))
		}
	}
}
