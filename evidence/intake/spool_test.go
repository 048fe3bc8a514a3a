package intake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backscatter/evidence"
	"backscatter/evidence/intake"
)

func spoolReport(n int) evidence.Report {
	return evidence.Report{
		Raw: []byte(fmt.Sprintf("Subject: %d\r\n\r\n\x00\xff text\n", n)), Truncated: n%2 == 0, Held: true, Nobody: n%3 == 0,
		Received: time.Date(2026, 11, 22, 10, 0, n, 0, time.UTC), Reporter: "local", Sensor: "milter",
		Envelope: evidence.Envelope{
			Client: netip.MustParseAddr("2001:db8::66"), HELO: "mail", PTR: "mail.sender.example", MailFromKnown: true,
			Recipients: []string{"a@trap.example", "b@trap.example"},
		},
	}
}

func spool(tb testing.TB, dir string, most int64, sink intake.Sink) *intake.Spool {
	tb.Helper()
	s, err := intake.NewSpool(intake.SpoolOptions{Dir: dir, Most: most, Sink: sink})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func files(tb testing.TB, dir string) []string {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		tb.Fatal(err)
	}
	return names
}

// run runs a spool until the condition holds.
func run(tb testing.TB, s *intake.Spool, until func() bool) {
	tb.Helper()
	ctx, stop := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for end := time.Now().Add(patience); !until(); {
		if time.Now().After(end) {
			tb.Fatal("the spool does not do it")
		}
		time.Sleep(time.Millisecond) // poll
	}
	stop()
	if err := <-done; err != nil {
		tb.Error(err)
	}
}

// What was taken survives the process, whatever the sink does, and comes out
// as it went in, in its order.
func TestSpool(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	var want []evidence.Report
	for round := range 2 { // two lives of a process whose sink takes nothing
		refusing := &sink{submit: func(context.Context, evidence.Report) error { return errors.New("the store is gone") }}
		s := spool(t, dir, 1<<20, refusing)
		for n := range 3 {
			r := spoolReport(3*round + n)
			want = append(want, r)
			if _, err := s.Submit(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		var tries atomic.Int64
		refusing.submit = func(context.Context, evidence.Report) error { tries.Add(1); return errors.New("gone") }
		run(t, s, func() bool { return tries.Load() > 0 })
	}
	// A crash in the middle of writing leaves what nobody was told of.
	for name, text := range map[string]string{"1.partial": "{", "0.report": "no report", "2.report": `{"octets":5}` + "\n1234"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	taking := &sink{}
	s := spool(t, dir, 1<<20, taking)
	run(t, s, func() bool { return len(files(t, dir)) == 2 })
	got := taking.all()
	for i := range got {
		at := got[i].Received.Second()
		same(t, "report", want[at], got[i])
	}
	same(t, "reports", len(want), len(got))
	for _, name := range files(t, dir) {
		if !strings.HasSuffix(name, ".damaged") {
			t.Errorf("%s is left", name)
		}
	}
}

// A crash between the sink and the removal hands a report in twice; one before
// hands it in once. None is lost.
func TestSpoolHandsInWhileItTakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taking := &sink{}
	s := spool(t, dir, 1<<20, taking)
	const count = 50
	go func() {
		for n := range count {
			if _, err := s.Submit(context.Background(), spoolReport(n)); err != nil {
				t.Error(err)
			}
		}
	}()
	run(t, s, func() bool { return len(taking.all()) == count && len(files(t, dir)) == 0 })
}

// A file that cannot be read keeps none back, and is told of once.
func TestSpoolPassesOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "00000000000000000000-1-1.report"), 0o700); err != nil { // no file at all
		t.Fatal(err)
	}
	var log bytes.Buffer
	registry := prometheus.NewPedanticRegistry()
	taking := &sink{}
	s, err := intake.NewSpool(intake.SpoolOptions{
		Dir: dir, Most: 1 << 20, Sink: taking, Logger: slog.New(slog.NewTextHandler(&log, nil)), Metrics: intake.NewMetrics(registry),
	})
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 3
	for n := range rounds {
		if _, err := s.Submit(t.Context(), spoolReport(n)); err != nil {
			t.Fatal(err)
		}
		run(t, s, func() bool { return len(taking.all()) == n+1 && len(files(t, dir)) == 1 })
	}
	if n := strings.Count(log.String(), "cannot be read"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
	tr := &trap{registry: registry}
	same(t, "counted", "1", tr.metric(t, "backscatter_spool_damaged_total"))
}

func TestSpoolIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := spool(t, dir, 1000, &sink{})
	taken := 0
	var err error
	for err == nil && taken < 100 {
		if _, err = s.Submit(t.Context(), spoolReport(taken)); err == nil {
			taken++
		}
	}
	if !errors.Is(err, intake.ErrSpoolFull) || taken == 0 {
		t.Fatalf("after %d: %v", taken, err)
	}
	if again := spool(t, dir, 1000, &sink{}); true { // it counts what it finds
		if _, err := again.Submit(t.Context(), spoolReport(0)); !errors.Is(err, intake.ErrSpoolFull) {
			t.Errorf("in the next life: %v", err)
		}
	}
	run(t, s, func() bool { return len(files(t, dir)) == 0 })
	if _, err := s.Submit(t.Context(), spoolReport(0)); err != nil {
		t.Errorf("when it is empty again: %v", err)
	}
}

// When the disk takes nothing, nothing is taken, and nothing is left behind.
func TestSpoolWithoutADisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := spool(t, dir, 1<<20, &sink{})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Submit(t.Context(), spoolReport(0)); err == nil {
		t.Error("taken without a folder")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Submit(t.Context(), spoolReport(0)); err != nil {
		t.Error(err)
	}
	same(t, "files", 1, len(files(t, dir)))
}
