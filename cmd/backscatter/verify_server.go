package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"backscatter/listing"
	"backscatter/zonefile"
)

// verifyServer asks a server over the DNS.
func (a *app) verifyServer(ctx context.Context, server string, f checkFlags, now time.Time) error {
	c := &checkup{What: server, Zone: f.zone}
	var copied *zonefile.Copy
	if f.against != "" {
		key, err := a.publisherKey(f)
		if err != nil {
			return err
		}
		var export checkup
		if copied, err = openExport(f.against, key, &export); err != nil {
			return fmt.Errorf("verify against %s: %w", f.against, err)
		}
		c.Zone, c.Signed = copied.Manifest.Zone, export.Signed
	}
	if c.Zone == "" {
		config, err := a.loadConfig()
		if err == nil {
			c.Zone, err = zoneToAsk(config)
		}
		if err != nil {
			return err
		}
	}
	q := &questioner{server: server, zone: dns.Fqdn(c.Zone)}
	if err := q.check(ctx, c, copied, now); err != nil {
		c.problem("%v", err)
		return a.printCheckup(c)
	}
	c.judgeAge(now, f)
	return a.printCheckup(c)
}

// questioner asks one server about one zone.
type questioner struct{ server, zone string }

// patiences are how long each question waits for its answer over UDP, where
// datagrams get lost; then it is asked again.
var patiences = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second}

// ask asks a question, over TCP when the answer does not fit (RFC 7766 §5).
func (q *questioner) ask(ctx context.Context, name string, rrtype uint16) (reply *dns.Msg, err error) {
	m := new(dns.Msg).SetQuestion(name, rrtype)
	m.RecursionDesired = false
	for _, patience := range patiences {
		client := dns.Client{Timeout: patience}
		if reply, _, err = client.ExchangeContext(ctx, m, q.server); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err == nil && reply.Truncated {
		client := dns.Client{Net: "tcp", Timeout: patiences[len(patiences)-1]}
		reply, _, err = client.ExchangeContext(ctx, m, q.server)
	}
	if err != nil {
		return nil, fmt.Errorf("ask for %s %s: %w", name, dns.TypeToString[rrtype], err)
	}
	return reply, nil
}

// lookUp asks for what is there or is not: any other answer is an error.
func (q *questioner) lookUp(ctx context.Context, name string, rrtype uint16) (*dns.Msg, error) {
	reply, err := q.ask(ctx, name, rrtype)
	if err == nil && reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("ask for %s %s: %s", name, dns.TypeToString[rrtype], dns.RcodeToString[reply.Rcode])
	}
	return reply, err
}

// address returns the A record of a name, or "" when it has none.
func (q *questioner) address(ctx context.Context, name string) (string, error) {
	reply, err := q.lookUp(ctx, name, dns.TypeA)
	if err != nil {
		return "", err
	}
	if a, ok := first[*dns.A](reply); ok {
		return a.A.String(), nil
	}
	return "", nil
}

// text returns the TXT record of a name, or "" when it has none.
func (q *questioner) text(ctx context.Context, name string) (string, error) {
	reply, err := q.lookUp(ctx, name, dns.TypeTXT)
	if err != nil {
		return "", err
	}
	if txt, ok := first[*dns.TXT](reply); ok {
		return strings.Join(txt.Txt, ""), nil
	}
	return "", nil
}

func first[T dns.RR](m *dns.Msg) (rr T, ok bool) {
	for _, answer := range m.Answer {
		if rr, ok = answer.(T); ok {
			return rr, true
		}
	}
	return rr, false
}

// check asks for the serial, the age and the entries, the test points, and what an
// export, if there is one, has.
func (q *questioner) check(ctx context.Context, c *checkup, copied *zonefile.Copy, now time.Time) error {
	reply, err := q.ask(ctx, q.zone, dns.TypeSOA)
	if err != nil {
		return err
	}
	soa, ok := first[*dns.SOA](reply)
	if !ok {
		return fmt.Errorf("it has no zone %s: %s", q.zone, dns.RcodeToString[reply.Rcode])
	}
	c.Serial = soa.Serial
	if reply, err = q.lookUp(ctx, "_status."+q.zone, dns.TypeTXT); err != nil {
		return err
	}
	if txt, ok := first[*dns.TXT](reply); ok { // rbldnsd has no _status
		c.readStatus(txt.Txt, now)
	}
	if copied == nil {
		return q.points(ctx, c, nil)
	}
	switch ours := copied.Snapshot.Serial(); {
	case int32(c.Serial-ours) < 0: // RFC 1982
		c.problem("its serial is older than %d of the export", ours)
		return q.points(ctx, c, nil)
	case c.Serial != ours:
		c.problem("its serial is newer than %d of the export, so they cannot be compared", ours)
		return q.points(ctx, c, nil)
	}
	if c.Time.IsZero() {
		c.Time = copied.Manifest.Created // what it has is what was published then
	}
	if err := q.points(ctx, c, copied); err != nil {
		return err
	}
	return q.compare(ctx, c, copied, now)
}

