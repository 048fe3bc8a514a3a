package zonefile_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestText(t *testing.T) {
	t.Parallel()
	const use = "; for use on MAIL FROM:<> only"
	dates := listing.Summary{Since: day("2026-11-20"), Last: day("2026-11-21"), Until: day("2026-11-28")}
	events := func(n int) listing.Summary {
		s := dates
		s.Events = listing.RoundEvents(n)
		return s
	}
	for _, c := range []struct {
		entry listing.Entry
		want  string
	}{
		{
			entry("192.0.2.66", events(5), listing.ClassBounce),
			"https://bl.example/192.0.2.66 backscatter: 5 bounces to forged senders, last 2026-11-21; expires 2026-11-28" + use,
		},
		{
			entry("192.0.2.66", events(1), listing.ClassNotice),
			"https://bl.example/192.0.2.66 backscatter: 1 virus or spam notice to a forged sender, last 2026-11-21; expires 2026-11-28" + use,
		},
		{
			entry("192.0.2.66", events(9), listing.ClassAutoreply),
			"https://bl.example/192.0.2.66 backscatter: 9 auto-replies to forged senders, last 2026-11-21; expires 2026-11-28" + use,
		},
		{
			entry("192.0.2.66", events(57), listing.ClassChallenge),
			"https://bl.example/192.0.2.66 backscatter: at least 50 challenges to forged senders, last 2026-11-21; expires 2026-11-28" + use,
		},
		{
			entry("192.0.2.66", events(1234), listing.ClassBounce, listing.ClassAutoreply),
			"https://bl.example/192.0.2.66 backscatter: at least 1000 messages to forged senders, bounces among them, last 2026-11-21; expires 2026-11-28" + use,
		},
		{
			entry("192.0.2.66", events(3), listing.ClassBounce, listing.ClassManual),
			"https://bl.example/192.0.2.66 backscatter: 3 bounces to forged senders, last 2026-11-21; expires 2026-11-28" + use,
		},
		{
			entry("192.0.2.66", listing.Summary{Since: day("2026-11-20")}, listing.ClassManual),
			"https://bl.example/192.0.2.66 backscatter: listed by an operator on 2026-11-20; permanent" + use,
		},
		{
			entry("198.51.100.0/25", listing.Summary{Until: day("2026-12-01")}, listing.ClassManual),
			"https://bl.example/198.51.100.0/25 backscatter: listed by an operator; expires 2026-12-01" + use,
		},
		{
			entry("2001:db8:1:2::/64", events(5), listing.ClassBounce),
			"https://bl.example/2001:db8:1:2::/64 backscatter: 5 bounces to forged senders, last 2026-11-21; expires 2026-11-28" + use,
		},
		{
			entry("127.0.0.2", listing.Summary{}, listing.ClassBounce),
			"https://bl.example/127.0.0.2 backscatter: test point, always listed (RFC 5782)",
		},
	} {
		if got := testZone().Text(c.entry); got != c.want {
			t.Errorf("Text(%v)\n got %s\nwant %s", c.entry, got, c.want)
		}
	}
	z := testZone()
	z.URL = ""
	if got := z.Text(entry("192.0.2.66", events(5), listing.ClassBounce)); !strings.HasPrefix(got, "192.0.2.66 backscatter: ") {
		t.Errorf("without a URL: %s", got)
	}
}

