package integration_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"backscatter/ops/control"
)

// fetchRounds is how often the list changes in TestFetchAnyTime; ten times as often
// under BACKSCATTER_TORTURE=10.
const fetchRounds = 5

// fetching is a list that changes while it is fetched in every wrong way.
type fetching struct {
	*chain

	rng      *rand.Rand
	universe []netip.Addr                   // of what comes and goes
	listed   map[netip.Addr]bool            // of it, now
	known    map[uint32]map[netip.Addr]bool // by serial
	ever     map[netip.Addr]bool            // listed at any time

	last                                uint32 // serial of the mirror
	fetched, killed, compared, switches int
}

// TestFetchAnyTime changes the list while rsync's client runs at random moments, gets
// some files of one publication and some of another, overwrites them in place and is
// killed in the middle. Our mirror answers from one publication, whole; and rbldnsd,
// fed with the documented command alone, never lists what was never listed.
func TestFetchAnyTime(t *testing.T) {
	t.Parallel()
	peer(t, "rbldnsd", "rbldnsd")
	f := &fetching{
		chain: newChain(t), rng: rand.New(rand.NewPCG(seedOf(t), 50)),
		listed: map[netip.Addr]bool{}, known: map[uint32]map[netip.Addr]bool{}, ever: map[netip.Addr]bool{},
	}
	(&contents{codes: map[netip.Addr]string{}}).importRandom(t, f.publisher.site, f.rng) // so that a fetch takes a while
	for n := range 100 {                                                                 // among them those that are the beginning of others, as 198.51.100.2 of 198.51.100.20
		f.universe = append(f.universe, netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), netip.AddrFrom4([4]byte{203, 0, 113, byte(2 * n)}))
	}
	f.change()
	dir, plain := f.mustFetch("mirrored"), f.mustFetch("plain")
	mirror := f.startMirror(t, dir)
	asker := newAsker(t, "udp", mirror.dns)
	rbldnsd := f.startLooking(t, plain)

	rounds := fetchRounds * factor(t)
	for range rounds {
		f.change()
		want := f.ours.serial(t, "bl.example")
		for published := false; !published; {
			f.fetchSomehow(dir)
			f.fetchDocumented(plain)
			_ = mirror.look(t)
			f.compare(asker)
			if err := rbldnsd.Process.Signal(syscall.SIGHUP); err != nil { // read the files anew, if they are
				t.Fatal(err)
			}
			f.neverMore(rbldnsd.asker)
			published = strings.Contains(f.read("export/MANIFEST"), fmt.Sprintf(`"serial": %d,`, want))
		}
	}
	f.mustFetch("mirrored")
	if why := mirror.look(t); why != "" {
		t.Errorf("the mirror refuses what was fetched in order: %s", why)
	}
	f.compare(asker)
	if got, want := asker.serial(t, "bl.example"), f.ours.serial(t, "bl.example"); got != want {
		t.Errorf("the mirror is at serial %d, want %d", got, want)
	}
	t.Logf("%d rounds: fetched %d times, killed %d times; the mirror went on %d times, %d answers compared", rounds, f.fetched, f.killed, f.switches, f.compared)
}

// change lists some addresses or takes some away, in one change.
func (f *fetching) change() {
	f.t.Helper()
	var come, gone []string
	for _, addr := range f.universe {
		switch f.rng.IntN(8) {
		case 0:
			if f.listed[addr] {
				gone = append(gone, addr.String())
			} else {
				come = append(come, addr.String())
			}
		}
	}
	if len(gone) == 0 || f.rng.IntN(2) == 0 {
		r := control.ImportRequest{Order: control.Order{Reason: "a round"}, Format: "txt"}
		if _, err := f.publisher.client.Import(within(f.t), r, strings.NewReader(strings.Join(come, "\n")+"\n")); err != nil {
			f.t.Fatal(err)
		}
		f.note(come, true)
	} else {
		f.publisher.site.must(append([]string{"delist", "--reason", "a round", "--yes"}, gone...)...)
		f.note(gone, false)
	}
	f.known[f.ours.serial(f.t, "bl.example")] = maps.Clone(f.listed)
}

func (f *fetching) note(addrs []string, listed bool) {
	for _, text := range addrs {
		addr := netip.MustParseAddr(text)
		f.listed[addr] = listed
		if listed {
			f.ever[addr] = true
		}
	}
}

// fetchSomehow runs rsync's client with the documented command, or to get one file
// alone, or to write into the file that is there; and may kill it.
func (f *fetching) fetchSomehow(into string) {
	f.t.Helper()
	args := f.fetchCommand(into)
	options := [][]string{
		nil,
		nil,
		{"--inplace"},
		{"--inplace", "--whole-file"},
		{"--partial", "--whole-file"},
		f.only("bl.example.ip4set"),
		f.only("MANIFEST*"),
		f.only("MANIFEST"),
		append(f.only("*.ip4set"), "--inplace"),
		f.only("bl.example.ip6trie"),
	}[f.rng.IntN(10)]
	cmd := exec.Command(args[0], slices.Concat(options, args[1:])...)
	p := launchGroup(f.t, cmd)
	f.fetched++
	if f.rng.IntN(3) > 0 {
		select {
		case <-p.ended:
		case <-time.After(time.Duration(f.rng.IntN(40)) * time.Millisecond):
			f.killed++
			_ = p.Process.Kill() // fails when it has ended
		}
	}
	p.wait(f.t)
}

func (f *fetching) only(pattern string) []string {
	return []string{"--include=" + pattern, "--exclude=*"}
}

// fetchDocumented runs the documented command, and may kill it.
func (f *fetching) fetchDocumented(into string) {
	f.t.Helper()
	args := f.fetchCommand(into)
	p := launchGroup(f.t, exec.Command(args[0], args[1:]...))
	f.fetched++
	if f.rng.IntN(2) == 0 {
		select {
		case <-p.ended:
		case <-time.After(time.Duration(f.rng.IntN(40)) * time.Millisecond):
			f.killed++
			_ = p.Process.Kill()
		}
	}
	p.wait(f.t)
}

// compare wants the mirror to have just what the publisher had at its serial.
func (f *fetching) compare(mirror *asker) {
	f.t.Helper()
	serial := mirror.serial(f.t, "bl.example")
	want, ok := f.known[serial]
	if !ok {
		f.t.Fatalf("the mirror has serial %d, which the publisher never had", serial)
	}
	if f.last != serial {
		f.last, f.switches = serial, f.switches+1
	}
	for _, addr := range f.universe {
		f.compared++
		got := mirror.data(f.t, reversed(addr)+".bl.example", dns.TypeA)
		if (got == listedByHand) != want[addr] {
			f.t.Errorf("serial %d: %s is answered with %s, and is listed: %t", serial, addr, got, want[addr])
		}
	}
	if got := mirror.data(f.t, "2.0.0.127.bl.example", dns.TypeA); got != "127.0.0.2" {
		f.t.Errorf("serial %d: the test point is answered with %s", serial, got)
	}
}

// neverMore wants rbldnsd to list nothing that never was.
func (f *fetching) neverMore(rbldnsd *asker) {
	f.t.Helper()
	for _, addr := range f.universe {
		if f.ever[addr] {
			continue
		}
		if got := rbldnsd.data(f.t, reversed(addr)+".bl.example", dns.TypeA); got != "NXDOMAIN" {
			f.t.Errorf("rbldnsd answers %s with %s, which was never listed", addr, got)
		}
	}
}
