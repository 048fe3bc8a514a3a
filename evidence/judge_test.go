package evidence_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/listing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// bounceWith returns a bounce with the given fields on top and the given
// original.
func bounceWith(top, original string) []byte {
	return []byte(top + `From: Mail Delivery System <MAILER-DAEMON@bounces.example>
To: info@trap.example
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; bounces.example

Final-Recipient: rfc822; nobody@bounces.example
Action: failed
Status: 5.1.1

--b
Content-Type: text/rfc822-headers

` + original + "\n--b--\n")
}

const (
	direct  = "Received: from bounces.example (bounces.example [192.0.2.66]) by mx.trap.example (Postfix) with ESMTP id 1;\n\tSat, 21 Nov 2026 10:00:00 +0000\n"
	relayed = "Received: from relay.example (relay.example [203.0.113.5]) by mx.trap.example (Postfix) with ESMTP id 1; Sat, 21 Nov 2026 10:00:10 +0000\n"
	spam    = "Received: from pool.example (pool.example [198.51.100.9]) by bounces.example (Postfix) id 2; Sat, 21 Nov 2026 09:59:50 +0000\nMessage-ID: <spam@pool.example>\nFrom: info@trap.example\nDate: Sat, 21 Nov 2026 09:59:40 +0000\n"
)

// TestAttribute holds the ways by which a message comes to a reporter.
func TestAttribute(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		top    string
		client string
		held   bool
		source string
		level  string
	}{
		{"the sensor held the session", "", "192.0.2.66", true, "192.0.2.66", "A"},
		{"held, and lines below are the client's", direct, "192.0.2.99", true, "192.0.2.99", "A"},
		{"held, mapped", "", "::ffff:192.0.2.66", true, "192.0.2.66", "A"},
		{"held, IPv6", "", "2001:db8:bad::1", true, "2001:db8:bad::1", "A"},
		{"client by the reporter's word", "", "192.0.2.66", false, "192.0.2.66", "B"},
		{"through a relay", direct, "203.0.113.5", true, "192.0.2.66", "B"},
		{"through two relays", relayed + direct, "203.0.113.6", true, "192.0.2.66", "B"},
		{"relay without a line", "", "203.0.113.5", true, "", "C"},
		{"the relay's own bounce", "Received: by relay.example (Postfix) id 3; Sat, 21 Nov 2026 10:00:00 +0000\n", "203.0.113.5", true, "", "C"},
		{"out of a mailbox", direct, "", false, "192.0.2.66", "B"},
		{"out of a mailbox, forwarded by a relay", relayed + direct, "", false, "192.0.2.66", "B"},
		{"out of a mailbox that is behind a scanner", "Received: from localhost (localhost [127.0.0.1]) by mx.trap.example (Postfix) with ESMTP id 9\n" + direct, "", false, "192.0.2.66", "B"},
		{"out of a provider that fetched it from an alias", "Received: by 2002:a05:1 with SMTP id 1\nX-Received: by 2002:a05:2 with SMTP id 2\nReceived: from relay.example (relay.example. [203.0.113.5]) by mx.provider.example with ESMTPS id 3\n" + direct, "", false, "192.0.2.66", "B"},
		{"fetched by POP from a host that is no relay", "Received: from pop.example [198.51.100.20] by localhost with POP3 (fetchmail-6.4.0)\n" + direct, "", false, "", "C"},
		{"fetched by POP from a relay", "Received: from pop.example [203.0.113.7] by localhost with POP3 (fetchmail-6.4.0)\n" + direct, "", false, "192.0.2.66", "B"},
		{"handed in by a user of the relay", "Received: by relay.example (Postfix, from userid 33) id 3\n" + direct, "203.0.113.5", true, "", "C"},
		{"handed in by a user of the relay, with Sendmail", "Received: (from www@localhost) by relay.example (8.17.1/8.17.1/Submit) id 3; Sat, 21 Nov 2026 10:00:00 +0000\n" + direct, "203.0.113.5", true, "", "C"},
		{"handed in through a web page on loopback", "Received: from localhost ([127.0.0.1]) by relay.example with HTTP\n" + direct, "203.0.113.5", true, "", "C"},
		{"a line that does not say who", "Received: from bounces.example by mx.trap.example with SMTP id 1\n" + direct, "", false, "", "C"},
		{"a private address", "Received: from x (x [10.0.0.7]) by mx.trap.example with SMTP id 1\n" + direct, "", false, "", "C"},
		{"a forged line below", direct + "Received: from innocent.example (innocent.example [198.51.100.77]) by bounces.example with SMTP id 1\n", "", false, "192.0.2.66", "B"},
		{"nothing at all", "", "", false, "", "C"},
	}
	j := newJudge(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := j.Judge(evidence.Report{
				Raw: bounceWith(tt.top, spam), Reporter: "local", Received: now, Held: tt.held,
				Envelope: evidence.Envelope{Client: addr(tt.client), Recipients: []string{"info@trap.example"}},
			}, now)
			source := ""
			if f.Source.IsValid() {
				source = f.Source.String()
			}
			if source != tt.source || f.Level.String() != tt.level {
				t.Errorf("source %q level %s, want %q level %s", source, f.Level, tt.source, tt.level)
			}
			wantVerdict, wantReason := evidence.Proven, ""
			if tt.source == "" {
				wantVerdict, wantReason = evidence.Unproven, evidence.ReasonUnattributed
			}
			if f.Verdict != wantVerdict || f.Reason != wantReason {
				t.Errorf("verdict %s (%s), want %s (%s)", f.Verdict, f.Reason, wantVerdict, wantReason)
			}
		})
	}
}

