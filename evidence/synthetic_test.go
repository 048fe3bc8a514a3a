package evidence_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"backscatter/evidence"
	"backscatter/evidence/synthetic"
)

// score is how much of the samples of one kind was recognised.
type score struct{ found, right, all int }

func (s *score) add(found, right bool) {
	s.all++
	if found {
		s.found++
	}
	if right {
		s.right++
	}
}

// TestSynthetic tells how well the synthetic samples are recognised, with all
// rules, and without those that name a product: as if each product were new.
func TestSynthetic(t *testing.T) {
	t.Parallel()
	var missed []string
	with, without := map[string]*score{}, map[string]*score{}
	for _, s := range synthetic.All() {
		m, err := evidence.Parse(s.Raw)
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", s.Kind, s.Name, err, s.Raw)
		}
		for _, key := range []string{s.Kind, s.Kind + ", " + s.Variant} {
			if with[key] == nil {
				with[key], without[key] = &score{}, &score{}
			}
			c := evidence.Classify(m)
			with[key].add(c.Class.String() != "other", c.Class.String() == s.Kind)
			if c.Class.String() != s.Kind && key == s.Kind {
				missed = append(missed, fmt.Sprintf("%s, %s, %s: %s %v", s.Kind, s.Name, s.Variant, c.Class, c.Rules))
			}
			c = evidence.ClassifyWithoutProducts(m)
			without[key].add(c.Class.String() != "other", c.Class.String() == s.Kind)
		}
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "synthetic\tsamples\trecognised\tclass right\trecognised as of a new product\tclass right")
	for _, key := range slices.Sorted(keys(with)) {
		a, c := with[key], without[key]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\n", key, a.all, a.found, a.right, c.found, c.right)
	}
	_ = w.Flush()
	t.Log("\n" + b.String())
	if os.Getenv("BACKSCATTER_MISSES") != "" {
		t.Log("\n" + strings.Join(missed, "\n"))
	}
	for _, bar := range []struct {
		kind           string
		known, unknown float64
	}{{"bounce", 0.97, 0.8}, {"notice", 0.97, 0.85}, {"challenge", 0.97, 0.85}, {"autoreply", 0.97, 0.9}} {
		if got := with[bar.kind]; float64(got.right) < bar.known*float64(got.all) {
			t.Errorf("%s: %d of %d are recognised, want %.0f %%", bar.kind, got.right, got.all, 100*bar.known)
		}
		if got := without[bar.kind]; float64(got.found) < bar.unknown*float64(got.all) {
			t.Errorf("%s of a new product: %d of %d are recognised, want %.0f %%", bar.kind, got.found, got.all, 100*bar.unknown)
		}
	}
	if got := with["other"]; got.found > 0 {
		t.Errorf("%d of %d look-alikes are taken for backscatter", got.found, got.all)
	}
}

func keys(m map[string]*score) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestSyntheticSamples: at least 20 products or languages of each kind, each once.
func TestSyntheticSamples(t *testing.T) {
	t.Parallel()
	names := map[string]map[string]bool{}
	for _, s := range synthetic.All() {
		if names[s.Kind] == nil {
			names[s.Kind] = map[string]bool{}
		}
		names[s.Kind][s.Name] = true
		if !strings.Contains(string(s.Raw), "\nX-Synthetic: yes\n") {
			t.Errorf("%s %s is not marked as synthetic", s.Kind, s.Name)
		}
	}
	for kind, all := range names {
		if len(all) < 20 {
			t.Errorf("%s: %d names", kind, len(all))
		}
	}
}
