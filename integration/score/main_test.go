package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test itself stand for the program that is measured: called
// as such, it finds what the name of each file says.
func TestMain(m *testing.M) {
	if os.Getenv("SCORE_STANDS_FOR_PROGRAM") == "" {
		os.Exit(m.Run())
	}
	for _, dir := range os.Args[1:] {
		paths, _ := filepath.Glob(filepath.Join(dir, "*.eml"))
		for _, path := range paths {
			class, _, _ := strings.Cut(filepath.Base(path), "-")
			_ = json.NewEncoder(os.Stdout).Encode(finding{Path: path, Class: class, Rules: []string{"by-name"}})
		}
	}
	os.Exit(0)
}

func corpus(t *testing.T, labels map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	var lines bytes.Buffer
	for path, l := range labels {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		folder, _, _ := strings.Cut(path, "/")
		_ = json.NewEncoder(&lines).Encode(label{Path: path, Label: l, Source: folder, Cluster: len(l)})
	}
	if err := os.WriteFile(filepath.Join(dir, "labels.jsonl"), lines.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestScore(t *testing.T) {
	t.Setenv("SCORE_STANDS_FOR_PROGRAM", "yes")
	labels := map[string]string{
		"a/bounce-1.eml": "bounce", "a/notice-2.eml": "bounce", "a/autoreply-3.eml": "bounce", "b/other-4.eml": "bounce",
		"b/challenge-5.eml": "challenge", "b/other-6.eml": "arf", "b/bounce-7.eml": "nonbounce",
	}
	dir := corpus(t, labels)
	var out, errs bytes.Buffer
	if code := run([]string{"-v", "-program", os.Args[0], "-min-recall", "0.8", "-max-false", "0.5", dir}, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, want := range []string{
		"recall 0.8000 (clusters 0.8333), class right 0.7500, false alarms 0.5000",
		"a/autoreply-3.eml: bounce taken for autoreply [by-name]", "b/other-4.eml: bounce taken for other",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	for name, args := range map[string][]string{
		"recall below its bar":       {"-min-recall", "0.9", "-max-false", "0.5"},
		"false alarms above theirs":  {"-min-recall", "0.8", "-max-false", "0.4"},
		"the bars that are the rule": {},
	} {
		if code := run(append(args, "-program", os.Args[0], dir), &out, &errs); code != 1 {
			t.Errorf("%s: exit %d", name, code)
		}
	}
}

func TestScoreCannotMeasure(t *testing.T) {
	t.Setenv("SCORE_STANDS_FOR_PROGRAM", "yes")
	whole := corpus(t, map[string]string{"a/bounce-1.eml": "bounce"})
	missing := corpus(t, map[string]string{"a/bounce-1.eml": "bounce", "a/bounce-2.eml": "bounce"})
	if err := os.Remove(filepath.Join(missing, "a", "bounce-2.eml")); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"no folder":     {"-program", os.Args[0]},
		"no labels":     {"-program", os.Args[0], t.TempDir()},
		"no program":    {"-program", filepath.Join(whole, "none"), whole},
		"not all there": {"-program", os.Args[0], missing},
	} {
		var out, errs bytes.Buffer
		if code := run(args, &out, &errs); code != 2 || errs.Len() == 0 {
			t.Errorf("%s: exit %d, %q", name, code, errs.String())
		}
	}
}