// TestSpecialAddresses tries every special-purpose block as a client.
func TestSpecialAddresses(t *testing.T) {
	t.Parallel()
	j := newJudge(t, func(c *evidence.Config) { c.Listable = nil })
	for _, s := range listing.Specials {
		f := j.Judge(evidence.Report{
			Raw: bounceWith("", spam), Reporter: "local", Held: true, Received: now,
			Envelope: evidence.Envelope{Client: s.Prefix.Addr(), Recipients: []string{"info@trap.example"}},
		}, now)
		if f.Source.IsValid() || f.Reason != evidence.ReasonUnattributed {
			t.Errorf("%s (%s): source %s, reason %s", s.Prefix, s.Name, f.Source, f.Reason)
		}
		if f.Original.Origin.IsValid() {
			t.Errorf("origin %s is special", f.Original.Origin)
		}
	}
}

// TestGuards holds each reason for which a finding is not proven.
func TestGuards(t *testing.T) {
	t.Parallel()
	ours := "Received: from mx.ours.example (mx.ours.example [203.0.113.5]) by bounces.example (Postfix) id 2; Sat, 21 Nov 2026 09:59:50 +0000\n" + spam
	tests := []struct {
		name    string
		report  func(*evidence.Report)
		config  func(*evidence.Config)
		verdict evidence.Verdict
		reason  string
		kept    bool
	}{
		{name: "proven", verdict: evidence.Proven, kept: true},
		{name: "other", report: func(r *evidence.Report) {
			r.Raw = []byte(direct + "From: a@b.example\nSubject: hello\n\nHow are you?\n")
		}, verdict: evidence.Unproven, reason: "other"},
		{name: "no trap", report: func(r *evidence.Report) { r.Envelope.Recipients = []string{"jane@real.example"} }, verdict: evidence.Unproven, reason: "no-proof"},
		{name: "a sender of the trap domain", report: func(r *evidence.Report) { r.Envelope.Recipients = []string{"postmaster@trap.example"} }, verdict: evidence.Unproven, reason: "no-proof"},
		{name: "one trap among the recipients", report: func(r *evidence.Report) {
			r.Envelope.Recipients = []string{"jane@real.example", "INFO@Trap.Example"}
		}, verdict: evidence.Proven, kept: true},
		{name: "genuine", report: func(r *evidence.Report) {
			r.Raw, r.Envelope.Recipients = bounceWith(direct, ours), []string{"jane@real.example"}
		}, verdict: evidence.Unproven, reason: "genuine"},
		{name: "a trap beats every sign", report: func(r *evidence.Report) { r.Raw = bounceWith(direct, ours) }, verdict: evidence.Proven, kept: true},
		{name: "double", report: func(r *evidence.Report) { r.Raw = bounceWith(direct, "Return-Path: <>\n"+spam) }, verdict: evidence.Unproven, reason: "double"},
		{name: "stale by the sensor", report: func(r *evidence.Report) { r.Received = now.Add(-169 * time.Hour) }, verdict: evidence.Unproven, reason: "stale", kept: true},
		{name: "stale by the trusted line", report: func(r *evidence.Report) {
			r.Raw = bounceWith(strings.Replace(direct, "21 Nov", "11 Nov", 1), spam)
		}, verdict: evidence.Unproven, reason: "stale", kept: true},
		{name: "a Date field makes nothing stale", report: func(r *evidence.Report) {
			r.Raw = append([]byte("Date: Sat, 21 Nov 2020 09:59:40 +0000\n"), r.Raw...)
		}, verdict: evidence.Proven, kept: true},
		{name: "exempt", config: func(c *evidence.Config) { c.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.64/28")} }, verdict: evidence.Unproven, reason: "exempt", kept: true},
		{name: "empty", report: func(r *evidence.Report) { r.Raw = []byte(" \r\n\n") }, verdict: evidence.Failed, reason: "empty"},
		{name: "not enrolled", report: func(r *evidence.Report) { r.Reporter = "stranger" }, verdict: evidence.Failed, reason: "reporter"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := newJudge(t, func(c *evidence.Config) {
				if tt.config != nil {
					tt.config(c)
				}
			})
			r := evidence.Report{
				Raw: bounceWith(direct, spam), Reporter: "local", Sensor: "report", Received: now,
				Envelope: evidence.Envelope{Recipients: []string{"info@trap.example"}},
			}
			if tt.report != nil {
				tt.report(&r)
			}
			f := j.Judge(r, now)
			if f.Verdict != tt.verdict || f.Reason != tt.reason {
				t.Errorf("verdict %s (%s), want %s (%s)", f.Verdict, f.Reason, tt.verdict, tt.reason)
			}
			if _, kept := f.Observation(); kept != tt.kept {
				t.Errorf("kept %t, want %t", kept, tt.kept)
			}
		})
	}
}

// TestEnvelopeFromMessage holds the places in which a recipient is found.
func TestEnvelopeFromMessage(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	tests := []struct {
		name, top string
		trap      bool
	}{
		{"To", direct, true},
		{"X-Original-To", "X-Original-To: trap7@trap.example\n" + direct, true},
		{"Delivered-To of somebody else", "Delivered-To: jane@real.example\n" + direct, false},
		{"Envelope-To", "Envelope-To: <trap7@trap.example>\n" + direct, true},
		{"for", strings.Replace(direct, ";", " for <jane@real.example>;", 1), false},
		{"between the lines of two relays", relayed + "X-Original-To: trap7@trap.example\n" + strings.Replace(direct, ";", " for <jane@real.example>;", 1), true},
		// What came through an innocent forwarder, below its line and the one that names it.
		{"X-Original-To by a stranger", "Delivered-To: jane@real.example\n" + direct + "X-Original-To: x@trap.example\nEnvelope-To: x@trap.example\n", false},
		{"X-Original-To by a stranger, where the line tells for whom", strings.Replace(direct, ";", " for <jane@real.example>;", 1) + "X-Original-To: x@trap.example\n", false},
		{"X-Original-To by a stranger, behind a relay", relayed + strings.Replace(direct, ";", " for <jane@real.example>;", 1) + "X-Original-To: x@trap.example\n", false},
	}
	// By the word of a reporter that names the client, and no recipients.
	for top, trap := range map[string]bool{
		"X-Original-To: x@trap.example\n" + direct:                                       true,
		"Delivered-To: jane@real.example\n" + direct + "X-Original-To: x@trap.example\n": false,
	} {
		f := j.Judge(evidence.Report{Raw: bounceWith(top, spam), Reporter: "local", Received: now, Envelope: evidence.Envelope{Client: addr("192.0.2.66")}}, now)
		if f.RecipientTrap != trap {
			t.Errorf("%q: trap %t, want %t", top, f.RecipientTrap, trap)
		}
	}
	for _, tt := range tests {
		f := j.Judge(evidence.Report{Raw: bounceWith(tt.top, spam), Reporter: "local", Received: now}, now)
		if f.RecipientTrap != tt.trap {
			t.Errorf("%s: trap %t, want %t", tt.name, f.RecipientTrap, tt.trap)
		}
	}
}

// TestDelivered: a report counts in full as soon as the message failed, or may
// yet fail, for one recipient.
func TestDelivered(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	group := func(action, status string) string {
		return "Final-Recipient: rfc822; nobody@bounces.example\nAction: " + action + "\nStatus: " + status + "\n"
	}
	for _, tt := range []struct {
		name, groups, status string
		delivered            bool
	}{
		{"failed", group("failed", "5.1.1"), "5.1.1", false},
		{"delayed", group("delayed", "4.4.7"), "4.4.7", false},
		{"delivered", group("delivered", "2.1.5"), "2.1.5", true},
		{"relayed", group("Relayed (to non-DSN mailer)", "2.6.0"), "2.6.0", true},
		{"expanded, without a status", "Final-Recipient: rfc822; all@bounces.example\nAction: expanded\n", "", true},
		{"delivered, by its action alone", group("delivered", "5.0.0"), "5.0.0", false},
		{"delivered, then failed", group("delivered", "2.1.5") + "\n" + group("failed", "5.2.2"), "5.2.2", false},
		{"delivered twice", group("delivered", "2.1.5") + "\n" + group("relayed", "2.6.0"), "2.1.5", true},
	} {
		raw := strings.Replace(string(bounceWith(direct, spam)), group("failed", "5.1.1"), tt.groups, 1)
		f := j.Judge(evidence.Report{Raw: []byte(raw), Reporter: "local", Received: now, Envelope: evidence.Envelope{Recipients: []string{"info@trap.example"}}}, now)
		o, ok := f.Observation()
		if !ok || f.Class != listing.ClassBounce || o.Delivered != tt.delivered || o.Traces.Status != tt.status {
			t.Errorf("%s: class %s, kept %t, delivered %t, status %q", tt.name, f.Class, ok, o.Delivered, o.Traces.Status)
		}
		weight := map[bool]string{true: "0.5", false: "1.0"}[tt.delivered]
		for _, c := range listing.Solo().Decide(listing.History{Evidence: []listing.Evidence{o.Evidence(1)}}, o.At).Thresholds {
			if c.Name == "score" && c.Found != weight {
				t.Errorf("%s: score %s, want %s", tt.name, c.Found, weight)
			}
		}
	}
}

// TestReportWithALink: a delivery report with a link and without the original is
// believed when the host that it names is the one that sent it, by any word of the
// session or the trail; else it is what phishing looks like.
func TestReportWithALink(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	report := func(top, from string) []byte {
		return []byte(top + "From: " + from + "\nTo: info@trap.example\nSubject: Notice\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n" +
			"--b\n\nSee https://help.example/\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.bounces.example\n\n" +
			"Final-Recipient: rfc822; nobody@bounces.example\nAction: failed\nStatus: 5.1.1\n--b--\n")
	}
	relay := "Received: from other.example (other.example [192.0.2.66]) by relay.example (Postfix) with ESMTP id 1\n"
	for _, tt := range []struct {
		name, top, from, helo, ptr string
		class                      listing.Class
	}{
		{"by HELO", "", "a@b.example", "OUT.bounces.example", "", listing.ClassBounce},
		{"by PTR", "", "a@b.example", "x", "out.Bounces.example", listing.ClassBounce},
		{"by the trail", direct, "a@b.example", "", "", listing.ClassBounce},
		{"by From alone", "", "daemon@bounces.example", "", "", listing.ClassBounce},
		{"another host", "", "daemon@bounces.example", "other.example", "other.example", listing.ClassOther},
		{"another host in the trail", relay, "daemon@bounces.example", "", "", listing.ClassOther},
	} {
		f := j.Judge(evidence.Report{
			Raw: report(tt.top, tt.from), Reporter: "local", Received: now,
			Envelope: evidence.Envelope{HELO: tt.helo, PTR: tt.ptr, Recipients: []string{"info@trap.example"}},
		}, now)
		if f.Class != tt.class {
			t.Errorf("%s: class %s by %v", tt.name, f.Class, f.Rules)
		}
	}
}

// TestObservation compares all that is kept of a proven finding.
func TestObservation(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	f := j.Judge(evidence.Report{Raw: read(t, "postfix"), Reporter: "local", Sensor: "report", Received: now}, now)
	got, ok := f.Observation()
	if !ok {
		t.Fatalf("nothing to keep of %+v", f)
	}
	want := listing.Observation{
		Addr: addr("192.0.2.66"), Class: listing.ClassBounce, At: now.Add(-30 * time.Second), Level: listing.LevelB,
		Proofs: listing.ProofSetOf(listing.ProofTrap), Reporter: "local", Organisation: "lab", Sensor: "report", TrapDomain: "trap.example",
		Traces: listing.Traces{
			MessageID: "postfix@bounces.example", QueueID: "7C1F2A00B", ReportingMTA: "bounces.example", Status: "5.1.1",
			Diagnostic: "550 5.1.1 User unknown", HELO: "bounces.example", PTR: "bounces.example", Origin: addr("198.51.100.9"),
			FailedDomain: "bounces.example", Product: "Postfix", URLHosts: []string{"watches.example"},
		},
	}
	for _, id := range []*listing.ID{&got.ID, &got.Recipient, &got.Original, &got.Traces.Subject} {
		if id.IsZero() {
			t.Errorf("an identity is missing: %+v", got)
		}
		*id = listing.ID{}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	begin := `{"path":"","index":0,"class":"bounce","verdict":"proven","reason":"","proofs":["trap"],"level":"B","source":"192.0.2.66","recipient_trap":true,"original":{"returned":"full","message_id":"20261121.spam.1@pool-9.isp.example","origin":"198.51.100.9"}`
	if !strings.HasPrefix(string(text), begin) {
		t.Errorf("JSON %s", text)
	}
}

// TestIdentity: what one host says of one message is one observation, whatever
// it says; other messages, hosts and reporters are others.
func TestIdentity(t *testing.T) {
	t.Parallel()
	j := newJudge(t, func(c *evidence.Config) {
		c.Reporters = append(c.Reporters, evidence.Reporter{Name: "other"})
	})
	id := func(raw []byte, reporter string) listing.ID {
		t.Helper()
		o, ok := j.Judge(evidence.Report{Raw: raw, Reporter: reporter, Received: now}, now).Observation()
		if !ok {
			t.Fatal("not proven")
		}
		return o.ID
	}
	failed, delayed := read(t, "postfix"), read(t, "postfix-delayed")
	without := func(raw []byte, line string) []byte {
		return []byte(strings.Replace(string(raw), line, "", 1))
	}
	messageID := "Message-ID: <" + spamID + ">\n"
	same := map[string][2]listing.ID{
		"by Message-ID": {id(failed, "local"), id(delayed, "local")},
		"by queue id":   {id(without(failed, messageID), "local"), id(without(delayed, messageID), "local")},
		"by arrival": {
			id(without(without(failed, messageID), "X-Postfix-Queue-ID: 7C1F2A00B\n"), "local"),
			id(without(without(delayed, messageID), "X-Postfix-Queue-ID: 7C1F2A00B\n"), "local"),
		},
	}
	seen := map[listing.ID]string{}
	for name, ids := range same {
		if ids[0] != ids[1] {
			t.Errorf("%s: a delay and its failure differ", name)
		}
		if other, ok := seen[ids[0]]; ok {
			t.Errorf("%s and %s are the same", name, other)
		}
		seen[ids[0]] = name
	}
	for name, other := range map[string]listing.ID{
		"reporter": id(failed, "other"),
		"original": id([]byte(strings.Replace(string(failed), "spam.1", "spam.2", 1)), "local"),
		"source":   id([]byte(strings.Replace(string(failed), "[192.0.2.66]", "[192.0.2.67]", 1)), "local"),
	} {
		if other == id(failed, "local") {
			t.Errorf("another %s makes no difference", name)
		}
	}
}

// TestCRAlone judges a mailbox file of an old Macintosh. The line in front was
// written by whoever stored the message, so it tells how lines end; an LF that
// the sender put into the text does not begin a line, and no header.
func TestCRAlone(t *testing.T) {
	t.Parallel()
	forged := strings.ReplaceAll(direct, "192.0.2.66", "198.51.100.77")
	stored := strings.ReplaceAll("From MAILER-DAEMON Sat Nov 21 10:00:00 2026\n"+string(bounceWith(direct, spam)), "\n", "\r")
	for _, raw := range []string{
		stored,
		stored + "\n" + string(bounceWith(forged, spam)),
		stored + "\n\nFrom MAILER-DAEMON Sat Nov 21 10:00:00 2026\n" + string(bounceWith(forged, spam)),
	} {
		f := newJudge(t).Judge(evidence.Report{Raw: []byte(raw), Reporter: "local", Received: now}, now)
		if f.Source != addr("192.0.2.66") || f.Class != listing.ClassBounce {
			t.Errorf("%s from %s, want a bounce from 192.0.2.66", f.Class, f.Source)
		}
	}
}

// TestSourceCannotBeMoved: whatever a sender writes below its own hop, and
// whatever it calls itself, the accused address does not change.
func TestSourceCannotBeMoved(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	lines := rapid.SliceOfN(rapid.OneOf(
		rapid.SampledFrom([]string{
			"Received: from innocent.example (innocent.example [198.51.100.77]) by bounces.example with SMTP id 1",
			"Received: from relay.example (relay.example [203.0.113.5]) by mx.trap.example with ESMTP id 1",
			"Received: from localhost ([127.0.0.1]) by mx.trap.example with ESMTP id 1",
			"Received: by mx.trap.example (Postfix) id 1", "Received: (qmail 1 invoked from network)",
			"X-Originating-IP: [198.51.100.77]", "", " continued", "--b", "From nobody", "Content-Type: message/rfc822",
			"Received: from x (x [198.51.100.77]) by mx.trap.example\rReceived: from y (y [198.51.100.78]) by z", "\x00",
		}),
		rapid.StringN(0, 60, 200),
	), 0, 12)
	helo := rapid.StringMatching(`[!-'*-:=?-~]{1,40}`)
	rapid.Check(t, func(rt *rapid.T) {
		below := strings.Join(lines.Draw(rt, "below"), "\n")
		name := helo.Draw(rt, "helo")
		top := "Received: from relay.example (relay.example [203.0.113.5]) by mx.trap.example (Postfix) with ESMTP id 1\n" +
			"Received: from " + name + " (bounces.example [192.0.2.66]) by relay.example (Postfix) with ESMTP id 2\n"
		for _, client := range []string{"", "203.0.113.6"} {
			f := j.Judge(evidence.Report{Raw: []byte(top + below + "\n\nbody\n"), Reporter: "local", Received: now, Envelope: evidence.Envelope{Client: addr(client)}}, now)
			if f.Source != addr("192.0.2.66") {
				rt.Fatalf("source %s", f.Source)
			}
		}
	})
}

func TestNewJudgeReportsAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := evidence.NewJudge(evidence.Config{
		Reporters: []evidence.Reporter{{}, {Name: "a"}, {Name: "a", Relays: []netip.Prefix{{}}}},
		Window:    -1,
	})
	if !errors.Is(err, evidence.ErrConfig) {
		t.Fatalf("error %v", err)
	}
	for _, words := range []string{"has no name", "is there twice", "no valid prefix", "negative"} {
		if !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
}

func TestTraps(t *testing.T) {
	t.Parallel()
	traps, err := evidence.NewTraps([]evidence.Trap{
		{Domain: "Trap.Example.", Senders: []string{"Postmaster", "abuse@trap.example"}},
		{Domain: "trap.example", Senders: []string{"o'neil \"bob\""}},
		{Address: "Left-In-2009@org.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for rcpt, domain := range map[string]string{
		"a@trap.example": "trap.example", "<A@TRAP.EXAMPLE>": "trap.example", "a@trap.example.": "trap.example",
		"left-in-2009@org.example": "org.example", "postmaster@trap.example": "", "ABUSE@trap.example": "",
		"b@org.example": "", "a@sub.trap.example": "", "a@xtrap.example": "", "trap.example": "", "@trap.example": "", "": "",
		strings.Repeat("a", 400) + "@trap.example": "",
		// What belongs to a sender.
		"postmaster+news@trap.example": "", "prvs=0123456789=Postmaster@trap.example": "", "prvs=0123456789=abuse+x@trap.example": "",
		`"postmaster"@trap.example`: "", `"post\master"@trap.example`: "", `"o'neil \"bob\""@trap.example`: "",
		"postmaster-news@trap.example": "trap.example", "prvs=postmaster@trap.example": "trap.example", "a+postmaster@trap.example": "trap.example",
		`"left-in-2009"@org.example`: "org.example", "left-in-2009+x@org.example": "", `"@trap.example`: "trap.example",
	} {
		got, ok := traps.IsTrap(rcpt)
		if got != domain || ok != (domain != "") {
			t.Errorf("%.40q: %q, %t, want %q", rcpt, got, ok, domain)
		}
	}
	_, err = evidence.NewTraps([]evidence.Trap{{}, {Domain: "a b"}, {Address: "nobody"}, {Domain: "a.example", Address: "x@a.example"}, {Domain: "a.example", Senders: []string{"x@b.example"}}, {Address: "x@a.example", Senders: []string{"y"}}})
	for n := 1; n <= 6; n++ {
		if !errors.Is(err, evidence.ErrTrap) || !strings.Contains(err.Error(), fmt.Sprintf("trap %d:", n)) {
			t.Errorf("error %v does not name trap %d", err, n)
		}
	}
}
