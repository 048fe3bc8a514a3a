// Command bench measures the way from a list to those who mirror it, as
// `make bench-export` calls it: how long an export takes beside cp, and how much
// memory; how many bytes a change takes by rsync and by IXFR, beside BIND's; and how
// soon a mirror answers, beside rbldnsd. It prints one table, of medians, with the
// bar that each figure has to reach. It needs rsync, BIND and rbldnsd of Debian.
//
// It exits with 2 when it could not measure. No figure makes it fail.
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
)

const (
	zone  = "bl.example"
	large = 5_000_000 // for which memory and the first answer have bars
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
}

// bench is what to measure, and what was.
type bench struct {
	program string
	dir     string
	rounds  int
	entries int // of the larger list
	changed int // entries of the list that changes
	rows    []row
}

// row is a line of the table.
type row struct {
	what, figure, beside string
	ratio                float64 // 0: there is none
	bar                  string
	holds                bool // where there is a bar
}

func run(ctx context.Context) (err error) {
	b := &bench{}
	flag.StringVar(&b.program, "program", "dist/backscatter", "the built `program`")
	flag.StringVar(&b.dir, "dir", "", "`folder` for the files (default: a temporary one); its disk is what is measured")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds of which the median is told")
	flag.IntVar(&b.entries, "entries", large, "`addresses` of the larger list")
	flag.IntVar(&b.changed, "changed", 500_000, "`addresses` of the list that changes")
	only := flag.String("only", "", "`parts`, some of export,memory,rsync,ixfr,answer; empty: all")
	flag.Parse()
	if b.program, err = filepath.Abs(b.program); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(b.dir, "bench-export-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := os.Chmod(b.dir, 0o755); err != nil { // rbldnsd gives up root before it reads
		return err
	}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"export", b.export}, {"memory", b.memory}, {"rsync", b.rsync}, {"ixfr", b.ixfr}, {"answer", b.answer}} {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), part.name) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return b.print()
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) row(r row) {
	b.rows = append(b.rows, r)
	fmt.Fprintf(os.Stderr, "%s: %s, %s\n", r.what, r.figure, r.beside)
}

func (b *bench) print() error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "what\tmeasured\tbeside\tratio\tbar\t")
	for _, r := range b.rows {
		verdict, ratio := "", ""
		switch {
		case r.bar == "":
		case r.holds:
			verdict = "holds"
		default:
			verdict = "MISSES"
		}
		if r.ratio != 0 {
			ratio = fmt.Sprintf("%.2f", r.ratio)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.figure, r.beside, ratio, r.bar, verdict)
	}
	return w.Flush()
}

func median[T int | int64 | float64](all []T) T {
	slices.Sort(all)
	return all[len(all)/2]
}
