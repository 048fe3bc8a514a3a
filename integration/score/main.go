// Command score measures the recognisers of a built program on a folder of
// labelled mail, as `make score CORPUS=DIR` calls it. The folder holds
// labels.jsonl, one object a message: path, label, source, cluster. The labels
// bounce, autoreply and challenge are backscatter; all others are not. A bounce
// may come out as class bounce or notice, which the labels do not tell apart.
//
// It exits with 1 when the scores are below the bars, and with 2 when it could
// not measure.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

type label struct {
	Path    string `json:"path"`
	Label   string `json:"label"`
	Source  string `json:"source"`
	Cluster int    `json:"cluster"`
}

func (l label) backscatter() bool {
	return l.Label == "bounce" || l.Label == "autoreply" || l.Label == "challenge"
}

// right reports whether the class is what the label says.
func (l label) right(class string) bool {
	switch l.Label {
	case "bounce":
		return class == "bounce" || class == "notice"
	case "autoreply", "challenge":
		return class == l.Label
	}
	return class == "other"
}

// finding is what the score needs of what `report --json` prints.
type finding struct {
	Path    string   `json:"path"`
	Class   string   `json:"class"`
	Verdict string   `json:"verdict"`
	Rules   []string `json:"rules"`

	Source   string `json:"source"`
	Original struct {
		Returned  string `json:"returned"`
		MessageID string `json:"message_id"`
		Origin    string `json:"origin"`
	} `json:"original"`
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("score", flag.ContinueOnError)
	flags.SetOutput(stderr)
	program := flags.String("program", "backscatter", "the built `program`")
	minRecall := flags.Float64("min-recall", 0.99, "least share of the backscatter that must be recognised")
	maxFalse := flags.Float64("max-false", 0.0005, "greatest share of other mail that may be called backscatter")
	verbose := flags.Bool("v", false, "list what was misclassified")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() != 1 {
		fmt.Fprintln(stderr, "score: want one argument, the folder with labels.jsonl")
		return 2
	}
	table, err := measure(context.Background(), *program, flags.Arg(0))
	if err != nil {
		fmt.Fprintf(stderr, "score %s: %v\n", flags.Arg(0), err)
		return 2
	}
	table.print(stdout, *verbose)
	if table.total.recall() < *minRecall || table.total.alarms() > *maxFalse {
		fmt.Fprintf(stderr, "score: want recall of at least %.4f and at most %.4f false alarms\n", *minRecall, *maxFalse)
		return 1
	}
	return 0
}

// measure lets the program judge the folders of the corpus, and joins what it
// says with the labels.
func measure(ctx context.Context, program, dir string) (*table, error) {
	labels, folders, err := readLabels(dir)
	if err != nil {
		return nil, err
	}
	args := []string{"report", "--dry-run", "--json"}
	for _, folder := range folders {
		args = append(args, filepath.Join(dir, folder))
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	t := newTable()
	readErr := t.read(out, dir, labels)
	// Without a reader the program would wait for ever.
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	if readErr != nil {
		return nil, readErr
	}
	for path := range labels {
		return nil, fmt.Errorf("%d messages were not judged, %s among them", len(labels), path)
	}
	return t, nil
}

func readLabels(dir string) (labels map[string]label, folders []string, err error) {
	f, err := os.Open(filepath.Join(dir, "labels.jsonl"))
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // read only
	labels = map[string]label{}
	seen := map[string]bool{}
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		var l label
		if err := json.Unmarshal(scanner.Bytes(), &l); err != nil {
			return nil, nil, fmt.Errorf("labels.jsonl, line %d: %w", len(labels)+1, err)
		}
		labels[l.Path] = l
		folder, _, _ := strings.Cut(l.Path, "/")
		if !seen[folder] {
			seen[folder] = true
			folders = append(folders, folder)
		}
	}
	return labels, folders, scanner.Err()
}

// read takes the findings one by one, and the label of each out of labels.
func (t *table) read(r io.Reader, dir string, labels map[string]label) error {
	decoder := json.NewDecoder(r)
	for {
		var f finding
		err := decoder.Decode(&f)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read findings: %w", err)
		}
		path, err := filepath.Rel(dir, f.Path)
		if err != nil {
			return fmt.Errorf("read findings: %w", err)
		}
		path = filepath.ToSlash(path)
		l, ok := labels[path]
		if !ok {
			continue // without a label, or a second message in one file
		}
		delete(labels, path)
		t.add(l, f)
	}
}
