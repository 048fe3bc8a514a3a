// Command bench measures the store beside its peers: one commit for each
// observation, and rbldnsd. It prints one table, of medians, with the bar that
// each figure has to reach; `make bench-store` runs it.
//
// It never fails because something is slow: figures of a busy machine mean nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// bench is what to measure, and what was.
type bench struct {
	dir          string
	listings     int // of the list
	larger       int // of a second list, for opening alone
	observations int
	seconds      float64 // for each run of the observing
	runs         int     // of which the median is told
	rows         []row
}

// row is a line of the table.
type row struct {
	what, figure string
	beside       string  // the peer's figure, or what else there is to know
	ratio        float64 // to the peer; 0: there is none
	bar          string
	ok           bool
}

// part is a part of the table.
type part struct {
	name string
	run  func(context.Context) error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) == 2 && args[0] == "open" {
		return openStore(args[1])
	}
	if len(args) == 2 && args[0] == "probe" {
		return probeDisk(args[1])
	}
	if len(args) == 3 && args[0] == "import" {
		return importList(ctx, args[1], args[2])
	}
	b := &bench{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&b.dir, "dir", "", "`folder` for the stores (default: a temporary one); its disk is what is measured")
	flags.IntVar(&b.listings, "listings", 1_000_000, "listings of the list")
	flags.IntVar(&b.larger, "larger", 5_000_000, "listings of the larger list, which is opened only; 0: none")
	flags.IntVar(&b.observations, "observations", 10_000_000, "observations of the large store")
	flags.Float64Var(&b.seconds, "seconds", 3, "length of each run of the observing")
	flags.IntVar(&b.runs, "runs", 5, "runs of which the median is told")
	only := flags.String("only", "", "parts to run: some of observe,list,answer,expire,import,remember; empty: all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	parts := []part{{"observe", b.observe}, {"list", b.list}, {"answer", b.answer}, {"expire", b.expire}, {"import", b.imported}, {"remember", b.remember}}
	for name := range strings.SplitSeq(*only, ",") {
		if *only != "" && !slices.ContainsFunc(parts, func(p part) bool { return p.name == name }) {
			return fmt.Errorf("there is no part %q", name)
		}
	}
	dir, err := os.MkdirTemp(b.dir, "bench-store-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b.dir = dir
	for _, p := range parts {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		if err := p.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return b.print()
}

// row adds a line to the table.
func (b *bench) row(r row) {
	b.rows = append(b.rows, r)
	fmt.Fprintf(os.Stderr, "%s: %s %s\n", r.what, r.figure, r.beside)
}

func (b *bench) print() error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "what\tmeasured\tbeside\tratio\tbar\t")
	for _, r := range b.rows {
		verdict, ratio := "misses", ""
		switch {
		case r.bar == "":
			verdict = ""
		case r.ok:
			verdict = "holds"
		}
		if r.ratio != 0 {
			ratio = fmt.Sprintf("%.2f", r.ratio)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.figure, r.beside, ratio, r.bar, verdict)
	}
	return w.Flush()
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func median[T time.Duration | float64 | int64](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}
