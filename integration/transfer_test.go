package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"backscatter/ops/control"
)

// transferRounds is how often the list changes in TestSecondaries, times
// BACKSCATTER_TORTURE.
const transferRounds = 20

// sharedZones are those that the secondaries take: all of the list, and one class.
var sharedZones = []string{"bl.example", "bounce.bl.example"}

// sharing is a daemon's configuration, with those who are told of changes.
func sharing(key string, notify ...string) string {
	var told, zones strings.Builder
	for _, to := range notify {
		fmt.Fprintf(&told, "{to: '%s', key: %s}, ", to, transferKey)
	}
	for i, zone := range sharedZones {
		classes := []string{"", ", classes: [bounce]"}[i]
		fmt.Fprintf(&zones, "- {name: %s, ns: [ns1.%[1]s, ns.example.net], ttl: 300s, apex: {txt: ['see \"us\"; a \\ too']}%s, transfer: [{from: [127.0.0.1], key: %s}], notify: [%s]}\n",
			zone, classes, transferKey, told.String())
	}
	return `
http: {listen: "127.0.0.1:0"}
intake: {smtp: {listen: "127.0.0.1:0"}}
traps: [{domain: trap.example}]
policy: {profile: solo, score: 2, originals: 2, recipients: 0, span: 0s, listable: [192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, "2001:db8::/32"]}
dns: {listen: ["127.0.0.1:0"], limits: {same: 0, all: 0}, keys: [{name: ` + transferKey + `, file: ` + key + `}]}
zones:
` + zones.String()
}

// TestSecondaries has NSD, Knot and BIND take the zones, all signed, and then what
// changes, round after round as they are told; and wants them to answer what we do.
func TestSecondaries(t *testing.T) {
	t.Parallel()
	for _, p := range secondaryPrograms {
		peer(t, p.name, p.debian)
	}
	rng := rand.New(rand.NewPCG(seedOf(t), 5936))
	key := filepath.Join(shortDir(t), "transfer.key")
	if err := os.WriteFile(key, []byte(transferSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, sharing(key))
	w := &world{t: t, d: d, zones: sharedZones, rng: rng, ours: newAsker(t, "udp", d.dns), listed: map[netip.Prefix]bool{}}
	w.change(60)
	var told []string
	for _, p := range secondaryPrograms {
		s := startSecondary(t, p, d.dns, sharedZones...)
		w.theirs = append(w.theirs, theirs{s.name, newAsker(t, "udp", s.addr)})
		told = append(told, s.addr)
	}
	d.site.configure(sharing(key, told...))
	if _, err := d.client.Reload(within(t)); err != nil {
		t.Fatal(err)
	}
	rounds := transferRounds * factor(t)
	for range rounds {
		w.change(1 + rng.IntN(8))
		w.awaitSerial()
		w.compare()
	}
	w.compareAll()
	incremental, counted := d.metric(t, "backscatter_dns_transfers_total", `kind="ixfr"`, `result="done"`)
	if !counted {
		t.Error("incremental transfers are not counted")
	}
	if want := 3 * len(sharedZones) * rounds / 2; incremental < want {
		t.Errorf("%d incremental transfers in %d rounds, want %d at least", incremental, rounds, want)
	}
	if n, counted := d.metric(t, "backscatter_dns_notifies_total", `result="refused"`); n > 0 || !counted {
		t.Errorf("%d messages were refused", n)
	}
	eventually(t, "all have acknowledged", func(ctx context.Context) error {
		status, err := d.client.Status(ctx)
		if err != nil {
			return err
		}
		if len(status.Secondaries) != len(told)*len(sharedZones) {
			return fmt.Errorf("%d secondaries", len(status.Secondaries))
		}
		for _, s := range status.Secondaries {
			if s.Acknowledged != status.Store.Serial || s.Error != "" {
				return fmt.Errorf("%+v at serial %d", s, status.Store.Serial)
			}
		}
		return nil
	})
	t.Logf("%d rounds, %d incremental transfers, %d names compared", rounds, incremental, w.compared)
}

// metric returns the sum of a metric over what has all of the labels, each
// written as in `kind="ixfr"`, and whether there is any.
func (d *daemon) metric(t *testing.T, name string, labels ...string) (n int, found bool) {
	t.Helper()
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, "http://"+d.http+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), "} ")
		if !strings.HasPrefix(series, name+"{") || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(series, l) }) {
			continue
		}
		var one int
		if _, err := fmt.Sscan(value, &one); err != nil {
			t.Fatalf("metrics: %q: %v", lines.Text(), err)
		}
		n, found = n+one, true
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return n, found
}

