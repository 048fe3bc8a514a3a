package zonefile_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := testZone().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*zonefile.Zone)
		want   []string
	}{
		{"no name", func(z *zonefile.Zone) { z.Name = "" }, []string{"name: want a domain name"}},
		{"root", func(z *zonefile.Zone) { z.Name = "." }, []string{"name: want a domain name"}},
		{"no dot", func(z *zonefile.Zone) { z.Name = "bl.example" }, []string{"want lower case and a final dot"}},
		{"upper case", func(z *zonefile.Zone) { z.Name = "BL.example." }, []string{"want lower case and a final dot"}},
		{"long label", func(z *zonefile.Zone) { z.Name = strings.Repeat("a", 64) + ".example." }, []string{"no domain name"}},
		{"odd character", func(z *zonefile.Zone) { z.Name = "b\"l.example." }, []string{"want letters, digits"}},
		{"no name server", func(z *zonefile.Zone) { z.NS = nil }, []string{"want at least one name server"}},
		{"name server like a nibble", func(z *zonefile.Zone) { z.NS = []string{"a.bl.example"} }, []string{`its label "a"`}},
		{"no hostmaster", func(z *zonefile.Zone) { z.Hostmaster = "" }, []string{"hostmaster: want a domain name"}},
		{"mailbox", func(z *zonefile.Zone) { z.Hostmaster = "hostmaster@example.net" }, []string{"hostmaster \"hostmaster@example.net\": want letters"}},
		{"no classes", func(z *zonefile.Zone) { z.Classes = 0 }, []string{"classes: want one or more of"}},
		{"class other", func(z *zonefile.Zone) { z.Classes = listing.ClassSetOf(listing.ClassOther) }, []string{"classes: want"}},
		{"fraction", func(z *zonefile.Zone) { z.TTL = 90*time.Second + 1 }, []string{"ttl 1m30.000000001s: want whole seconds"}},
		{"short", func(z *zonefile.Zone) { z.NegativeTTL = time.Second }, []string{"negative_ttl 1s"}},
		{"long", func(z *zonefile.Zone) { z.TTL = 1000 * time.Hour }, []string{"ttl 1000h0m0s"}},
		{"expire before refresh", func(z *zonefile.Zone) { z.Expire = time.Minute }, []string{"expire 1m0s"}},
		{"relative url", func(z *zonefile.Zone) { z.URL = "bl.example/" }, []string{"want http://… or https://…"}},
		{"url without end", func(z *zonefile.Zone) { z.URL = "https://bl.example" }, []string{"want '/' or '='"}},
		{"url with a quote", func(z *zonefile.Zone) { z.URL = `https://bl.example/"/` }, []string{"must be percent-encoded"}},
		{"url with a dollar", func(z *zonefile.Zone) { z.URL = `https://bl.example/$/` }, []string{"must be percent-encoded"}},
		{"mapped address", func(z *zonefile.Zone) { z.Addresses = []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")} }, []string{"no plain IPv4 or IPv6"}},
		{"long text", func(z *zonefile.Zone) { z.Texts = []string{strings.Repeat("a", 256)} }, []string{"texts: a text of 256 bytes"}},
		{"host elsewhere", func(z *zonefile.Zone) { z.Hosts = map[string][]netip.Addr{"www.bl.example": nil} }, []string{"is none of the zone's name servers"}},
		{"several", func(z *zonefile.Zone) { z.Name, z.NS, z.URL = "", nil, "x" }, []string{"name:", "ns:", "url"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			z := testZone()
			c.change(z)
			err := z.Validate()
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to contain %q", err, want)
				}
			}
		})
	}
}

func named(name string) *zonefile.Zone {
	z := testZone()
	z.Name = name
	return z
}

