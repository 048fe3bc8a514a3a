// Command soakdns loads a built program beyond what it can serve, and takes away
// from under it what it stands on, as `make soak-dns` calls it: more connections
// and packets than it takes, garbage, reloads, restarts and stops. It prints a
// line for each thing that must hold, with what was seen, the bar, and whether it
// holds, and exits with 1 when one does not, and with 2 when it could not find out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	var s soak
	only := flag.String("only", "", "comma-separated `parts` to run: "+strings.Join(partNames(), ", "))
	flag.StringVar(&s.program, "program", "dist/backscatter", "the built `program`")
	flag.IntVar(&s.entries, "entries", 100_000, "listed `addresses`")
	flag.IntVar(&s.mass, "mass", 1_000_000, "`addresses` that are imported, transferred and expire under load")
	flag.IntVar(&s.connections, "connections", 10_000, "TCP connections of one client")
	flag.DurationVar(&s.flood, "flood", time.Minute, "how long more is asked than can be answered")
	flag.DurationVar(&s.garbage, "garbage", 10*time.Minute, "how long garbage is sent")
	flag.IntVar(&s.reloads, "reloads", 100, "reloads under load")
	flag.IntVar(&s.restarts, "restarts", 20, "restarts under load")
	flag.IntVar(&s.rate, "rate", 20_000, "questions a `second` during reloads and restarts")
	flag.IntVar(&s.changes, "changes", 200, "changes of the list a `second` among garbage")
	flag.IntVar(&s.unlisted, "unlisted", 5000, "unlisted names that one resolver asks for in a `second`")
	flag.DurationVar(&s.resolver, "resolver", 30*time.Second, "how long it does so")
	flag.DurationVar(&s.least, "least", 10*time.Second, "how long one client asks at least while stalls are looked for")
	flag.DurationVar(&s.lives, "lives", 40*time.Second, "how long what is imported lives that is to expire")
	flag.DurationVar(&s.wait, "wait", 5*time.Second, "after what time a question is lost")
	flag.BoolVar(&s.patient, "patient", false, "let no row fail that depends on how fast the machine is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	held, err := s.run(ctx, *only)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "soakdns:", err)
		os.Exit(2)
	case !held:
		os.Exit(1)
	}
}

// soak is one run.
type soak struct {
	program     string
	entries     int
	mass        int
	connections int
	flood       time.Duration
	garbage     time.Duration
	reloads     int
	restarts    int
	rate        int
	changes     int
	unlisted    int
	resolver    time.Duration
	least       time.Duration
	lives       time.Duration
	wait        time.Duration
	patient     bool

	dir    string
	holds  int
	misses int
	failed bool
}

// part is one of the things that are done to a server.
type part struct {
	name string
	run  func(*soak, context.Context) error
}

func parts() []part {
	return []part{
		{"stalls", (*soak).findStalls},
		{"connections", (*soak).holdConnections},
		{"flood", (*soak).sendTooMuch},
		{"resolver", (*soak).askAround},
		{"amplification", (*soak).amplify},
		{"garbage", (*soak).sendGarbage},
		{"reloads", (*soak).reload},
		{"restarts", (*soak).restart},
		{"upgrades", (*soak).restartInPlace},
		{"stop", (*soak).stopUnderLoad},
	}
}

func partNames() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

func (s *soak) run(ctx context.Context, only string) (held bool, err error) {
	if s.dir, err = os.MkdirTemp("", "soakdns"); err != nil {
		return false, err
	}
	defer os.RemoveAll(s.dir)
	if err := moreFiles(); err != nil {
		return false, err
	}
	for _, p := range parts() {
		if only != "" && !strings.Contains(","+only+",", ","+p.name+",") {
			continue
		}
		fmt.Printf("%s\n", p.name)
		if err := p.run(s, ctx); err != nil {
			return false, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	fmt.Printf("%d hold, %d miss\n", s.holds, s.misses)
	return !s.failed, nil
}

// row prints what was seen of something that must hold.
func (s *soak) row(ok bool, what, bar, seen string, args ...any) {
	s.print(ok, what, bar, fmt.Sprintf(seen, args...))
	s.failed = s.failed || !ok
}

// speed is row for what depends on how fast the machine is, and what else it does.
func (s *soak) speed(ok bool, what, bar, seen string, args ...any) {
	s.print(ok, what, bar, fmt.Sprintf(seen, args...))
	s.failed = s.failed || !ok && !s.patient
}

func (s *soak) print(ok bool, what, bar, seen string) {
	verdict := "holds"
	s.holds++
	if !ok {
		verdict = "misses"
		s.holds--
		s.misses++
	}
	fmt.Printf("  %-54s %-42s %-30s %s\n", what, seen, bar, verdict)
}

// moreFiles lets this process have as many files open as it may.
func moreFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("ask for the limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// errNoAnswer is a question that was not answered in time.
var errNoAnswer = errors.New("no answer")
