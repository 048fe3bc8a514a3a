package dnsd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// copying returns a copier of bl.example that keeps its copy in a folder.
func copying(t *testing.T, dir string, change func(*dnsd.CopierOptions)) *dnsd.Copier {
	t.Helper()
	keeper, err := zonefile.NewKeeper(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := dnsd.CopierOptions{
		Zone: "bl.example.", Primaries: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}, Keeper: keeper,
		Forbidden: func(netip.Prefix) error { return nil }, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	c, err := dnsd.NewCopier(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Begin(time.Now())
	return c
}

// run runs the copier until the function that it returns is called, or the test
// ends.
func runCopier(t *testing.T, c *dnsd.Copier) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// lasting is the fixture's list without what ends soon, which transfers do not tell.
func lasting(sequence uint64, more ...listing.Entry) *listing.Snapshot {
	return listing.NewSnapshot(listing.Build{
		Sequence: sequence, Time: base.Add(time.Duration(sequence%1000) * time.Second), Entries: slices.Values(append(more, entries...)),
	})
}

// sameAnswers wants a copy to answer every question about the zone just as its
// primary does, to the byte: about all entries, what is beside them and above them.
func sameAnswers(t *testing.T, primary *listing.Snapshot, c *dnsd.Copier) {
	t.Helper()
	theirs := dnsd.View{Zones: zones(t), Snapshot: primary, Now: base}
	ours := dnsd.View{Zones: c.Zones(), Snapshot: c.Snapshot(), Now: base}
	z := theirs.Zones.Find("bl.example.")
	names := []string{"bl.example.", "ns1.bl.example.", "www.bl.example.", "127.bl.example.", "2.0.0.127.bl.example.", "1.0.0.127.bl.example.", "9.0.0.127.bl.example."}
	for e := range primary.All() {
		addr := e.Prefix.Addr()
		for range 3 {
			names = append(names, z.Owner(addr))
			addr = addr.Next()
		}
		for labels := dns.SplitDomainName(z.Owner(e.Prefix.Addr())); len(labels) > 2; labels = labels[1:] {
			names = append(names, dns.Fqdn(strings.Join(labels, ".")))
		}
	}
	for _, name := range names {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypeNS, dns.TypeSOA, dns.TypeANY} {
			packet := packed(t, question(name, qtype))
			want, _ := dnsd.Answer(nil, packet, dnsd.TCP, theirs)
			got, _ := dnsd.Answer(nil, packet, dnsd.TCP, ours)
			if string(want) != string(got) {
				t.Fatalf("%s %s: the copy does not answer what the primary does", name, dns.TypeToString[qtype])
			}
		}
	}
}

// TestCopier lets a copier follow our own server, signed, through many serials, and
// through its own restarts.
func TestCopier(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1995, 1996))
	p := newPrimary(t, lasting(1000), nil)
	reg := prometheus.NewPedanticRegistry()
	dir := filepath.Join(t.TempDir(), "copy")
	begin := func() (*dnsd.Copier, func()) {
		c := copying(t, dir, func(o *dnsd.CopierOptions) {
			o.Primaries = []netip.AddrPort{netip.MustParseAddrPort(p.addr)}
			o.Key = &dnsd.Key{Name: keyName, Algorithm: "hmac-sha256", Secret: []byte(secret)}
			o.Metrics = reg
			reg = prometheus.NewPedanticRegistry()
		})
		return c, runCopier(t, c)
	}
	first := reg
	c, stop := begin()
	until(t, "the copier has the zone", func() bool { return c.Snapshot() != nil || c.State().Err != nil })
	if err := c.State().Err; err != nil {
		t.Fatal(err)
	}
	sameAnswers(t, p.current.Load(), c)
	for round := range 12 {
		former := p.current.Load()
		n := listing.Next{Sequence: former.Sequence() + 1 + uint64(rng.IntN(3)), Time: former.Time().Add(time.Second)}
		for e := range former.All() {
			if rng.IntN(4) == 0 {
				n.Removed = append(n.Removed, e.Prefix)
			}
		}
		for range rng.IntN(20) {
			n.Added = append(n.Added, entry(fmt.Sprintf("198.51.101.%d/32", rng.IntN(256)), listing.ClassBounce))
		}
		n.Added = append(n.Added, entry(fmt.Sprintf("2001:db8:ab00:%x::/62", 4*round), listing.ClassManual))
		slices.SortFunc(n.Added, func(a, b listing.Entry) int { return listing.ComparePrefix(a.Prefix, b.Prefix) })
		n.Added = slices.CompactFunc(n.Added, func(a, b listing.Entry) bool { return a.Prefix == b.Prefix })
		p.publish(former.Next(n))
		if round%4 == 3 {
			stop()
			c, stop = begin()
			if c.Snapshot() == nil {
				t.Fatal("after a restart it does not answer at once")
			}
		}
		until(t, "the copier has the next serial", func() bool {
			c.Look()
			return c.Snapshot().Serial() == p.current.Load().Serial()
		})
		sameAnswers(t, p.current.Load(), c)
	}
	if n := tallied(t, first, "backscatter_mirror_transfers_total", map[string]string{"kind": "ixfr", "result": "done"}); n < 3 {
		t.Errorf("%v incremental transfers were counted", n)
	}
	if s := c.State(); s.Zone != "bl.example" || s.Serial != p.current.Load().Serial() || s.Err != nil || s.Checked.IsZero() {
		t.Errorf("%+v", s)
	}
}