// readStatus reads the strings of _status that are known.
func (c *checkup) readStatus(told []string, now time.Time) {
	for _, text := range told {
		name, value, _ := strings.Cut(text, "=")
		switch name {
		case "mirror": // newer than the time: an unchanged list is published again
			c.Time, _ = time.Parse(time.RFC3339, value)
		case "evidence": // the publisher itself, and nobody else, tells that
			c.Time = now
		case "entries":
			var n int
			if _, err := fmt.Sscan(value, &n); err == nil {
				c.Entries = &n
			}
		}
	}
}

// points asks for the test points (RFC 5782 §5): those of the codes, and 127.0.0.2
// as IPv6 lists have it.
func (q *questioner) points(ctx context.Context, c *checkup, copied *zonefile.Copy) error {
	z := &zonefile.Zone{Name: q.zone}
	for last := byte(1); last <= 10; last++ {
		addr := netip.AddrFrom4([4]byte{127, 0, 0, last})
		names := []string{z.Owner(addr)}
		if last <= 2 {
			names = append(names, mappedName(addr)+q.zone)
		}
		for _, name := range names {
			if err := q.point(ctx, c, name, wanted(copied, addr)); err != nil {
				return err
			}
		}
	}
	return nil
}

// testPoint is how a server should answer for one.
type testPoint struct {
	either  bool // or not at all
	address string
	text    string // empty: any will do
}

// wanted returns how a server should answer for a test point. Without an export it is
// not known which codes the zone has but that of 127.0.0.2.
func wanted(copied *zonefile.Copy, addr netip.Addr) testPoint {
	if copied != nil {
		z := copied.Zones.All()[0]
		e, ok := z.Lookup(copied.Snapshot, addr)
		if !ok {
			return testPoint{}
		}
		return testPoint{address: zonefile.Code(e.Class).String(), text: z.Text(e)}
	}
	last := addr.As4()[3]
	if last == 1 {
		return testPoint{}
	}
	return testPoint{either: last != 2, address: addr.String()}
}

func (q *questioner) point(ctx context.Context, c *checkup, name string, want testPoint) error {
	short := strings.TrimSuffix(name, "."+q.zone)
	got, err := q.address(ctx, name)
	if err != nil {
		return err
	}
	if got != want.address && (got != "" || !want.either) {
		c.problem("the test point %s answers %q, want %q (RFC 5782 §5)", short, got, want.address)
		return nil
	}
	if got == "" {
		return nil
	}
	said, err := q.text(ctx, name)
	if err == nil && (said == "" || want.text != "" && said != want.text) {
		c.problem("the text of the test point %s is %q, want %q", short, said, want.text)
	}
	return err
}

// mappedName returns the nibbles of an IPv4 address that is written as an IPv6 one.
func mappedName(addr netip.Addr) string {
	var b strings.Builder
	octets := addr.As16()
	for i := len(octets) - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "%x.%x.", octets[i]&15, octets[i]>>4)
	}
	return b.String()
}

// compareEntries compares the number of entries that a server tells, if it does, with
// that of an export. The publisher counts what a zone does not carry, too, and the
// export may not say how much that is.
func (c *checkup) compareEntries(z *zonefile.Zone, s *listing.Snapshot, now time.Time) {
	var export checkup
	export.readStatus(z.Status(s, now), now)
	part := z.Whole == 0 && listing.AllClasses&^z.Classes&^listing.ClassSetOf(listing.ClassCallout) != 0
	if c.Entries != nil && (*c.Entries < *export.Entries || *c.Entries > *export.Entries && !part) {
		c.problem("it tells of %d entries, and the export has %d", *c.Entries, *export.Entries)
	}
}

// samples is how many listed, and as many unlisted, addresses are compared.
const samples = 200

// compare asks for what an export has at the same serial: how many entries it tells,
// and listed addresses, evenly over all of the list, with those beside them.
func (q *questioner) compare(ctx context.Context, c *checkup, copied *zonefile.Copy, now time.Time) error {
	z := copied.Zones.All()[0]
	c.compareEntries(z, copied.Snapshot, now)
	step, at := max(1, copied.Snapshot.Len()/samples), 0
	for e := range copied.Snapshot.All() {
		if at++; at%step != 0 {
			continue
		}
		for _, addr := range []netip.Addr{e.Prefix.Addr(), beyond(e)} {
			want := ""
			if e, ok := z.Lookup(copied.Snapshot, addr); ok {
				want = zonefile.Code(e.Class).String()
			}
			got, err := q.address(ctx, z.Owner(addr))
			if err != nil {
				return err
			}
			if c.Compared++; got != want {
				c.problem("%s answers %q, want %q", addr, got, want)
			}
		}
		if len(c.Problems) > maxFaults {
			return nil
		}
	}
	return nil
}

// beyond returns the address behind an entry.
func beyond(e listing.Entry) netip.Addr {
	last := e.Prefix.Addr().AsSlice()
	for i := e.Prefix.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(last)
	return addr.Next()
}
