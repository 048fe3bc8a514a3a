// Command benchdns measures how much of a processor a question costs a built
// program over UDP, side by side with rbldnsd, NSD and Knot, and with a loop that
// only receives and sends, as `make bench-dns` calls it. All serve the same list of IPv4
// addresses, Debian's dnsperf asks for addresses of which half are listed, and
// what a server took is what its own process accounts for. In each round all take
// turns, forwards and backwards alternately, so that whatever else the machine does
// meets all alike. A ratio is that of the figures of one round; medians are told,
// with the least and the most.
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
	formerOurs  = "former"
	echoLoop    = "echo"
)

func main() {
	var b bench
	flag.StringVar(&b.program, "program", "dist/backscatter", "the built `program`")
	flag.StringVar(&b.former, "former", "", "another built `program` to compare with, such as the one before a change; empty: none")
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
	former  string
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
		for k := range b.targets {
			if i%2 == 1 {
				k = len(b.targets) - 1 - k
			}
			t := b.targets[k]
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
		{"nsd", b.startNSD},
		{"knotd", b.startKnot},
		{"rbldnsd", b.startRbldnsd},
		{formerOurs, func(ctx context.Context) (*server, error) { return b.startOurs(ctx, b.former) }},
		{ours, func(ctx context.Context) (*server, error) { return b.startOurs(ctx, b.program) }},
		{echoLoop, b.startEcho},
	} {
		if !b.has(s.name) {
			fmt.Fprintf(os.Stderr, "without %s\n", s.name)
			continue
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
	fmt.Printf("%-14s %8s %14s %8s %8s %12s %8s %10s\n", "server", "CPU µs/q", "least to most", "user", "system", "questions/s", "lost", "memory MB")
	for _, t := range b.targets {
		cpu := spreadOf(t.rounds, round.cpu)
		fmt.Printf("%-14s %8.2f %14s %8.2f %8.2f %12.0f %8.0f %10.1f\n", t.name, cpu.median, cpu.extent(),
			spreadOf(t.rounds, round.userCPU).median, spreadOf(t.rounds, func(r round) float64 { return r.system }).median,
			spreadOf(t.rounds, func(r round) float64 { return r.rate }).median, spreadOf(t.rounds, func(r round) float64 { return r.lost }).median,
			spreadOf(t.rounds, round.memoryMB).median)
	}
	fmt.Println()
	b.compare()
	us := b.target(ours)
	if b.rate == 0 && b.entries < memoryEntries {
		row("CPU", ours, "user part", spreadOf(us.rounds, round.userCPU), userBar, true)
	}
	for _, name := range []string{ours, withEDNS, withCookies} {
		row("allocs", name, "a question", spreadOf(b.target(name).rounds, func(r round) float64 { return r.allocations }), allocationsBar, true)
	}
}

// row prints what was measured, and whether it is within a bar, if it has one.
func row(what, us, to string, s spread, bar float64, barred bool) {
	told := ""
	if barred {
		told = fmt.Sprintf("bar %.2f  misses", bar)
		if s.median <= bar {
			told = fmt.Sprintf("bar %.2f  holds", bar)
		}
	}
	fmt.Printf("%-7s %-14s / %-12s %6.3f %16s  %s\n", what, us, to, s.median, s.extent(), told)
}

// spread is the median of what several rounds gave, the least and the most.
type spread struct{ median, least, most float64 }

func spreadOf(rounds []round, value func(round) float64) spread {
	var all []float64
	for _, r := range rounds {
		all = append(all, value(r))
	}
	return spreadIn(all)
}

func spreadIn(all []float64) spread {
	slices.Sort(all)
	return spread{median: all[len(all)/2], least: all[0], most: all[len(all)-1]}
}

func (s spread) extent() string { return fmt.Sprintf("%.2f to %.2f", s.least, s.most) }

// target returns the target of a name, or nil.
func (b *bench) target(name string) *target {
	for _, t := range b.targets {
		if t.name == name {
			return t
		}
	}
	return nil
}

// userBar is what a question may cost outside of the kernel, in µs.
const userBar = 0.4

// allocationsBar is how many allocations a question may have, of a process that
// also tells its metrics and keeps its time: none.
const allocationsBar = 0.01

// compare prints ratios: those that must hold, and those to other peers.
func (b *bench) compare() {
	large := b.entries >= memoryEntries
	for _, r := range []struct {
		what   string
		of     func(round) float64
		us, to string
		bar    float64 // 0: there is none
	}{
		{"CPU", round.cpu, ours, "rbldnsd", 0.85},
		{"CPU", round.cpu, ours, echoLoop, 1.25},
		{"CPU", round.cpu, withEDNS, ours, 1.1},
		{"CPU", round.cpu, withCookies, ours, 1.1},
		{"CPU", round.cpu, ours, "nsd", 0},
		{"CPU", round.cpu, ours, "knotd", 0},
		{"CPU", round.cpu, ours, formerOurs, 0},
		{"user", round.userCPU, ours, formerOurs, 0},
		{"memory", round.memoryMB, ours, "rbldnsd", 1},
		{"memory", round.memoryMB, ours, "nsd", 0},
		{"memory", round.memoryMB, ours, "knotd", 0},
	} {
		us, to := b.target(r.us), b.target(r.to)
		if to == nil {
			continue
		}
		var ratios []float64
		for i := range us.rounds {
			ratios = append(ratios, r.of(us.rounds[i])/r.of(to.rounds[i]))
		}
		row(r.what, r.us, r.to, spreadIn(ratios), r.bar, b.rate == 0 && r.bar > 0 && large == (r.what == "memory"))
	}
}

// memoryEntries is from how many entries on memory has a bar, and the processor's
// time has none.
const memoryEntries = 5_000_000

// has reports whether a server is there and is to be measured.
func (b *bench) has(name string) bool {
	switch name {
	case ours, echoLoop:
		return true
	case formerOurs:
		return b.former != ""
	}
	_, err := exec.LookPath(name)
	return err == nil && (b.peers == "" || slices.Contains(strings.Split(b.peers, ","), name))
}
