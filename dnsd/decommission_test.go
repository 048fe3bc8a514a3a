package dnsd_test

import (
	"strings"
	"testing"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// A list that has ended denies its test entry, and says why at its apex
// (RFC 6471 §3.4).
func TestDecommissioned(t *testing.T) {
	t.Parallel()
	o := options(t)
	ended := listing.NewSnapshot(listing.Build{Sequence: 2, Time: base, Decommissioned: base})
	o.Snapshots = func() *listing.Snapshot { return ended }
	server := serve(t, o).Addrs()[0].String()
	ask := func(name string, rrtype uint16) *dns.Msg {
		t.Helper()
		q := new(dns.Msg)
		q.SetQuestion(name, rrtype)
		r, err := dns.Exchange(q, server)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := ask("2.0.0.127.bl.example.", dns.TypeA); r.Rcode != dns.RcodeNameError || len(r.Answer) != 0 {
		t.Errorf("the test entry: %s", r)
	}
	said := false
	for _, rr := range ask("bl.example.", dns.TypeTXT).Answer {
		said = said || strings.HasPrefix(strings.Join(rr.(*dns.TXT).Txt, ""), "This list ended on ")
	}
	if !said {
		t.Error("the apex does not say so")
	}
}