// TestLongestText holds the longest URL that is allowed and the longest words
// together: nothing is ever cut off.
func TestLongestText(t *testing.T) {
	t.Parallel()
	z := testZone()
	z.URL = "https://" + strings.Repeat("b", 55) + "/"
	if err := z.Validate(); err != nil {
		t.Fatal(err)
	}
	summary := listing.Summary{Events: 60000, Since: day("2026-11-20"), Last: day("2026-11-21"), Until: day("2026-11-28")}
	for _, class := range listing.Classes {
		for _, more := range listing.Classes {
			e := entry("2001:1db8:1111:2222:3333:4444:5555:6666/128", summary, class, more)
			if got := z.Text(e); len(got) > 255 || !strings.HasSuffix(got, " only") {
				t.Errorf("%s, %s: %d bytes: %s", class, more, len(got), got)
			}
		}
	}
	z.URL = "https://" + strings.Repeat("b", 56) + "/"
	if err := z.Validate(); err == nil {
		t.Error("a longer URL was allowed")
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	all, notices := testZone(), testZone()
	notices.Classes = listing.ClassSetOf(listing.ClassNotice, listing.ClassAutoreply)
	s := sample()
	for _, c := range []struct {
		addr         string
		all, notices listing.Class // 0: not listed
	}{
		{"192.0.2.66", listing.ClassBounce, 0},
		{"::ffff:192.0.2.66", listing.ClassBounce, 0},
		{"192.0.2.68", 0, 0},
		{"192.0.2.9", listing.ClassNotice, listing.ClassNotice},
		{"198.51.100.1", listing.ClassBounce, listing.ClassAutoreply},
		{"198.51.100.4", 0, 0},
		{"198.51.100.5", listing.ClassManual, 0},
		{"203.0.113.5", listing.ClassManual, 0},
		{"203.0.113.131", listing.ClassManual, 0},
		{"203.0.113.132", 0, 0},
		{"2001:db8:1:2:3:4:5:6", listing.ClassBounce, 0},
		{"2001:db8:1:3::", 0, 0},
		{"2001:db8:1:7::1", listing.ClassManual, 0},
		{"127.0.0.2", listing.ClassBounce, listing.ClassBounce},
		{"::ffff:127.0.0.2", listing.ClassBounce, listing.ClassBounce},
		{"127.0.0.3", listing.ClassNotice, listing.ClassNotice},
		{"127.0.0.4", listing.ClassAutoreply, listing.ClassAutoreply},
		{"127.0.0.5", listing.ClassChallenge, 0},
		{"127.0.0.6", 0, 0},
		{"127.0.0.9", listing.ClassManual, 0},
		{"127.0.0.1", 0, 0}, // though the store has it
		{"127.0.0.77", 0, 0},
		{"127.0.0.0", 0, 0},
		{"127.0.0.255", 0, 0},
	} {
		for _, z := range []struct {
			zone *zonefile.Zone
			want listing.Class
		}{{all, c.all}, {notices, c.notices}} {
			e, ok := z.zone.Lookup(s, netip.MustParseAddr(c.addr))
			if ok != (z.want != 0) || e.Class != z.want {
				t.Errorf("Lookup(%s) in %s = %s %t, want %s", c.addr, z.zone.Classes, e.Class, ok, z.want)
			}
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	all, s := testZone(), sample()
	addr := netip.MustParseAddr("192.0.2.66")
	buf := make([]byte, 0, 255)
	if n := testing.AllocsPerRun(100, func() {
		e, _ := all.Lookup(s, addr)
		all.AppendText(buf, e)
	}); n != 0 {
		t.Errorf("Lookup and AppendText allocate %.0f times", n)
	}
}

func TestSOA(t *testing.T) {
	t.Parallel()
	z := testZone()
	z.TTL, z.NegativeTTL, z.Expire = time.Minute, 2*time.Minute, 48*time.Hour
	want := "bl.example.\t120\tIN\tSOA\tns1.example.net. hostmaster.example.net. 1795325400 3600 900 172800 120"
	if got := z.SOA(sequence).String(); got != want {
		t.Errorf("SOA\n got %s\nwant %s", got, want)
	}
	if got := z.SOA(1<<32 + 7).Serial; got != 7 {
		t.Errorf("serial of 2^32+7 = %d, want 7", got)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	z, s := testZone(), sample()
	want := []string{"serial=1795325400", "time=2026-11-22T05:30:00Z", "entries=19", "evidence=2026-11-22T05:29:41Z", "age=79"}
	if diff := cmp.Diff(want, z.Status(s, made.Add(time.Minute))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[:3], z.StatusTXT(s).Txt); diff != "" {
		t.Error(diff)
	}
	bare := listing.NewSnapshot(listing.Build{Sequence: 1, Time: made})
	if got := z.Status(bare, made)[3:]; !cmp.Equal(got, []string{"evidence=none"}) {
		t.Errorf("without evidence: %q", got)
	}
}

// TestApexTexts packs and unpacks a text with quotes, backslashes and bytes
// beyond ASCII.
func TestApexTexts(t *testing.T) {
	t.Parallel()
	z := testZone()
	m := new(dns.Msg)
	m.Answer = z.ApexRecords(sample())
	var back dns.Msg
	if err := back.Unpack(must(m.Pack())(t)); err != nil {
		t.Fatal(err)
	}
	wire := make([]byte, 512)
	end := must(dns.PackRR(m.Answer[2], wire, 0, nil, false))(t)
	if got, want := string(wire[end-len(z.Texts[0]):end]), z.Texts[0]; got != want {
		t.Errorf("on the wire %q, want %q", got, want)
	}
	if len(back.Answer) != 3 {
		t.Errorf("%d records at the apex, want A, AAAA and TXT", len(back.Answer))
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	z := testZone()
	z.NS = []string{"ns1.bl.example", "NS2.bl.example.", "ns.example.net"}
	z.Hosts = map[string][]netip.Addr{"ns2.bl.example": {netip.MustParseAddr("192.0.2.54")}}
	if err := z.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"ns1.bl.example.": {"192.0.2.80", "2001:db8::80"}, // the apex's
		"ns2.bl.example.": {"192.0.2.54"},
		"ns.example.net.": nil,
		"www.bl.example.": nil,
		"bl.example.":     nil,
	} {
		var got []string
		for _, rr := range z.HostRecords(name) {
			got = append(got, dns.Field(rr, 1))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	z.Addresses = nil
	if diff := cmp.Diff([]string{"ns1.bl.example"}, z.Unreachable()); diff != "" {
		t.Error(diff)
	}
}
