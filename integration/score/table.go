package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// tally counts messages, or clusters of messages that resemble one another.
type tally struct {
	recognised, backscatter float64 // of the backscatter
	right                   float64 // of the recognised, with the class that the label tells
	alarmed, other          float64 // of other mail
	original, origin        float64 // of the recognised: the original came back, and tells where it came from
	source                  float64 // of the recognised: somebody is accused
}

func (t *tally) add(l label, f finding, weight float64) {
	found, class := f.Class != "other", f.Class
	switch {
	case !l.backscatter():
		t.other += weight
		if found {
			t.alarmed += weight
		}
		return
	case found:
		t.recognised += weight
		count := func(n *float64, holds bool) {
			if holds {
				*n += weight
			}
		}
		count(&t.original, f.Original.Returned == "headers" || f.Original.Returned == "full")
		count(&t.origin, f.Original.Origin != "")
		count(&t.source, f.Source != "")
		if l.right(class) {
			t.right += weight
		}
	}
	t.backscatter += weight
}

// The shares are those of a test that was passed when there is nothing to count.
func (t *tally) recall() float64   { return share(t.recognised, t.backscatter, 1) }
func (t *tally) accuracy() float64 { return share(t.right, t.recognised, 1) }
func (t *tally) alarms() float64   { return share(t.alarmed, t.other, 0) }

func share(part, whole, none float64) float64 {
	if whole == 0 {
		return none
	}
	return part / whole
}

type judged struct {
	label
	finding finding
}

// table is all that was judged, and the sums over it.
type table struct {
	judged   []judged
	total    tally
	matrix   map[string]map[string]int // label → class → messages
	bySource map[string]*tally
}

func newTable() *table {
	return &table{matrix: map[string]map[string]int{}, bySource: map[string]*tally{}}
}

func (t *table) add(l label, f finding) {
	t.judged = append(t.judged, judged{l, f})
	t.total.add(l, f, 1)
	if t.matrix[l.Label] == nil {
		t.matrix[l.Label] = map[string]int{}
	}
	t.matrix[l.Label][f.Class]++
	if t.bySource[l.Source] == nil {
		t.bySource[l.Source] = &tally{}
	}
	t.bySource[l.Source].add(l, f, 1)
}

// clustered counts each cluster as one message.
func (t *table) clustered() tally {
	size := map[int]float64{}
	for _, j := range t.judged {
		size[j.Cluster]++
	}
	var sum tally
	for _, j := range t.judged {
		sum.add(j.label, j.finding, 1/size[j.Cluster])
	}
	return sum
}

func (t *table) print(w io.Writer, verbose bool) {
	if verbose {
		for _, j := range t.judged {
			if !j.right(j.finding.Class) {
				fmt.Fprintf(w, "%s: %s taken for %s %v\n", j.Path, j.Label, j.finding.Class, j.finding.Rules)
			}
		}
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	classes := []string{"bounce", "notice", "autoreply", "challenge", "other"}
	fmt.Fprint(tw, "label \\ class\t")
	for _, c := range classes {
		fmt.Fprintf(tw, "%s\t", c)
	}
	fmt.Fprintln(tw)
	for _, l := range slices.Sorted(maps.Keys(t.matrix)) {
		fmt.Fprintf(tw, "%s\t", l)
		for _, c := range classes {
			fmt.Fprintf(tw, "%d\t", t.matrix[l][c])
		}
		fmt.Fprintln(tw)
	}
	fmt.Fprintln(tw)
	fmt.Fprintln(tw, "source\trecognised\tof\tclass right\toriginal found\torigin told\tsource named\tfalse alarms\tof\t")
	row := func(name string, s tally) {
		fmt.Fprintf(tw, "%s\t%.5g\t%.5g\t%.4f\t%.5g\t%.5g\t%.5g\t%.5g\t%.5g\t\n",
			name, s.recognised, s.backscatter, s.accuracy(), s.original, s.origin, s.source, s.alarmed, s.other)
	}
	for _, s := range slices.Sorted(maps.Keys(t.bySource)) {
		row(s, *t.bySource[s])
	}
	row("all", t.total)
	row("a cluster as one", t.clustered())
	_ = tw.Flush()
	sum := t.clustered()
	fmt.Fprintf(w, "\nrecall %.4f (clusters %.4f), class right %.4f, false alarms %.4f\n",
		t.total.recall(), sum.recall(), t.total.accuracy(), t.total.alarms())
}