type theirs struct {
	name string
	*asker
}

// world is a list that changes, its primary, and its secondaries.
type world struct {
	t      *testing.T
	d      *daemon
	zones  []string
	rng    *rand.Rand
	ours   *asker
	theirs []theirs

	slots    int                   // prefixes that were given out
	listed   map[netip.Prefix]bool // false: was, and is no more
	touched  []netip.Prefix        // since the last comparison
	compared int
}

// change changes the list: listings and removals, of hosts and of prefixes that
// end where they like, exemptions in them, and evidence.
func (w *world) change(n int) {
	w.t.Helper()
	var list strings.Builder
	var gone []string
	for range n {
		if old, ok := w.pick(); ok && w.rng.IntN(5) < 2 {
			gone = append(gone, old.String())
			w.note(old, false)
			continue
		}
		p := w.fresh()
		fmt.Fprintln(&list, p)
		w.note(p, true)
	}
	if list.Len() > 0 {
		r := control.ImportRequest{Order: control.Order{Reason: "a round"}, Format: "txt"}
		if _, err := w.d.client.Import(within(w.t), r, strings.NewReader(list.String())); err != nil {
			w.t.Fatal(err)
		}
	}
	if len(gone) > 0 {
		w.d.site.must(append([]string{"delist", "--reason", "a round", "--yes"}, gone...)...)
	}
	switch w.rng.IntN(6) {
	case 0: // evidence, which the zone of bounces has too
		host := netip.AddrFrom4([4]byte{192, 0, 2, byte(w.rng.IntN(256))})
		w.d.mustDeliver(w.t, bounceFrom(host.String()), bounceFrom(host.String()))
		w.note(netip.PrefixFrom(host, 32), true)
	case 1: // a hole
		if p, ok := w.pick(); ok && p.Bits() < p.Addr().BitLen() {
			hole := netip.PrefixFrom(p.Addr(), p.Addr().BitLen())
			w.d.site.must("exempt", hole.String(), "--reason", "a round", "--permanent", "--yes")
			w.touched = append(w.touched, p)
			w.listed[p] = false // what is left has names below fewer labels
		}
	}
}

func (w *world) note(p netip.Prefix, listed bool) {
	w.listed[p] = listed
	w.touched = append(w.touched, p)
}

// pick returns something that is listed by hand.
func (w *world) pick() (netip.Prefix, bool) {
	var all []netip.Prefix
	for p, listed := range w.listed {
		if listed && !netip.MustParsePrefix("192.0.2.0/24").Contains(p.Addr()) {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return netip.Prefix{}, false
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
	return all[w.rng.IntN(len(all))], true
}

// fresh returns a prefix in space that nothing else has.
func (w *world) fresh() netip.Prefix {
	w.slots++
	hi, lo := byte(w.slots>>8), byte(w.slots)
	switch w.rng.IntN(6) {
	case 0: // an IPv4 prefix, in a /24 of its own
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{11, hi, lo, byte(w.rng.IntN(256))}), 24+w.rng.IntN(8)).Masked()
	case 1: // an IPv6 prefix, in a /48 of its own
		a := [16]byte{0x2a, 0x01, hi, lo, 0, 0, byte(w.rng.IntN(256)), byte(w.rng.IntN(256))}
		return netip.PrefixFrom(netip.AddrFrom16(a), 48+w.rng.IntN(16)).Masked()
	case 2:
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x2a, 0, hi, lo, byte(w.rng.IntN(4)), 0, 0, byte(w.rng.IntN(256))}), 64)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{9, byte(w.rng.IntN(2)), lo, byte(w.rng.IntN(256))}), 32)
}

// awaitSerial waits until all have what we have.
func (w *world) awaitSerial() {
	w.t.Helper()
	for _, zone := range w.zones {
		want := w.ours.serial(w.t, zone)
		for _, s := range w.theirs {
			eventually(w.t, s.name+" has the serial", func(context.Context) error {
				if got := s.serial(w.t, zone); got != want {
					return fmt.Errorf("%d, not %d", got, want)
				}
				return nil
			})
		}
	}
}

// compare compares what was touched, some of the rest, and what every zone has.
func (w *world) compare() {
	w.t.Helper()
	for range 20 {
		if p, ok := w.pick(); ok {
			w.touched = append(w.touched, p)
		}
	}
	for _, zone := range w.zones {
		for _, p := range w.touched {
			w.about(zone, p)
		}
		w.always(zone)
	}
	w.touched = w.touched[:0]
}

