package evidence_test

import (
	"net/netip"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
)

// A reporter that the judge's configuration does not name is taken as the report
// tells it; one that it names is as the configuration tells it.
func TestEnrolledReporter(t *testing.T) {
	t.Parallel()
	traps, err := evidence.NewTraps([]evidence.Trap{{Domain: "trap.example"}})
	if err != nil {
		t.Fatal(err)
	}
	j, err := evidence.NewJudge(evidence.Config{
		Traps: traps, Listable: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24")},
		Reporters: []evidence.Reporter{{Name: "ours", Organisation: "ours"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	friend := &evidence.Reporter{Organisation: "friends", Relays: []netip.Prefix{netip.MustParsePrefix("198.51.100.25/32")}}
	raw := "Received: from mail.sender.example (mail.sender.example [192.0.2.66]) by mx.friend.example with ESMTP id 1; Sun, 22 Nov 2026 10:00:00 +0000\r\n" +
		"From: MAILER-DAEMON@mail.sender.example\r\nSubject: failure notice\r\n\r\nHi. This is the qmail-send program at mail.sender.example.\r\n" +
		"I'm afraid I wasn't able to deliver your message to the following addresses.\r\n\r\n<x@sender.example>:\r\nno mailbox here by that name. (#5.1.1)\r\n\r\n" +
		"--- Below this line is a copy of the message.\r\n\r\nMessage-ID: <1@trap.example>\r\nFrom: a@trap.example\r\nSubject: pills\r\n\r\npills\r\n"
	report := evidence.Report{
		Raw: []byte(raw), Reporter: "friend", Sensor: "https", Enrolled: friend, Received: time.Date(2026, 11, 22, 10, 1, 0, 0, time.UTC),
		Envelope: evidence.Envelope{Client: netip.MustParseAddr("198.51.100.25"), MailFromKnown: true, Recipients: []string{"a@trap.example"}},
	}
	now := time.Date(2026, 11, 22, 10, 2, 0, 0, time.UTC)
	f := j.Judge(report, now)
	o, _ := f.Observation()
	if f.Verdict != evidence.Proven || f.Level != listing.LevelB || f.Source != netip.MustParseAddr("192.0.2.66") || o.Organisation != "friends" || o.Reporter != "friend" {
		t.Errorf("%+v %+v", f, o)
	}
	report.Callout, report.Raw, report.Envelope.Client = true, nil, netip.MustParseAddr("192.0.2.66")
	if f := j.Judge(report, now); f.Verdict != evidence.Proven || f.Class != listing.ClassCallout {
		t.Errorf("a callout: %+v", f)
	}
	report.Callout, report.Raw = false, []byte(raw)
	report.Enrolled = nil
	if f := j.Judge(report, now); f.Reason != evidence.ReasonReporter {
		t.Errorf("by nobody: %+v", f)
	}
	report.Reporter, report.Enrolled, report.Envelope.Client = "ours", friend, netip.MustParseAddr("198.51.100.25")
	if f := j.Judge(report, now); f.Source != netip.MustParseAddr("198.51.100.25") {
		t.Errorf("the relays of another are believed: %+v", f)
	}
}
