package dnsd_test

import (
	"slices"
	"sync"
	"testing"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// Names that exist only because a name server or another zone lies below them
// are no NXDOMAIN: resolvers that minimise names (RFC 9156) ask for them first,
// and would ask for nothing below.
func TestNamesAboveHostsAndZones(t *testing.T) {
	t.Parallel()
	outer, inner := zoneBL(), zoneBounce()
	outer.NS = append(outer.NS, "ns3.dc.bl.example.")
	inner.Name = "bounce.class.bl.example."
	set, err := zonefile.NewSet(outer, inner)
	if err != nil {
		t.Fatal(err)
	}
	v := view(t)
	v.Zones = set
	for name, want := range map[string]struct {
		rcode int
		kind  dnsd.Kind
	}{
		"dc.bl.example.":              {dns.RcodeSuccess, dnsd.Partial},
		"CLASS.bl.example.":           {dns.RcodeSuccess, dnsd.Partial},
		"ns3.dc.bl.example.":          {dns.RcodeSuccess, dnsd.Apex},
		"bounce.class.bl.example.":    {dns.RcodeSuccess, dnsd.Apex},
		"x.dc.bl.example.":            {dns.RcodeNameError, dnsd.NoAddress},
		"x.class.bl.example.":         {dns.RcodeNameError, dnsd.NoAddress},
		"dc.bounce.class.bl.example.": {dns.RcodeNameError, dnsd.NoAddress},
	} {
		packet := packed(t, question(name, dns.TypeNS))
		out, verdict := dnsd.Answer(nil, packet, dnsd.UDP, v)
		if verdict.Rcode != want.rcode || verdict.Kind != want.kind {
			t.Errorf("%s: %s %s, want %s", name, dns.RcodeToString[verdict.Rcode], verdict.Kind, dns.RcodeToString[want.rcode])
		}
		if r := words(t, packet, out); want.kind != dnsd.Apex && (len(r.Answer) != 0 || len(r.Authority) != 1) {
			t.Errorf("%s: %+v, want the SOA alone", name, r)
		}
	}
}

// A reload changes the zones, then the serial: read in the other order, a
// question between them would get the new serial with the old settings.
func TestSnapshotIsReadBeforeTheZones(t *testing.T) {
	t.Parallel()
	o := options(t)
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	theirZones, theirSnapshots := o.Zones, o.Snapshots
	o.Zones = func() *zonefile.Set { note("zones"); return theirZones() }
	o.Snapshots = func() *listing.Snapshot { note("snapshot"); return theirSnapshots() }
	s := serve(t, o)
	exchange(t, dnsd.UDP, s.Addrs()[0], packed(t, question("bl.example.", dns.TypeSOA)))
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(order, []string{"snapshot", "zones"}) {
		t.Errorf("order %v", order)
	}
}