// scripted is a primary whose answers a test makes, over connections that need no
// network.
type scripted struct {
	mu     sync.Mutex                // guards all below: connections outlive what a test waits for
	answer func(q *dns.Msg) [][]byte // the messages; none: the connection is closed
	asked  []uint16                  // types
}

// will changes what it answers; nil: it is down.
func (s *scripted) will(answer func(q *dns.Msg) [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// questions returns the types that were asked for so far.
func (s *scripted) questions() []uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// hear notes a question, unless it is nil, and returns who answers.
func (s *scripted) hear(q *dns.Msg) func(q *dns.Msg) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q != nil {
		s.asked = append(s.asked, q.Question[0].Qtype)
	}
	return s.answer
}

var errDown = errors.New("the primary is down")

// dial has a goroutine answer until the connection is closed.
func (s *scripted) dial(ctx context.Context, _ string) (net.Conn, error) {
	if s.hear(nil) == nil {
		return nil, errDown
	}
	ours, theirs := net.Pipe()
	go func() {
		defer ours.Close()
		for {
			packet, err := readTCP(ours)
			q := new(dns.Msg)
			if err != nil || q.Unpack(packet) != nil {
				return
			}
			var messages [][]byte
			if answer := s.hear(q); answer != nil {
				messages = answer(q)
			}
			for _, m := range messages {
				if _, err := ours.Write(framed(m)); err != nil {
					return
				}
			}
			if len(messages) == 0 {
				return
			}
		}
	}()
	return theirs, ctx.Err()
}

// message is an answer with these records.
func message(q *dns.Msg, rrs ...dns.RR) []byte {
	m := new(dns.Msg).SetReply(q)
	m.Answer = rrs
	packet, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return packet
}

// honest answers with a list, all of it whatever part is asked for.
func honest(z *zonefile.Zone, s *listing.Snapshot) func(q *dns.Msg) [][]byte {
	return func(q *dns.Msg) [][]byte {
		soa := z.SOA(s.Sequence())
		if q.Question[0].Qtype == dns.TypeSOA {
			return [][]byte{message(q, soa)}
		}
		var out [][]byte
		for rrs := range slices.Chunk(append(slices.Collect(z.Records(s)), soa), 10) {
			out = append(out, message(q, rrs...))
		}
		return out
	}
}

// The timers of the SOA are kept to the second (RFC 1035 §3.3.13).
func TestCopierKeepsTime(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "copy")
	synctest.Test(t, func(t *testing.T) {
		z := timed()
		p := &scripted{}
		c := copying(t, dir, func(o *dnsd.CopierOptions) { o.Dial = p.dial })
		stop := runCopier(t, c)
		count := func(d time.Duration) int {
			before := len(p.questions())
			time.Sleep(d)
			synctest.Wait()
			return len(p.questions()) - before
		}
		count(3 * time.Minute)
		if s := c.State(); c.Snapshot() != nil || !errors.Is(s.Err, errDown) {
			t.Fatalf("without a primary: %+v", s)
		}
		p.will(honest(z, lasting(1000)))
		count(time.Minute + time.Second)
		if c.Snapshot() == nil || c.Snapshot().Serial() != 1000 {
			t.Fatalf("a minute after the primary came: %+v", c.State())
		}
		if n := count(time.Hour); n != 6 {
			t.Errorf("asked %d times in an hour of six refreshs", n)
		}
		p.will(honest(z, lasting(1001)))
		count(10 * time.Minute)
		if c.Snapshot().Serial() != 1001 {
			t.Error("the next serial was not taken after the refresh time")
		}
		confirmed := c.State().Checked
		p.will(nil)
		count(9 * time.Minute)
		if s := c.State(); s.Err != nil {
			t.Errorf("asked before the refresh time: %v", s.Err)
		}
		count(2 * time.Minute)
		if s := c.State(); s.Err == nil || c.Snapshot() == nil {
			t.Errorf("after the refresh time: %+v", s)
		}
		p.will(honest(z, lasting(1001)))
		count(time.Minute + time.Second)
		if s := c.State(); s.Err != nil || !s.Checked.After(confirmed) {
			t.Errorf("after the retry time: %+v", s)
		}
		confirmed = c.State().Checked
		p.will(nil)
		time.Sleep(time.Until(confirmed.Add(time.Hour - time.Second)))
		synctest.Wait()
		if c.Snapshot() == nil || c.Zones() == nil {
			t.Error("it expired too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if c.Snapshot() != nil || c.Zones() != nil {
			t.Error("it did not expire")
		}
		stop()
		// Nor does it answer from it after a restart, until a primary is there.
		c = copying(t, dir, func(o *dnsd.CopierOptions) { o.Dial = p.dial })
		if c.Snapshot() != nil {
			t.Error("after a restart the expired copy is answered from")
		}
		p.will(honest(z, lasting(1001)))
		stop = runCopier(t, c)
		synctest.Wait()
		if c.Snapshot() == nil {
			t.Error("a primary has confirmed the copy, and it is not answered from")
		}
		if c.State().Since.IsZero() {
			t.Error("since when is not told")
		}
		stop()
	})
}

// What a primary should not send is refused, and what was in force stays; as soon
// as one sends what it should, that is taken.
func TestCopierRefuses(t *testing.T) {
	t.Parallel()
	z := zoneBL()
	good, next := lasting(1000), lasting(1001, entry("192.0.2.99/32", listing.ClassBounce))
	soaOnly := func(then func(q *dns.Msg) [][]byte) func(q *dns.Msg) [][]byte {
		return func(q *dns.Msg) [][]byte {
			if q.Question[0].Qtype == dns.TypeSOA {
				return [][]byte{message(q, z.SOA(1001))}
			}
			return then(q)
		}
	}
	for name, c := range map[string]struct {
		answer func(q *dns.Msg) [][]byte
		want   string
	}{
		"an older serial": {honest(z, lasting(999)), "serial 999 is older than serial 1000"},
		"an older serial for what changed": {soaOnly(func(q *dns.Msg) [][]byte {
			if q.Question[0].Qtype == dns.TypeIXFR {
				return [][]byte{message(q, z.SOA(999))}
			}
			return honest(z, lasting(999))(q)
		}), "serial 999 is older than serial 1000"},
		"a refusal": {func(q *dns.Msg) [][]byte {
			m := new(dns.Msg).SetRcode(q, dns.RcodeRefused)
			packet, _ := m.Pack()
			return [][]byte{packet}
		}, "it answered REFUSED"},
		"half of a zone":  {soaOnly(func(q *dns.Msg) [][]byte { return honest(z, next)(q)[:1] }), "i/o timeout"},
		"the end at once": {soaOnly(func(q *dns.Msg) [][]byte { return [][]byte{message(q, z.SOA(1001), z.SOA(1001))} }), "_status is missing"},
		"another zone": {soaOnly(func(q *dns.Msg) [][]byte {
			other := *z
			other.Name = "bl.test."
			return honest(&other, next)(q)
		}), "something else than the zone"},
		"another serial at the end": {soaOnly(func(q *dns.Msg) [][]byte {
			return append(honest(z, next)(q)[:1], message(q, z.SOA(1002)))
		}), "another SOA"},
		"another question's answer": {soaOnly(func(q *dns.Msg) [][]byte {
			other := q.Copy()
			other.Id++
			return honest(z, next)(other)
		}), "no answer"},
		"an endless name": {soaOnly(func(q *dns.Msg) [][]byte {
			m := message(q)
			m[7] = 1 // a record, whose name points to itself
			m = append(m, 0xC0, byte(len(m)), 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 2)
			return [][]byte{m}
		}), "something else than the zone"},
		"nothing, again and again": {soaOnly(func(q *dns.Msg) [][]byte { return slices.Repeat([][]byte{message(q)}, 100) }), "without records"},
		"more behind the end": {soaOnly(func(q *dns.Msg) [][]byte {
			out := honest(z, next)(q)
			return append(out[:len(out)-1], message(q, append(slices.Collect(z.Records(next))[10*(len(out)-1):], z.SOA(1001), z.SOA(1001))...))
		}), "goes on behind its end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "copy")
			synctest.Test(t, func(t *testing.T) {
				p := &scripted{answer: honest(z, good)}
				copier := copying(t, dir, func(o *dnsd.CopierOptions) { o.Dial = p.dial })
				stop := runCopier(t, copier)
				synctest.Wait()
				p.will(c.answer)
				copier.Look()
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				s := copier.State()
				if s.Err == nil || !strings.Contains(s.Err.Error(), c.want) {
					t.Errorf("got %v, want %q", s.Err, c.want)
				}
				if copier.Snapshot() == nil || copier.Snapshot().Serial() != 1000 {
					t.Fatal("what was in force has gone")
				}
				sameAnswers(t, good, copier)
				p.will(honest(z, next))
				copier.Look()
				time.Sleep(time.Minute)
				synctest.Wait()
				sameAnswers(t, next, copier)
				stop()
			})
		})
	}
}

