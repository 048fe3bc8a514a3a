package dnsd_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

const (
	keyName   = "transfer.example."
	secret    = "a secret of thirty-two octets..."
	otherName = "other.example."
)

var tsigSecrets = map[string]string{keyName: base64.StdEncoding.EncodeToString([]byte(secret))}

// shared lets the zone be taken with the key from loopback, and bounce.bl.example
// by anybody there.
func shared(tb testing.TB) *dnsd.Secondaries {
	tb.Helper()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	s, err := dnsd.NewSecondaries(
		[]dnsd.Key{
			{Name: keyName, Algorithm: "hmac-sha256", Secret: []byte(secret)},
			{Name: otherName, Algorithm: "hmac-sha512", Secret: []byte("another")},
		},
		dnsd.Sharing{Zone: "bl.example", Allow: []dnsd.TransferRule{{From: loopback, Key: keyName}, {From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}},
		dnsd.Sharing{Zone: "bounce.bl.example.", Allow: []dnsd.TransferRule{{From: loopback}}},
		dnsd.Sharing{Zone: "big.example", Allow: []dnsd.TransferRule{{Key: keyName}}},
	)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// primary is a server whose snapshot changes, and that knows all former ones.
type primary struct {
	addr    string
	zones   *zonefile.Set
	current atomic.Pointer[listing.Snapshot]
	former  map[uint64]*listing.Snapshot
	compare func(from, to uint64, most int) (listing.Comparison, error) // nil: of the former
}

func newPrimary(tb testing.TB, first *listing.Snapshot, change func(*dnsd.Options)) *primary {
	tb.Helper()
	p := &primary{zones: zones(tb), former: map[uint64]*listing.Snapshot{}}
	p.publish(first)
	o := options(tb)
	secondaries := shared(tb)
	o.Snapshots = p.current.Load
	o.Secondaries = func() *dnsd.Secondaries { return secondaries }
	o.Compare = p.between
	if change != nil {
		change(&o)
	}
	p.addr = serve(tb, o).Addrs()[0].String()
	return p
}

func (p *primary) publish(s *listing.Snapshot) {
	p.former[s.Sequence()] = s
	p.current.Store(s)
}

func (p *primary) between(from, to uint64, most int) (listing.Comparison, error) {
	if p.compare != nil {
		return p.compare(from, to, most)
	}
	before, after := p.former[from], p.former[to]
	if before == nil || after == nil {
		return listing.Comparison{}, listing.ErrCut
	}
	c := listing.Comparison{Difference: listing.Difference{From: from, To: to, Time: after.Time()}, Before: before.Time()}
	c.Removed, c.Added = listing.Diff(slices.Collect(before.All()), slices.Collect(after.All()))
	return c, nil
}

// request is a question for a zone, signed unless the key is empty.
func request(zone string, qtype uint16, serial uint32, key string) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(zone, qtype)
	if qtype == dns.TypeIXFR {
		m.SetIxfr(zone, serial, "ns1.bl.example.", "hostmaster.bl.example.")
	}
	if key != "" {
		m.SetTsig(key, dns.HmacSHA256, 300, time.Now().Unix())
	}
	return m
}

// take takes a zone as a secondary does. Every message must be signed, if the
// request is.
func (p *primary) take(m *dns.Msg) (rrs []dns.RR, err error) {
	conn, err := net.DialTimeout("tcp", p.addr, patience)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(6 * patience)); err != nil {
		return nil, err
	}
	packet, mac, err := packSigned(m)
	if err == nil {
		_, err = conn.Write(framed(packet))
	}
	soas := 0
	for first := true; err == nil && !ended(rrs, soas); first = false {
		if packet, err = readTCP(conn); err != nil {
			break
		}
		var r dns.Msg
		if err = r.Unpack(slices.Clone(packet)); err != nil {
			break
		}
		if mac != "" {
			if r.IsTsig() == nil {
				return rrs, errors.New("not signed")
			}
			if err = dns.TsigVerify(packet, tsigSecrets[keyName], mac, !first); err != nil {
				break
			}
			mac = r.IsTsig().MAC
		}
		if r.Id != m.Id || r.Rcode != dns.RcodeSuccess || len(r.Answer) == 0 {
			return rrs, fmt.Errorf("answered %s", r.MsgHdr.String())
		}
		rrs = append(rrs, r.Answer...)
		for _, rr := range r.Answer {
			if rr.Header().Rrtype == dns.TypeSOA && rr.String() == rrs[0].String() {
				soas++
			}
		}
	}
	return rrs, err
}

