package evidence_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"backscatter/evidence"
	"backscatter/listing"
)

// corpusLabel is one line of a corpus's labels.jsonl.
type corpusLabel struct {
	Path   string `json:"path"`
	Label  string `json:"label"`
	Source string `json:"source"`
}

// TestCorpus measures the recognisers on a folder of labelled mail, which is
// not part of the project. Set BACKSCATTER_CORPUS to the folder, and
// BACKSCATTER_MISSES to see the messages that were taken for something else.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("BACKSCATTER_CORPUS")
	if dir == "" {
		t.Skip("BACKSCATTER_CORPUS names no folder of labelled mail")
	}
	counts := map[string]int{}
	var hits, misses, alarms, others int
	var failures []string
	for _, l := range readLabels(t, dir) {
		raw, err := os.ReadFile(filepath.Join(dir, l.Path))
		if err != nil {
			t.Fatal(err)
		}
		class := listing.ClassOther
		c := evidence.Classification{}
		if m, err := evidence.Parse(raw); err == nil {
			c = evidence.Classify(m)
			class = c.Class
		}
		counts[l.Label+" → "+class.String()]++
		switch backscatter := slices.Contains([]string{"bounce", "autoreply", "challenge"}, l.Label); {
		case backscatter && class == listing.ClassOther:
			misses++
			failures = append(failures, fmt.Sprintf("missed %s %s %s", l.Path, l.Label, c.Rules))
		case backscatter:
			hits++
		case class != listing.ClassOther:
			alarms++
			failures = append(failures, fmt.Sprintf("alarm %s %s as %s %s", l.Path, l.Label, class, c.Rules))
		default:
			others++
		}
	}
	t.Logf("recall %d of %d, false alarms %d of %d", hits, hits+misses, alarms, alarms+others)
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%-24s %d", k, counts[k])
	}
	if os.Getenv("BACKSCATTER_MISSES") != "" {
		for _, f := range failures {
			t.Log(f)
		}
	}
	if hits*100 < 97*(hits+misses) || alarms*1000 > 2*(alarms+others) {
		t.Errorf("want at least 97 %% recognised and at most 0.2 %% false alarms")
	}
}

func readLabels(t *testing.T, dir string) []corpusLabel {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "labels.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var labels []corpusLabel
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		var l corpusLabel
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		labels = append(labels, l)
	}
	return labels
}