func TestSetFind(t *testing.T) {
	t.Parallel()
	s := must(zonefile.NewSet(named("bl.example."), named("notices.bl.example."), named("other.example.net.")))(t)
	for qname, want := range map[string]string{
		"bl.example.":                     "bl.example.",
		"BL.Example":                      "bl.example.",
		"66.2.0.192.bl.example.":          "bl.example.",
		"66.2.0.192.Notices.bl.example.":  "notices.bl.example.",
		"xnotices.bl.example.":            "bl.example.",
		"a.b.other.example.net.":          "other.example.net.",
		"example.net.":                    "",
		"xbl.example.":                    "",
		".":                               "",
		"":                                "",
		"a..bl.example.":                  "",
		strings.Repeat("a.", 200) + "com": "",
	} {
		got := ""
		if z := s.Find(qname); z != nil {
			got = z.Name
		}
		if got != want {
			t.Errorf("Find(%q) = %q, want %q", qname, got, want)
		}
	}
	if z, cut := s.FindWire([]byte("\x0266\x012\x010\x03192\x02BL\x07example")); z == nil || cut != 11 {
		t.Errorf("FindWire cut = %d, want 11", cut)
	}
	// A length byte that points behind the end, and one that looks like a letter.
	for _, name := range []string{"\x3fabc", "\x03ab", "\xc0\x0c", "\x00", strings.Repeat("\x01a", 200)} {
		if z, _ := s.FindWire([]byte(name)); z != nil {
			t.Errorf("FindWire(%q) = %s", name, z.Name)
		}
	}
}

func TestSetHasBelow(t *testing.T) {
	t.Parallel()
	outer := named("bl.example.")
	outer.NS = []string{"ns1.In.DC.bl.example.", "ns.example.net.", "bl.example."}
	s := must(zonefile.NewSet(outer, named("deep.sub.bl.example."), named("sub2.bl.example.")))(t)
	for name, want := range map[string]bool{
		"\x02in\x02dc\x02bl\x07example":        true,
		"\x02DC\x02bl\x07EXAMPLE":              true,
		"\x03sub\x02bl\x07example":             true,
		"\x03ns1\x02in\x02dc\x02bl\x07example": false, // is a name itself
		"\x04deep\x03sub\x02bl\x07example":     false,
		"\x04sub2\x02bl\x07example":            false,
		"\x02bl\x07example":                    false,
		"\x07example":                          false,
		"\x03net":                              false,
		"":                                     false,
		"\x01x\x03sub\x02bl\x07example":        false,
	} {
		if got := s.HasBelow([]byte(name)); got != want {
			t.Errorf("HasBelow(%q) = %t", name, got)
		}
	}
	if s.HasBelow(make([]byte, 300)) {
		t.Error("takes what is no name")
	}
}

func TestNewSetRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zones []*zonefile.Zone
		want  []string
	}{
		{[]*zonefile.Zone{named("bl.example."), named("bl.example.")}, []string{`zone "bl.example.": configured twice`}},
		{[]*zonefile.Zone{named("bl.example."), named("a.bl.example.")}, []string{`its label "a"`}},
		{[]*zonefile.Zone{named("bl.example."), named("10.bl.example.")}, []string{`its label "10"`}},
		{[]*zonefile.Zone{named("bl.example."), named("ok.10.bl.example.")}, []string{`its label "10"`}},
		{[]*zonefile.Zone{named("bl.example."), named("_status.bl.example.")}, []string{`its label "_status"`}},
		{[]*zonefile.Zone{named("BL.example."), named("x")}, []string{`zone "BL.example."`, `zone "x"`}},
	} {
		_, err := zonefile.NewSet(c.zones...)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want it to contain %q", err, want)
			}
		}
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	digest := func(zones ...*zonefile.Zone) [32]byte { return must(zonefile.NewSet(zones...))(t).Digest() }
	a, b := named("a.example."), named("b.example.")
	if digest(a, b) != digest(b, a) {
		t.Error("depends on the order of the zones")
	}
	changed := named("a.example.")
	changed.TTL = time.Minute
	if digest(a) == digest(changed) || digest(a) == digest(a, b) {
		t.Error("does not depend on the settings")
	}
}
