package zonefile_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
)

func TestReadZone(t *testing.T) {
	t.Parallel()
	const soa = "$ORIGIN bl.example.\r\n$TTL 1h ; an hour\n@ IN SOA ns1 hostmaster (\n\t1 ; serial (not closed by this\n\t3600 900 86400 300 )\n\tNS ns1.bl.example.\nns1 A 192.0.2.53\n"
	for _, c := range []struct {
		name, text      string
		items, problems []string
	}{
		{
			"hosts", soa + "2.0.0.127 A 127.0.0.2\n\tTXT \"a ( that \\\" ; is text\"\n1.2.0.192 300 IN A 127.0.0.2\n\n; comment\n" +
				"2.2.0.192.bl.example. A 127.0.0.3\n \tA 127.0.0.2\n$ORIGIN 100.51.198.bl.example.\n7 A 127.0.0.2\n$ORIGIN bl.example.\n" +
				"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.8.B.D.0.1.0.0.2 A 127.0.0.2\n",
			[]string{"10 192.0.2.1/32", "13 192.0.2.2/32", "16 198.51.100.7/32", "18 2001:db8:1::/64"},
			nil,
		},
		{
			"wildcards", soa + "*.2.0.192 A 127.0.0.2\n9.2.0.192 TXT \"excluded\"\n8.2.0.192 A 127.0.0.3\n*.1.0.0.0.8.b.d.0.1.0.0.2 A 127.0.0.2\n" +
				"*.5.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2 A 127.0.0.2\n* A 127.0.0.2\n*.0.192 A 127.0.0.2\n",
			[]string{
				"8 192.0.2.0/29", "10 192.0.2.8/32", "8 192.0.2.10/31", "8 192.0.2.12/30", "8 192.0.2.16/28", "8 192.0.2.32/27", "8 192.0.2.64/26", "8 192.0.2.128/25",
				"12 2001:db8:1:5::/64",
				"11 2001:db8:1:1000::/52", "11 2001:db8:1:2000::/51", "11 2001:db8:1:4000::/50", "11 2001:db8:1:8000::/49",
			},
			[]string{`13: "*" is no reversed address and no wildcard of one`, "14: 192.0.0.0/16 is wider than /24: cannot be listed"},
		},
		{
			"not taken", soa + "$INCLUDE /etc/passwd\n$GENERATE 1-200 $.2.0.192 A 127.0.0.2\n$DATE\n1.2.0.192 A 192.0.2.1\n2.2.0.192 CNAME x.example.\n" +
				"www A 192.0.2.80\nexample.net A 127.0.0.2\n3.2.0.192 A\n4.2.0.192 A 127.0.0.2 x\nother.example. A 127.0.0.2\n@ A 127.0.0.2\n256.2.0.192 A 127.0.0.2\n5.2.0.192 WHAT x\n6.2.0.192 A 127.0.0.2 ( ; open\n",
			nil,
			[]string{
				"8: $INCLUDE is not followed: a list of others names no files of ours, and is not made by multiplication",
				"9: $GENERATE is not followed: a list of others names no files of ours, and is not made by multiplication",
				"10: want $ORIGIN with a name or $TTL with a number", "11: answers 192.0.2.1: want a code in 127.0.0.0/8 (RFC 5782 §2.1)",
				"12: CNAME of an address: what it leads to is not known here", `14: "example.net" is no reversed address and no wildcard of one`,
				"15: no record", "16: no record", "17: other.example. is no name below bl.example.", "18: bl.example. is no name below bl.example.",
				`19: "256.2.0.192" is no reversed address and no wildcard of one`, "20: no record", "21: the file ends within parentheses",
			},
		},
		{"without an origin", "1.2.0.192 A 127.0.0.2\n", []string{"1 192.0.2.1/32"}, nil},
		{"blank first", "\tA 127.0.0.2\n   \n", nil, []string{"1: has no owner, and stands behind none that could be read"}},
		{
			"behind what cannot be read", soa + "1.2.0.192 TXT x\nbad..name A 127.0.0.2\n\tA 127.0.0.2\n; comment\n2.2.0.192 A 127.0.0.2\n; comment\n\tA 127.0.0.3\n" +
				"$ORIGIN bad..origin.\n3.2.0.192 A 127.0.0.2\n\tA 127.0.0.2\n4.2.0.192.bl.example. A 127.0.0.2\n",
			[]string{"12 192.0.2.2/32", "18 192.0.2.4/32"},
			[]string{
				"9: no record", "10: has no owner, and stands behind none that could be read", `15: "bad..origin." is no domain name`,
				"16: 3.2.0.192.origin.invalid. is no name below bl.example.", "17: 3.2.0.192.origin.invalid. is no name below bl.example.",
			},
		},
		{"cut off", soa + "1.2.0.192 A 127.0.0.2", nil, []string{"8: the file ends without a newline, so this may be half an address: complete it"}},
		{"parentheses", soa + "1.2.0.192 A (\n" + strings.Repeat(";\n", 70) + ") 127.0.0.2\n", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			items, problems := read(t, zonefile.Master, c.text)
			for i, p := range problems {
				if at, _, ok := strings.Cut(p, ": no record"); ok {
					problems[i] = at + ": no record" // the rest is the parser's words
				}
			}
			if c.name == "parentheses" {
				if len(items) > 0 || len(problems) == 0 || !strings.Contains(problems[0], "a record of more than 64 lines") {
					t.Errorf("%q, %q", items, problems)
				}
				return
			}
			if diff := cmp.Diff(c.items, items); diff != "" {
				t.Errorf("items (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.problems, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// What we write as a zone we read back as what we listed.
func TestReadOurZone(t *testing.T) {
	t.Parallel()
	var zone, plain bytes.Buffer
	must(zonefile.Write(&zone, zonefile.Master, testZone(), sample()))(t)
	must(zonefile.Write(&plain, zonefile.Plain, testZone(), sample()))(t)
	prefixes := func(items []string) (out []string) {
		for _, item := range items {
			_, p, _ := strings.Cut(item, " ")
			out = append(out, p)
		}
		return out
	}
	fromZone, problems := read(t, zonefile.Master, zone.String())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	fromPlain, _ := read(t, zonefile.Plain, plain.String())
	// A prefix between octets or nibbles is several wildcards.
	if diff := cmp.Diff(addresses(prefixes(fromPlain)), addresses(prefixes(fromZone))); diff != "" {
		t.Error(diff)
	}
}

func addresses(prefixes []string) (out []string) {
	covered := map[string]bool{}
	for _, p := range prefixes {
		items, _, _ := zonefile.Read(strings.NewReader(p+"\n"), zonefile.Plain)
		for _, item := range items {
			for a := item.Prefix.Addr(); item.Prefix.Contains(a) && item.Prefix.Addr().Is4(); a = a.Next() {
				covered[a.String()] = true
			}
		}
	}
	for a := range covered {
		out = append(out, a)
	}
	slices.Sort(out)
	return out
}

func TestReadWide(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"203.0.0.0/16\n!203.0.128.0/17\n": "203.0.0.0/17", "10.0.0.0/8\n": "10.0.0.0/8",
		"0.0.0.0/0\n": "problem", "1.0.0.0/7\n": "problem",
	} {
		items, problems, err := zonefile.ReadWide(strings.NewReader(text), zonefile.IP4Set)
		got := "problem"
		if len(items) == 1 && len(problems) == 0 {
			got = items[0].Prefix.String()
		}
		if err != nil || got != want {
			t.Errorf("%q: %v, %v, %v", text, items, problems, err)
		}
	}
	items, problems, err := zonefile.ReadWide(strings.NewReader("2001:db8/32\n2001:db8:7::1\n2001:db8::1/32\n2001:db8:1:2\n::/0\n"), zonefile.IP6Trie)
	if err != nil || len(items) != 1 || items[0].Prefix.String() != "2001:db8::/32" || len(problems) != 2 {
		t.Errorf("%v, %v, %v", items, problems, err)
	}
}
