package intake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/intake"
	"backscatter/listing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var (
	_ intake.Judge = (*evidence.Judge)(nil)
	_ intake.Store = (*listing.Store)(nil)
)

// store answers each observation alike.
type store struct {
	outcome listing.Outcome
	err     error

	mu   sync.Mutex
	seen []listing.Observation
}

func (s *store) Observe(_ context.Context, o listing.Observation) (listing.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, o)
	return s.outcome, s.err
}

// judge is a judge of a test's own making.
type judge func(evidence.Report, time.Time) evidence.Finding

func (j judge) Judge(r evidence.Report, now time.Time) evidence.Finding { return j(r, now) }

func realJudge(tb testing.TB) *evidence.Judge {
	tb.Helper()
	traps, err := evidence.NewTraps([]evidence.Trap{{Domain: "trap.example"}})
	if err != nil {
		tb.Fatal(err)
	}
	j, err := evidence.NewJudge(evidence.Config{
		Reporters: []evidence.Reporter{{Name: "local", Organisation: "local"}},
		Traps:     traps,
		Listable:  []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Window:    7 * 24 * time.Hour,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return j
}

// misdirected is a report that proves backscatter from 192.0.2.66.
func misdirected() evidence.Report {
	return evidence.Report{
		Raw: []byte(strings.ReplaceAll(`From: MAILER-DAEMON@mx.sender.example
To: info@trap.example
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
Message-ID: <20261121081504.1@mx.sender.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I could not deliver your message.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.sender.example

Final-Recipient: rfc822; nobody@sender.example
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b
Content-Type: message/rfc822

Received: from zombie (unknown [198.51.100.9])
	by mx.sender.example with SMTP id 1; Sat, 21 Nov 2026 08:15:00 +0000
From: info@trap.example
To: nobody@sender.example
Subject: cheap watches
Message-ID: <1@trap.example>

Buy.

--b--
`, "\n", "\r\n")),
		Envelope: evidence.Envelope{
			Client: netip.MustParseAddr("192.0.2.66"), HELO: "mx.sender.example",
			MailFromKnown: true, Recipients: []string{"info@trap.example"},
		},
		Held: true, Received: time.Now().UTC(), Reporter: "local", Sensor: "smtp",
	}
}

func TestDeskTellsWhatBecameOfAReport(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		outcome listing.Outcome
		err     error
		verdict evidence.Verdict
		reason  string
	}{
		{"counted", listing.Outcome{Listed: true}, nil, evidence.Proven, ""},
		{"duplicate", listing.Outcome{Duplicate: true}, nil, evidence.Unproven, "duplicate"},
		{"stale", listing.Outcome{Stale: true}, nil, evidence.Unproven, "stale"},
		{"exempt", listing.Outcome{Exempt: true}, nil, evidence.Unproven, "exempt"},
		{"never listable", listing.Outcome{}, fmt.Errorf("key: %w", listing.ErrKey), evidence.Failed, "refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			st := &store{outcome: test.outcome, err: test.err}
			registry := prometheus.NewPedanticRegistry()
			d := intake.NewDesk(intake.DeskOptions{Judge: realJudge(t), Store: st, Metrics: intake.NewMetrics(registry)})
			f, err := d.Submit(t.Context(), misdirected())
			if err != nil || f.Verdict != test.verdict || f.Reason != test.reason {
				t.Errorf("%s %q, %v, want %s %q", f.Verdict, f.Reason, err, test.verdict, test.reason)
			}
			if len(st.seen) != 1 || st.seen[0].Addr != netip.MustParseAddr("192.0.2.66") {
				t.Errorf("store saw %+v", st.seen)
			}
			want := fmt.Sprintf("# HELP backscatter_reports_total Reports judged, by verdict and reason.\n"+
				"# TYPE backscatter_reports_total counter\nbackscatter_reports_total{reason=%q,verdict=%q} 1\n", test.reason, test.verdict)
			if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "backscatter_reports_total"); err != nil {
				t.Error(err)
			}
			if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
				t.Errorf("promlint: %v %v", problems, err)
			}
		})
	}
}

func TestDeskStoresNothingUnproven(t *testing.T) {
	t.Parallel()
	st := &store{err: errors.New("must not be asked")}
	d := intake.NewDesk(intake.DeskOptions{Judge: realJudge(t), Store: st})
	for _, raw := range []string{"", "Subject: hello\r\n\r\nHow are you?\r\n", "\x00\xff"} {
		r := misdirected()
		r.Raw = []byte(raw)
		f, err := d.Submit(t.Context(), r)
		if err != nil || f.Verdict == evidence.Proven || f.Reason == "" {
			t.Errorf("%q: %s %q, %v", raw, f.Verdict, f.Reason, err)
		}
	}
	if len(st.seen) > 0 {
		t.Errorf("store saw %+v", st.seen)
	}
}

func TestDeskAsksToTryAgain(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	registry := prometheus.NewPedanticRegistry()
	d := intake.NewDesk(intake.DeskOptions{Judge: realJudge(t), Store: &store{err: full}, Metrics: intake.NewMetrics(registry)})
	if _, err := d.Submit(t.Context(), misdirected()); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
	want := "# HELP backscatter_reports_deferred_total Reports whose senders were asked to try again, since the store could not take them.\n" +
		"# TYPE backscatter_reports_deferred_total counter\nbackscatter_reports_deferred_total 1\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "backscatter_reports_total", "backscatter_reports_deferred_total"); err != nil {
		t.Error(err)
	}
}

func TestDeskSurvivesItsJudge(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	registry := prometheus.NewPedanticRegistry()
	d := intake.NewDesk(intake.DeskOptions{
		Judge:   judge(func(evidence.Report, time.Time) evidence.Finding { panic("a mistake") }),
		Store:   &store{},
		Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		Metrics: intake.NewMetrics(registry),
	})
	f, err := d.Submit(t.Context(), misdirected())
	if err != nil || f.Verdict != evidence.Failed || f.Reason != intake.ReasonPanic || f.Proofs == nil {
		t.Errorf("%+v, %v", f, err)
	}
	if !strings.Contains(log.String(), "a mistake") || !strings.Contains(log.String(), "desk_test.go") {
		t.Errorf("the log does not say what panicked and where: %s", log.String())
	}
	// A reason that nobody declared is no label of its own.
	d.SetJudge(judge(func(evidence.Report, time.Time) evidence.Finding {
		return evidence.Finding{Verdict: evidence.Unproven, Reason: "from 192.0.2.1"}
	}))
	if _, err := d.Submit(t.Context(), misdirected()); err != nil {
		t.Fatal(err)
	}
	want := "# HELP backscatter_reports_total Reports judged, by verdict and reason.\n# TYPE backscatter_reports_total counter\n" +
		"backscatter_reports_total{reason=\"internal error\",verdict=\"error\"} 1\nbackscatter_reports_total{reason=\"unlisted\",verdict=\"unproven\"} 1\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "backscatter_reports_total"); err != nil {
		t.Error(err)
	}
}

func TestDeskJudgeIsSwappedWhileInUse(t *testing.T) {
	t.Parallel()
	d := intake.NewDesk(intake.DeskOptions{Judge: realJudge(t), Store: &store{}})
	second := judge(func(evidence.Report, time.Time) evidence.Finding {
		return evidence.Finding{Verdict: evidence.Unproven, Reason: evidence.ReasonReporter}
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for f := (evidence.Finding{}); f.Reason != evidence.ReasonReporter; {
				f, _ = d.Submit(context.Background(), misdirected())
			}
		})
	}
	d.SetJudge(second)
	wg.Wait()
}
