// Command benchdns measures how much of a processor a question costs a built
// program over UDP, side by side with rbldnsd, NSD and Knot, and with a loop that
// only receives and sends, as `make bench-dns` calls it. All serve the same list of IPv4
// addresses, Debian's dnsperf asks for addresses of which half are listed, and
// what a server took is what its own process accounts for. The rounds take turns,
// so that whatever else the machine does meets all alike; medians are told, and
// ratios.
//
// It exits with 2 when it could not measure. No figure makes it fail.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const zone = "bl.example"

// Names of what is measured, other than peers.
const (
	ours        = "backscatter"
	withEDNS    = "with EDNS"
	withCookies = "with cookies"
	echoLoop    = "echo"
)

func main() {
	var b bench
	flag.StringVar(&b.program, "program", "dist/backscatter", "the built `program`")
	flag.IntVar(&b.entries, "entries", 1_000_000, "listed `addresses`")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds, of which the median is told")
	flag.DurationVar(&b.length, "length", 4*time.Second, "how long each server is asked in a round")
	flag.IntVar(&b.clients, "clients", 16, "sockets that ask")
	flag.IntVar(&b.waiting, "waiting", 100, "questions that wait for an answer at a time")
	flag.StringVar(&b.peers, "peers", "", "comma-separated `programs` to compare with; empty: rbldnsd, nsd and knotd")
	flag.IntVar(&b.rate, "rate", 0, "questions a `second`; 0 is as many as the servers answer")
	echo := flag.Bool("echo", false, "be the loop that only receives and sends (used by itself)")
	flag.Parse()
	run := b.run
	if *echo {
		run = func(context.Context) error { return serveEcho() }
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchdns:", err)
		os.Exit(2)
	}
}

// bench is one comparison.
type bench struct {
	program string
	entries int
	rounds  int
	length  time.Duration
	clients int
	waiting int
	rate    int
	peers   string

	dir     string
	targets []*target
}

// target is a server that is measured, in one way of asking it.
type target struct {
	name   string
	server *server
	args   []string // of dnsperf
	rounds []round
}

func (b *bench) run(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "benchdns"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := os.Chmod(b.dir, 0o755); err != nil { // rbldnsd gives up root before it reads
		return err
	}
	if err := b.writeFiles(); err != nil {
		return err
	}
	defer func() {
		for _, t := range b.targets {
			err = errors.Join(err, t.server.stop())
		}
	}()
	if err := b.startAll(ctx); err != nil {
		return err
	}
	for i := range b.rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", i+1, b.rounds)
		for _, t := range b.targets {
			r, err := b.ask(ctx, t)
			if err != nil {
				return fmt.Errorf("ask %s: %w", t.name, err)
			}
			t.rounds = append(t.rounds, r)
		}
	}
	b.report()
	return nil
}

// startAll starts every server that is to be measured, and is there.
func (b *bench) startAll(ctx context.Context) error {
	for _, s := range []struct {
		name  string
		start func(context.Context) (*server, error)
	}{
		{"rbldnsd", b.startRbldnsd}, {"nsd", b.startNSD}, {"knotd", b.startKnot}, {ours, b.startOurs}, {echoLoop, b.startEcho},
	} {
		if s.name != ours && s.name != echoLoop {
			if _, err := exec.LookPath(s.name); err != nil || !b.wants(s.name) {
				fmt.Fprintf(os.Stderr, "without %s\n", s.name)
				continue
			}
		}
		fmt.Fprintf(os.Stderr, "starting %s\n", s.name)
		server, err := s.start(ctx)
		if err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
		b.targets = append(b.targets, &target{name: s.name, server: server})
		if s.name == ours {
			b.targets = append(b.targets, &target{name: withEDNS, server: server, args: []string{"-e"}},
				&target{name: withCookies, server: server, args: []string{"-E", "10:0102030405060708"}})
		}
	}
	return nil
}

// writeFiles writes the list, and questions of which every second asks for a
// listed address. Both are the same at every run.
func (b *bench) writeFiles() error {
	rnd := rand.New(rand.NewPCG(1, 2))
	listed := make(map[netip.Addr]bool, b.entries)
	var list, questions, records strings.Builder
	fmt.Fprintf(&records, "$ORIGIN %[1]s.\n$TTL 300\n@ SOA ns1 hostmaster 1 3600 900 86400 300\n@ NS ns1.example.net.\n", zone)
	fmt.Fprintf(&list, "$SOA 300 ns1.%[1]s hostmaster.%[1]s 1 3600 900 86400 300\n$NS 86400 ns1.%[1]s\n", zone)
	list.WriteString(":127.0.0.9:listed\n")
	var order []netip.Addr
	for len(order) < b.entries {
		if a := randomHost(rnd); !listed[a] {
			listed[a] = true
			order = append(order, a)
			list.WriteString(a.String() + "\n")
			v := a.As4()
			fmt.Fprintf(&records, "%d.%d.%d.%d A 127.0.0.9\n TXT listed\n", v[3], v[2], v[1], v[0])
		}
	}
	for range 100_000 {
		clean := randomHost(rnd)
		for listed[clean] {
			clean = randomHost(rnd)
		}
		for _, a := range []netip.Addr{order[rnd.IntN(len(order))], clean} {
			v := a.As4()
			fmt.Fprintf(&questions, "%d.%d.%d.%d.%s A\n", v[3], v[2], v[1], v[0], zone)
		}
	}
	var parts []error
	for part := range slices.Chunk(order, importedAtOnce) {
		var plain strings.Builder
		for _, a := range part {
			plain.WriteString(a.String() + "\n")
		}
		parts = append(parts, os.WriteFile(b.path(fmt.Sprintf("list%d", len(parts))), []byte(plain.String()), 0o644))
	}
	return errors.Join(append(parts,
		os.WriteFile(b.path("ip4set"), []byte(list.String()), 0o644),
		os.WriteFile(b.path("zone"), []byte(records.String()), 0o644),
		os.WriteFile(b.path("questions"), []byte(questions.String()), 0o644),
	)...)
}