// An incremental transfer that does not fit costs nothing but a whole one.
func TestCopierFallsBack(t *testing.T) {
	t.Parallel()
	z := zoneBL()
	next := lasting(1001, entry("192.0.2.99/32", listing.ClassBounce))
	records := func(address string) []dns.RR {
		a, _ := dns.NewRR(address + ".bl.example. 600 IN A 127.0.0.2")
		txt, _ := dns.NewRR(address + `.bl.example. 600 IN TXT "https://bl.example/192.0.2.99 backscatter: 5 bounces to forged senders, last 2026-11-21; expires 2026-11-28; for use on MAIL FROM:<> only"`)
		return []dns.RR{a, txt}
	}
	for name, sequence := range map[string]func() []dns.RR{
		"from another serial": func() []dns.RR { return []dns.RR{z.SOA(1001), z.SOA(998), z.SOA(1001)} },
		"removing what is not there": func() []dns.RR {
			return append([]dns.RR{z.SOA(1001), z.SOA(1000)}, append(records("99.2.0.192"), z.SOA(1001), z.SOA(1001))...)
		},
		"with half of a name": func() []dns.RR {
			return []dns.RR{z.SOA(1001), z.SOA(1000), z.SOA(1001), records("99.2.0.192")[0], z.SOA(1001)}
		},
		"without _status": func() []dns.RR {
			return append([]dns.RR{z.SOA(1001), z.SOA(1000), z.SOA(1001)}, append(records("99.2.0.192"), z.SOA(1001))...)
		},
		"with an error": func() []dns.RR { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "copy")
			synctest.Test(t, func(t *testing.T) {
				p := &scripted{answer: honest(z, lasting(1000))}
				c := copying(t, dir, func(o *dnsd.CopierOptions) { o.Dial = p.dial })
				stop := runCopier(t, c)
				synctest.Wait()
				p.will(func(q *dns.Msg) [][]byte {
					if q.Question[0].Qtype != dns.TypeIXFR {
						return honest(z, next)(q)
					}
					if rrs := sequence(); rrs != nil {
						return [][]byte{message(q, rrs...)}
					}
					m := new(dns.Msg).SetRcode(q, dns.RcodeNotImplemented)
					packet, _ := m.Pack()
					return [][]byte{packet}
				})
				before := len(p.questions())
				c.Look()
				time.Sleep(time.Minute)
				synctest.Wait()
				sameAnswers(t, next, c)
				if asked := p.questions()[before:]; !slices.Equal(asked, []uint16{dns.TypeSOA, dns.TypeIXFR, dns.TypeAXFR}) {
					t.Errorf("asked for %v", asked)
				}
				stop()
			})
		})
	}
}