func packSigned(m *dns.Msg) (packet []byte, mac string, err error) {
	if m.IsTsig() == nil {
		packet, err = m.Pack()
		return packet, "", err
	}
	return dns.TsigGenerate(m, tsigSecrets[keyName], "", false)
}

// ended reports whether a transfer is whole, which has so many times the SOA of
// its beginning (RFC 5936 §2.2, RFC 1995 §4).
func ended(rrs []dns.RR, soas int) bool {
	switch {
	case len(rrs) == 0:
		return false
	case len(rrs) == 1:
		return true // of a whole zone more records fit into the first message
	case rrs[1].Header().Rrtype == dns.TypeSOA:
		return soas == 3
	default:
		return soas == 2
	}
}

func (p *primary) mustTake(t *testing.T, m *dns.Msg) []dns.RR {
	t.Helper()
	rrs, err := p.take(m)
	if err != nil {
		t.Fatal(err)
	}
	return rrs
}

func texts(rrs []dns.RR) []string {
	out := make([]string, len(rrs))
	for i, rr := range rrs {
		out[i] = rr.String()
	}
	return out
}

// whole is what a transfer of the whole zone has: every record, and the SOA again.
func whole(z *zonefile.Zone, s *listing.Snapshot) []string {
	all := texts(slices.Collect(z.Records(s)))
	return append(all, all[0])
}

// randomSnapshot has hosts, prefixes that lie between bounds, and IPv6.
func randomSnapshot(r *rand.Rand, sequence uint64, n int) *listing.Snapshot {
	var all []listing.Entry
	for range n {
		class := listing.Classes[r.IntN(len(listing.Classes))]
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{9, byte(r.IntN(4)), byte(r.IntN(256)), byte(r.IntN(256))}), 32)
		switch r.IntN(10) {
		case 0:
			prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{2, byte(r.IntN(256)), byte(r.IntN(256))}), 24+r.IntN(8))
		case 1, 2:
			prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0xd, 0xb8, byte(r.IntN(256)), byte(r.IntN(256))}), 48+r.IntN(17))
		}
		e := entry(prefix.Masked().String(), class)
		if r.IntN(3) == 0 {
			e.Classes |= listing.ClassSetOf(listing.ClassBounce)
		}
		e.Summary.Events = uint16(r.IntN(3) + 1)
		all = append(all, e)
	}
	return listing.NewSnapshot(listing.Build{Sequence: sequence, Time: base.Add(time.Duration(sequence) * time.Second), Entries: slices.Values(listing.Visible(all, nil))})
}

// A transfer has what the zone has, in messages that are all signed.
func TestTransferWhole(t *testing.T) {
	t.Parallel()
	s := randomSnapshot(rand.New(rand.NewPCG(1, 1)), 1<<32-5, 2000)
	p := newPrimary(t, s, nil)
	for _, tt := range []struct{ zone, key string }{
		{"bl.example.", keyName}, {"bounce.bl.example.", ""}, {"bounce.bl.example.", keyName}, {"big.example.", keyName},
	} {
		m := request(tt.zone, dns.TypeAXFR, 0, tt.key)
		if tt.zone == "big.example." {
			m.SetEdns0(1232, true)
			m.Extra[0], m.Extra[1] = m.Extra[1], m.Extra[0] // the signature is the last
		}
		got := texts(p.mustTake(t, m))
		if diff := cmp.Diff(whole(p.zones.Find(tt.zone), s), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.zone, diff)
		}
	}
}

// Messages are no longer than they should be, each tells the question and is
// authoritative, and names are as short as they can be told.
func TestTransferMessages(t *testing.T) {
	t.Parallel()
	s := randomSnapshot(rand.New(rand.NewPCG(1, 2)), 7, 3000)
	p := newPrimary(t, s, nil)
	conn := dial(t, "tcp", tcpAddr(t, p.addr))
	send(t, conn, framed(packed(t, request("bounce.bl.example.", dns.TypeAXFR, 0, ""))))
	records, size := 0, 0
	for soas := 0; soas < 2; {
		packet := receiveTCP(t, conn)
		var m dns.Msg
		if err := m.Unpack(packet); err != nil {
			t.Fatal(err)
		}
		if len(packet) > 16<<10 || !m.Response || !m.Authoritative || len(m.Question) != 1 || len(m.Ns)+len(m.Extra) > 0 || len(m.Answer) == 0 {
			t.Fatalf("%d octets: %v", len(packet), m.MsgHdr)
		}
		for _, rr := range m.Answer {
			if rr.Header().Rrtype == dns.TypeSOA {
				soas++
			}
		}
		m.Compress = true
		if again := packed(t, &m); len(packet) > len(again)+len(again)/100 {
			t.Errorf("%d octets, and %d would do", len(packet), len(again))
		}
		records += len(m.Answer)
		size += len(packet)
	}
	if records < 1000 || size < 64<<10 {
		t.Errorf("%d records in %d octets", records, size)
	}
}