// importedAtOnce is how many addresses are imported in one order, which has a
// largest size.
const importedAtOnce = 1_000_000

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// randomHost returns an address of space that can be listed: 11.0.0.0 to 99.255.255.255.
func randomHost(rnd *rand.Rand) netip.Addr {
	v := rnd.Uint32()
	return netip.AddrFrom4([4]byte{byte(11 + v>>24%89), byte(v >> 16), byte(v >> 8), byte(v)})
}

// report prints a table of what each server took, and one of what must hold.
func (b *bench) report() {
	fmt.Printf("%d entries, %d rounds of %s, %d sockets, %d questions waiting", b.entries, b.rounds, b.length, b.clients, b.waiting)
	if b.rate > 0 {
		fmt.Printf(", %d questions a second", b.rate)
	}
	fmt.Print("\n\n")
	fmt.Printf("%-18s %10s %8s %8s %10s %8s %10s\n", "server", "CPU µs/q", "user", "system", "questions/s", "lost", "memory MB")
	total, memory := map[string]float64{}, map[string]float64{}
	allocations, user := 0.0, 0.0
	for _, t := range b.targets {
		total[t.name] = medianOf(t.rounds, round.cpu)
		memory[t.name] = medianOf(t.rounds, func(r round) float64 { return r.memory })
		fmt.Printf("%-18s %10.2f %8.2f %8.2f %10.0f %8.0f %10.1f\n", t.name, total[t.name],
			medianOf(t.rounds, func(r round) float64 { return r.user }), medianOf(t.rounds, func(r round) float64 { return r.system }),
			medianOf(t.rounds, func(r round) float64 { return r.rate }), medianOf(t.rounds, func(r round) float64 { return r.lost }),
			memory[t.name])
		if t.server.web != "" {
			allocations = max(allocations, medianOf(t.rounds, func(r round) float64 { return r.allocations }))
		}
		if t.name == ours {
			user = medianOf(t.rounds, func(r round) float64 { return r.user })
		}
	}
	fmt.Println()
	b.compare(total, memory)
	if b.rate == 0 && b.entries < memoryEntries {
		fmt.Printf("%-7s %-14s   %-12s %5.2f  bar %.2f  %s\n", "CPU", ours, "user part", user, userBar, verdict(user <= userBar))
	}
	fmt.Printf("%-7s %-14s   %-12s %5.3f  bar 0     %s\n", "allocs", ours, "a question", allocations, verdict(allocations < 0.01))
}

// userBar is what a question may cost outside of the kernel, in µs.
const userBar = 0.4

func verdict(ok bool) string {
	if ok {
		return "holds"
	}
	return "misses"
}

// compare prints ratios: those that must hold, and those to other peers.
func (b *bench) compare(total, memory map[string]float64) {
	large := b.entries >= memoryEntries
	for _, r := range []struct {
		what   string
		of     map[string]float64
		us, to string
		bar    float64 // 0: there is none
	}{
		{"CPU", total, ours, "rbldnsd", 0.85},
		{"CPU", total, ours, echoLoop, 1.25},
		{"CPU", total, withEDNS, ours, 1.1},
		{"CPU", total, withCookies, ours, 1.1},
		{"CPU", total, ours, "nsd", 0},
		{"CPU", total, ours, "knotd", 0},
		{"memory", memory, ours, "rbldnsd", 1},
		{"memory", memory, ours, "nsd", 0},
		{"memory", memory, ours, "knotd", 0},
	} {
		if r.of[r.to] == 0 {
			continue
		}
		ratio, told := r.of[r.us]/r.of[r.to], ""
		if b.rate == 0 && r.bar > 0 && large == (r.what == "memory") {
			told = fmt.Sprintf("bar %.2f  %s", r.bar, verdict(ratio <= r.bar))
		}
		fmt.Printf("%-7s %-14s / %-12s %5.2f  %s\n", r.what, r.us, r.to, ratio, told)
	}
}

// memoryEntries is from how many entries on memory has a bar, and the processor's
// time has none.
const memoryEntries = 5_000_000

// wants reports whether a peer is to be measured.
func (b *bench) wants(peer string) bool {
	return b.peers == "" || slices.Contains(strings.Split(b.peers, ","), peer)
}

func medianOf(rounds []round, value func(round) float64) float64 {
	var all []float64
	for _, r := range rounds {
		all = append(all, value(r))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