func (w *world) compareAll() {
	w.t.Helper()
	for p := range w.listed {
		w.touched = append(w.touched, p)
	}
	w.compare()
}

// always asks for what the zone has whatever is listed.
func (w *world) always(zone string) {
	w.t.Helper()
	for _, q := range []struct {
		name  string
		types []uint16
	}{
		{zone, []uint16{dns.TypeSOA, dns.TypeNS, dns.TypeTXT, dns.TypeA, dns.TypeMX}},
		{"ns1." + zone, []uint16{dns.TypeA, dns.TypeAAAA}},
		{"_status." + zone, []uint16{dns.TypeTXT, dns.TypeA}},
		{"0.0.127." + zone, []uint16{dns.TypeA}},
		{"256.0.0.9." + zone, []uint16{dns.TypeA}},
		{"1.0.0.127." + zone, []uint16{dns.TypeA, dns.TypeTXT}},
		{"2.0.0.127." + zone, []uint16{dns.TypeA, dns.TypeTXT, dns.TypeAAAA}},
		{"9.0.0.127." + zone, []uint16{dns.TypeA, dns.TypeTXT}},
		{"nothing." + zone, []uint16{dns.TypeA, dns.TypeSOA}},
		{reversed(netip.MustParseAddr("::ffff:127.0.0.2")) + "." + zone, []uint16{dns.TypeA, dns.TypeTXT}},
	} {
		for _, rrtype := range q.types {
			w.ask(q.name, rrtype)
		}
	}
}

// about asks for the first and the last address of a prefix, for those beside
// them, and for the ends of its names if something is listed there: where
// nothing is, we say that they exist all the same (empty non-terminals, always),
// which no zone can.
func (w *world) about(zone string, p netip.Prefix) {
	w.t.Helper()
	first, last := p.Addr(), lastOf(p)
	for _, addr := range []netip.Addr{first, last, first.Prev(), last.Next()} {
		for _, rrtype := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypeAAAA} {
			w.ask(reversed(addr)+"."+zone, rrtype)
		}
	}
	if !w.listed[p] || zone != "bl.example" {
		return
	}
	labels := strings.Split(reversed(first), ".")
	common := p.Bits() / 8
	if first.Is6() {
		common = p.Bits() / 4
	}
	for n := 1; n <= min(common, len(labels)-1); n++ {
		w.ask(strings.Join(labels[len(labels)-n:], ".")+"."+zone, dns.TypeA)
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(raw)
	return addr
}

// ask asks everybody, in letters of any case, and wants one answer.
func (w *world) ask(name string, rrtype uint16) {
	w.t.Helper()
	mixed := []byte(name)
	for i, c := range mixed {
		if c >= 'a' && c <= 'z' && w.rng.IntN(2) == 0 {
			mixed[i] = c - 'a' + 'A'
		}
	}
	w.compared++
	want := said(w.ours.ask(w.t, string(mixed), rrtype))
	for _, s := range w.theirs {
		got := said(s.ask(w.t, string(mixed), rrtype))
		for tries := 0; got != want && s.name == "nsd" && tries < 100; tries++ {
			time.Sleep(20 * time.Millisecond) // its former process may answer on after the next one has
			got = said(s.ask(w.t, string(mixed), rrtype))
		}
		if got != want {
			w.t.Fatalf("%s %s: %s says\n%s\nand we\n%s", mixed, dns.TypeToString[rrtype], s.name, got, want)
		}
	}
}

// said is all of an answer that a secondary must say too: not the names in the
// additional section, nor what of _status only the primary knows.
func said(r *dns.Msg) string {
	records := r.Answer
	if len(records) == 0 {
		records = r.Ns
	}
	lines := make([]string, 0, len(records))
	for _, rr := range records {
		rr.Header().Name = strings.ToLower(rr.Header().Name)
		switch rr := rr.(type) {
		case *dns.TXT:
			if strings.HasPrefix(rr.Hdr.Name, "_") && len(rr.Txt) > 3 {
				rr.Txt, rr.Hdr.Ttl = rr.Txt[:3], 300
			}
			lines = append(lines, rr.String())
		default: // names in the data are pointers to those that were asked
			lines = append(lines, strings.ToLower(rr.String()))
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("%s aa=%t %s\n%s", dns.RcodeToString[r.Rcode], r.Authoritative, r.Question[0].Name, strings.Join(lines, "\n"))
}