func tcpAddr(tb testing.TB, addr string) net.Addr {
	tb.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// secondary applies what it takes, as RFC 1995 §4 says, and wants every record
// that goes to be there and every one that comes not to be.
type secondary struct {
	records map[string]bool
	serial  uint32
}

func (s *secondary) apply(t *testing.T, rrs []dns.RR) dnsd.TransferKind {
	t.Helper()
	soa := func(i int) *dns.SOA {
		if i >= len(rrs) {
			return nil
		}
		record, _ := rrs[i].(*dns.SOA)
		return record
	}
	newest := soa(0)
	if newest == nil || len(rrs) > 1 && rrs[0].String() != rrs[len(rrs)-1].String() {
		t.Fatalf("%d records, not between two SOA", len(rrs))
	}
	if len(rrs) == 1 {
		return dnsd.Current
	}
	kind := dnsd.WholeAfter
	if soa(1) == nil {
		s.records = map[string]bool{}
		for _, rr := range rrs[:len(rrs)-1] {
			if s.records[rr.String()] {
				t.Fatalf("twice: %s", rr)
			}
			s.records[rr.String()] = true
		}
	} else {
		kind = dnsd.Incremental
		add := true
		for i, rr := range rrs[1 : len(rrs)-1] {
			if soa(i+1) != nil {
				add = !add
			}
			if s.records[rr.String()] == add {
				t.Fatalf("adding %t: %s", add, rr)
			}
			if add {
				s.records[rr.String()] = true
			} else {
				delete(s.records, rr.String())
			}
		}
	}
	s.serial = newest.Serial
	return kind
}

func (s *secondary) compare(t *testing.T, z *zonefile.Zone, snapshot *listing.Snapshot) {
	t.Helper()
	want := map[string]bool{}
	for rr := range z.Records(snapshot) {
		want[rr.String()] = true
	}
	if diff := cmp.Diff(want, s.records); diff != "" {
		t.Fatalf("%s at serial %d (-want +got):\n%s", z.Name, snapshot.Serial(), diff)
	}
}

// Secondaries that take what changed, from one serial back or many, have the zone
// then, whichever classes it shows.
func TestTransferIncremental(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 3))
	sequence := uint64(1<<32 - 10) // and over the end of the serials
	s := randomSnapshot(r, sequence, 300)
	p := newPrimary(t, s, nil)
	held := map[string]*secondary{}
	for _, z := range p.zones.All() {
		held[z.Name] = &secondary{serial: s.Serial() - 1}
	}
	kinds := map[dnsd.TransferKind]int{}
	for round := range 40 {
		for name, have := range held {
			if round%3 == 2 && r.IntN(2) == 0 {
				continue // falls behind
			}
			kinds[have.apply(t, p.mustTake(t, request(name, dns.TypeIXFR, have.serial, keyName)))]++
			have.compare(t, p.zones.Find(name), s)
			kinds[have.apply(t, p.mustTake(t, request(name, dns.TypeIXFR, have.serial, keyName)))]++
		}
		sequence++
		all := slices.Collect(s.All())
		next := listing.Next{Sequence: sequence, Time: base.Add(time.Duration(sequence) * time.Second)}
		for range r.IntN(20) {
			e := all[r.IntN(len(all))]
			next.Removed = append(next.Removed, e.Prefix)
		}
		for range r.IntN(10) { // other words, and for some zones no others
			e := all[r.IntN(len(all))]
			e.Classes |= listing.ClassSetOf(listing.Classes[r.IntN(len(listing.Classes))])
			next.Added = append(next.Added, e)
		}
		for e := range randomSnapshot(r, 1, r.IntN(20)).All() {
			if _, there := s.Lookup(e.Prefix.Addr()); !there && slices.Collect(s.Within(e.Prefix)) == nil {
				next.Added = append(next.Added, e)
			}
		}
		slices.SortFunc(next.Added, func(a, b listing.Entry) int { return listing.ComparePrefix(a.Prefix, b.Prefix) })
		next.Added = slices.CompactFunc(next.Added, func(a, b listing.Entry) bool { return a.Prefix == b.Prefix })
		s = s.Next(next)
		p.publish(s)
	}
	if kinds[dnsd.WholeAfter] != 3 || kinds[dnsd.Incremental] < 60 || kinds[dnsd.Current] < 60 {
		t.Errorf("%v", kinds)
	}
}

