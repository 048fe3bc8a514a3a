package dnsd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// TestWhatGoesFirst makes the room for a reply smaller and smaller, and wants
// the extended error gone first (RFC 8914 §3), then what is additional
// (RFC 2181 §9), then all records with TC set.
func TestWhatGoesFirst(t *testing.T) {
	t.Parallel()
	packet, err := new(dns.Msg).SetQuestion("bl.example.", dns.TypeTXT).SetEdns0(1232, false).Pack()
	if err != nil {
		t.Fatal(err)
	}
	q, ok := parse(packet)
	if !ok {
		t.Fatal("the question was not understood")
	}
	record := func(name string) []dns.RR {
		return []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET},
			Txt: []string{strings.Repeat("x", 100)},
		}}
	}
	type left struct{ Answer, Authority, Additional, Extended, Truncated bool }
	last := left{}
	var stages []left
	for limit := 600; limit >= 40; limit-- {
		r := reply{
			extended: int(dns.ExtendedErrorCodeProhibited),
			answer:   record("bl.example."), authority: record("a.example."), additional: record("b.example."),
		}
		out, truncated, err := r.append(nil, &q, limit)
		if err != nil {
			t.Fatal(err)
		}
		var m dns.Msg
		if err := m.Unpack(out); err != nil {
			t.Fatal(err)
		}
		if len(out) > limit || truncated != m.Truncated {
			t.Errorf("%d bytes of %d, truncated %t and said %t", len(out), limit, truncated, m.Truncated)
		}
		opt := m.IsEdns0()
		if opt == nil {
			t.Fatal("no OPT record")
		}
		now := left{len(m.Answer) > 0, len(m.Ns) > 0, len(m.Extra) > 1, len(opt.Option) > 0, m.Truncated}
		if len(stages) == 0 || now != last {
			stages = append(stages, now)
		}
		last = now
	}
	want := []left{
		{Answer: true, Authority: true, Additional: true, Extended: true},
		{Answer: true, Authority: true, Additional: true},
		{Answer: true, Authority: true},
		{Truncated: true},
	}
	if diff := cmp.Diff(want, stages); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
