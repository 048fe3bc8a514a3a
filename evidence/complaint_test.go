package evidence_test

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
)

const complained = `From: abuse@complainer.example
Subject: complaint
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=outer

--outer
Content-Type: text/plain

This is an email abuse report.

--outer
Content-Type: message/feedback-report

Feedback-Type: abuse
Version: 1
Source-IP: 192.0.2.66
Original-Mail-From: <>
Original-Rcpt-To: <Info@trap.example>

--outer
Content-Type: message/rfc822

@MESSAGE@
--outer--
`

func TestReadComplaint(t *testing.T) {
	t.Parallel()
	bounce, err := os.ReadFile("testdata/postfix.eml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := evidence.ReadComplaint([]byte(strings.Replace(complained, "@MESSAGE@", string(bounce), 1)))
	if err != nil {
		t.Fatal(err)
	}
	if c.Source.String() != "192.0.2.66" || c.Recipient != "info@trap.example" || !c.Told || c.Sender != "" {
		t.Errorf("read %+v", c)
	}
	if got := strings.TrimSpace(string(c.Message)); got != strings.TrimSpace(string(bounce)) {
		t.Errorf("encloses %q", got)
	}
	for _, none := range []string{string(bounce), "", strings.Replace(complained, "message/feedback-report", "text/plain", 1), "a\n"} {
		if _, err := evidence.ReadComplaint([]byte(none)); err == nil {
			t.Errorf("%.40q is taken for a complaint", none)
		} else if none == string(bounce) && !errors.Is(err, evidence.ErrNoComplaint) {
			t.Errorf("error %v", err)
		}
	}
}

// Whom somebody complains of is kept and shown, and never counts, whatever the
// message proves.
func TestHearsay(t *testing.T) {
	t.Parallel()
	traps, err := evidence.NewTraps([]evidence.Trap{{Domain: "trap.example"}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := evidence.NewJudge(evidence.Config{
		Reporters: []evidence.Reporter{{Name: "local", Relays: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}},
		Traps:     traps, Listable: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for _, test := range []struct{ client, rcpt, reason string }{
		{"192.0.2.66", "info@trap.example", evidence.ReasonHearsay},
		{"192.0.2.66", "info@other.example", evidence.ReasonNoProof},
		{"203.0.113.5", "info@trap.example", evidence.ReasonUnattributed},
	} {
		f := j.Judge(evidence.Report{
			Raw: bounceWith(direct, spam), Hearsay: true, Received: now, Reporter: "local", Sensor: "report",
			Envelope: evidence.Envelope{Client: netip.MustParseAddr(test.client), Recipients: []string{test.rcpt}},
		}, now)
		o, kept := f.Observation()
		if f.Verdict != evidence.Unproven || f.Reason != test.reason || f.Level != listing.LevelC || kept != (test.reason == evidence.ReasonHearsay) {
			t.Errorf("%+v: %s %q level %s, kept %v", test, f.Verdict, f.Reason, f.Level, kept)
		}
		if kept && (o.Level != listing.LevelC || o.Addr.String() != test.client) {
			t.Errorf("kept %+v", o)
		}
	}
}