// When the changes are not known, or are more than the zone, all of it is sent,
// and to who has more than we do the SOA.
func TestTransferFallsBack(t *testing.T) {
	t.Parallel()
	first := randomSnapshot(rand.New(rand.NewPCG(1, 4)), 100, 50)
	last := randomSnapshot(rand.New(rand.NewPCG(1, 5)), 101, 20) // nothing in common
	p := newPrimary(t, first, nil)
	p.publish(last)
	z := p.zones.Find("bl.example.")
	all := whole(z, last)
	for _, tt := range []struct {
		name   string
		serial uint32
		err    error
		want   []string
	}{
		{"larger than the zone", 100, nil, all},
		{"before the journal", 99, nil, all},
		{"half the space away", 101 + 1<<31, nil, all},
		{"before the first", 1<<32 - 5, nil, all},
		{"too much to read", 100, listing.ErrLarge, all},
		{"not to be read", 100, errors.New("of the disk"), all},
		{"ours", 101, nil, all[:1]},
		{"newer", 102, nil, all[:1]},
	} {
		p.compare = nil
		if tt.err != nil {
			p.compare = func(uint64, uint64, int) (listing.Comparison, error) { return listing.Comparison{}, tt.err }
		}
		if diff := cmp.Diff(tt.want, texts(p.mustTake(t, request("bl.example.", dns.TypeIXFR, tt.serial, keyName)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// Who may not have a zone is refused, and told so under his own signature.
func TestTransferRefused(t *testing.T) {
	t.Parallel()
	p := newPrimary(t, snapshot(), nil)
	for _, tt := range []struct {
		name, zone, key string
	}{
		{"unsigned", "bl.example.", ""},
		{"another key", "bl.example.", otherName},
		{"no rule", "ns1.bl.example.", keyName},
		{"no such zone", "elsewhere.example.", keyName},
	} {
		for _, qtype := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
			m := request(tt.zone, qtype, 1, "")
			c := dns.Client{Net: "tcp", Timeout: patience, TsigSecret: map[string]string{
				keyName: tsigSecrets[keyName], otherName: base64.StdEncoding.EncodeToString([]byte("another")),
			}}
			if tt.key != "" {
				algorithm := dns.HmacSHA256
				if tt.key == otherName {
					algorithm = dns.HmacSHA512
				}
				m.SetTsig(tt.key, algorithm, 300, time.Now().Unix())
			}
			r, _, err := c.Exchange(m, p.addr)
			if err != nil || r.Rcode != dns.RcodeRefused || len(r.Answer) != 0 || (r.IsTsig() != nil) != (tt.key != "") {
				t.Errorf("%s: %v, %v", tt.name, r, err)
			}
		}
	}
}

// An incremental transfer over UDP is the SOA alone (RFC 1995 §2), signed for who
// signs.
func TestTransferUDP(t *testing.T) {
	t.Parallel()
	p := newPrimary(t, snapshot(), nil)
	c := dns.Client{Timeout: patience, TsigSecret: tsigSecrets}
	r, _, err := c.Exchange(request("bl.example.", dns.TypeIXFR, 1, keyName), p.addr)
	if err != nil || len(r.Answer) != 1 || r.Answer[0].Header().Rrtype != dns.TypeSOA || r.IsTsig() == nil {
		t.Errorf("%v, %v", r, err)
	}
	r, _, err = c.Exchange(request("bl.example.", dns.TypeAXFR, 1, keyName), p.addr)
	if err != nil || r.Rcode != dns.RcodeNotImplemented || r.IsTsig() == nil {
		t.Errorf("%v, %v", r, err)
	}
}

// Questions behind a transfer on one connection are answered behind it.
func TestTransferPipelined(t *testing.T) {
	t.Parallel()
	p := newPrimary(t, randomSnapshot(rand.New(rand.NewPCG(1, 6)), 9, 2000), nil)
	conn := dial(t, "tcp", tcpAddr(t, p.addr))
	send(t, conn, slices.Concat(
		framed(goodQuestion(t, 1)), framed(packed(t, request("bounce.bl.example.", dns.TypeAXFR, 0, ""))), framed(goodQuestion(t, 2)),
	))
	if got := id(receiveTCP(t, conn)); got != 1 {
		t.Errorf("first %d", got)
	}
	for {
		packet := receiveTCP(t, conn)
		if id(packet) == 2 {
			return
		}
	}
}
