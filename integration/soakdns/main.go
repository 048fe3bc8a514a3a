// Command soakdns loads a built program beyond what it can serve, and takes away
// from under it what it stands on, as `make soak-dns` calls it: more connections
// and packets than it takes, garbage, reloads, restarts and stops. It prints a
// line for each thing that must hold, with what was seen and the bar, and exits
// with 1 when one does not hold, and with 2 when it could not find out.
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

	dir  string
	held bool
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
		{"garbage", (*soak).sendGarbage},
		{"reloads", (*soak).reload},
		{"restarts", (*soak).restart},
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
	s.held = true
	for _, p := range parts() {
		if only != "" && !strings.Contains(","+only+",", ","+p.name+",") {
			continue
		}
		fmt.Printf("%s\n", p.name)
		if err := p.run(s, ctx); err != nil {
			return false, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return s.held, nil
}

// row prints what was seen of something that must hold.
func (s *soak) row(ok bool, what, bar, seen string, args ...any) {
	verdict := "ok  "
	if !ok {
		verdict, s.held = "FAIL", false
	}
	fmt.Printf("  %s  %-52s %-34s bar: %s\n", verdict, what, fmt.Sprintf(seen, args...), bar)
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
