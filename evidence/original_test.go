package evidence_test

import (
	"encoding/base64"
	"fmt"
	"html"
	"slices"
	"strings"
	"testing"

	"backscatter/evidence"
	"backscatter/listing"

	"github.com/google/go-cmp/cmp"
)

// spamWith is an original with a link in its body, under the given encoding.
func spamWith(encoding, body string) string {
	return `Return-Path: <jane@trap.example>
Received: from pool-9.isp.example (pool-9.isp.example [198.51.100.9])
	by bounces.example (Postfix) with SMTP id 4XyZ12
	for <nobody@bounces.example>; Sat, 21 Nov 2026 09:59:50 +0000 (UTC)
Message-ID: <1@pool-9.isp.example>
From: Jane <jane@trap.example>
To: nobody@bounces.example
Subject: =?utf-8?q?W=C3=A4tches?=
Date: Sat, 21 Nov 2026 09:59:40 +0000
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: ` + encoding + `

` + body
}

const pitch = "Dear friend,\n\nbuy at https://watches.example/now or http://Second.example:8080/x?y=z today.\n"

var (
	plainSpam  = spamWith("7bit", pitch)
	base64Spam = spamWith("base64", folded(base64.StdEncoding.EncodeToString([]byte(pitch))))
	quotedSpam = spamWith("quoted-printable", strings.ReplaceAll(strings.ReplaceAll(pitch, "watches.example", "wat=\nches.example"), "=z", "=3Dz"))
)

func folded(s string) string {
	var b strings.Builder
	for line := range slices.Chunk([]byte(s), 76) {
		b.Write(line)
		b.WriteByte('\n')
	}
	return b.String()
}

func prefixed(prefix, text string) string {
	return prefix + strings.TrimSuffix(strings.ReplaceAll(text, "\n", "\n"+prefix), prefix)
}

func headersOf(original string) string {
	head, _, _ := strings.Cut(original, "\n\n")
	return head + "\n"
}

// TestOriginal holds the places in which an original comes back, and wants the
// same of each: what it was, where it came from, and one identity for a delay
// and the failure that follows.
func TestOriginal(t *testing.T) {
	t.Parallel()
	part := func(fields, body string) string {
		return "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\nIt failed.\n\n--b\nContent-Type: message/delivery-status\n\n" +
			"Reporting-MTA: dns; bounces.example\n\nFinal-Recipient: rfc822; nobody@bounces.example\nAction: ACTION\nStatus: 5.1.1\n\n--b\n" + fields + "\n\n" + body + "\n--b--\n"
	}
	text := func(fields, body string) string { return fields + "\n\n" + body }
	report := "This is the mail system. Your message could not be delivered (ACTION):\n\n<nobody@bounces.example>: 550 5.1.1 user unknown\n\n"
	encoded := func(s string) string { return folded(base64.StdEncoding.EncodeToString([]byte(s))) }
	asHTML := func(s string) string {
		return strings.ReplaceAll(html.EscapeString(s), "\n", "<br>\n")
	}
	full, headers := evidence.ReturnedFull, evidence.ReturnedHeaders
	tests := []struct {
		name, rest string
		returned   evidence.Returned
	}{
		{"message/rfc822", part("Content-Type: message/rfc822", plainSpam), full},
		{"message/rfc822 with base64 within", part("Content-Type: message/rfc822", base64Spam), full},
		{"message/rfc822 with quoted-printable within", part("Content-Type: message/rfc822", quotedSpam), full},
		{"message/global", part("Content-Type: message/global", plainSpam), full},
		{"message/partial", part("Content-Type: message/partial; id=x; number=1; total=3", plainSpam), full},
		{"base64 message/rfc822", part("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64", encoded(plainSpam)), full},
		{"quoted-printable message/rfc822", part("Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable", strings.ReplaceAll(plainSpam, "=", "=3D")), full},
		{"text/rfc822-headers", part("Content-Type: text/rfc822-headers", headersOf(plainSpam)), headers},
		{"message/global-headers", part("Content-Type: message/global-headers", headersOf(plainSpam)), headers},
		{"quoted", text("Content-Type: text/plain", report+"Your message follows:\n\n"+prefixed("> ", plainSpam)), full},
		{"quoted without a space", text("Content-Type: text/plain", report+prefixed(">", plainSpam)), full},
		{"indented", text("Content-Type: text/plain", report+"Original mail as follows:\n\n"+prefixed("    ", plainSpam)), full},
		{"in the text", text("Content-Type: text/plain", report+"--- Below this line is a copy of the message.\n\n"+plainSpam), full},
		{"in the text, base64 within", text("Content-Type: text/plain", report+"--- Below this line is a copy of the message.\n\n"+base64Spam), full},
		{"headers in the text", text("Content-Type: text/plain", report+"----- Message header follows -----\n\n"+headersOf(plainSpam)), headers},
		{"in a base64 text", text("Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64", encoded(report+"------ This is a copy of the message ------\n\n"+plainSpam)), full},
		{"in HTML", text("Content-Type: text/html", "<html><body><p>"+asHTML(report)+"</p><p>Original message headers:</p><pre>"+html.EscapeString(headersOf(plainSpam))+"</pre></body></html>"), headers},
		{"in HTML with line breaks", text("Content-Type: text/html", "<html><body>"+asHTML(report+"Original message:\n\n"+plainSpam)+"</body></html>"), full},
		{"in a text part beside", text("Content-Type: multipart/mixed; boundary=b", "--b\n\n"+report+"\n--b\nContent-Type: text/plain; name=original.txt\n\n"+plainSpam+"\n--b--\n"), full},
		{"in a text part without an end", text("Content-Type: multipart/mixed; boundary=b", "--b\n\n"+report+"\n--b\nContent-Type: message/rfc822\n\n"+plainSpam), full},
	}
	j := newJudge(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var ids []listing.ID
			for _, action := range []string{"failed", "delayed"} {
				raw := direct + "From: Mail Delivery System <MAILER-DAEMON@bounces.example>\nTo: jane@trap.example\nSubject: Undelivered mail (" + action + ")\nMIME-Version: 1.0\n" +
					strings.ReplaceAll(tt.rest, "ACTION", action)
				f := j.Judge(evidence.Report{Raw: []byte(raw), Reporter: "local", Received: now}, now)
				m, err := evidence.Parse([]byte(raw))
				if err != nil {
					t.Fatal(err)
				}
				o := m.Original
				got := fmt.Sprintln(f.Original.Returned, f.Original.MessageID, f.Original.Origin, o.From, o.Subject, o.Date, o.To, o.ReturnPath)
				want := fmt.Sprintln(tt.returned, "1@pool-9.isp.example 198.51.100.9 Jane <jane@trap.example> Wätches Sat, 21 Nov 2026 09:59:40 +0000 nobody@bounces.example <jane@trap.example>")
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", action, diff)
				}
				hosts := []string{"watches.example", "second.example"}
				if tt.returned == headers {
					hosts = nil
				}
				if diff := cmp.Diff(hosts, f.Traces.URLHosts); diff != "" {
					t.Errorf("%s: hosts of URLs (-want +got):\n%s", action, diff)
				}
				kept, ok := f.Observation()
				if !ok {
					t.Fatalf("%s: %s (%s)", action, f.Verdict, f.Reason)
				}
				ids = append(ids, kept.ID)
			}
			if ids[0] != ids[1] {
				t.Error("a delay and its failure are two")
			}
		})
	}
}

// TestOrigin holds what tells where the original came from, and what does not.
func TestOrigin(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	sendmail := "   ----- The following addresses had permanent fatal errors -----\n<nobody@bounces.example>\n   ----- Transcript of session follows -----\n550 5.1.1 user unknown\n"
	for _, tt := range []struct{ name, raw, want string }{
		{"Sendmail's sentence", "Subject: Returned mail\n\nThe original message was received at Sat, 21 Nov 2026 09:59:50 GMT\nfrom pool.example [198.51.100.9]\n\n" + sendmail, "198.51.100.9"},
		{"Sendmail's sentence, IPv6", "Subject: Returned mail\n\nThe original message was received at Sat, 21 Nov 2026 09:59:50 GMT\nfrom pool.example [IPv6:2001:db8:bad::9]\n\n" + sendmail, "2001:db8:bad::9"},
		{"Sendmail's sentence, of the host itself", "Subject: Returned mail\n\nThe original message was received at Sat, 21 Nov 2026 09:59:50 GMT\nfrom localhost [127.0.0.1]\n\n" + sendmail, "invalid IP"},
		{"a private origin", string(bounceWith("", "Received: from x (x [10.1.2.3]) by bounces.example with SMTP id 2\nMessage-ID: <1@x.example>\nFrom: a@b.example\n")), "invalid IP"},
		{"X-Originating-IP", string(bounceWith("", "X-Originating-IP: [198.51.100.9]\nMessage-ID: <1@x.example>\nFrom: a@b.example\n")), "198.51.100.9"},
		{"a claim below the reporting host's line", string(bounceWith("", spam+"Received: from innocent.example (innocent.example [198.51.100.77]) by elsewhere.example with SMTP id 3\n")), "198.51.100.9"},
		{"Received-From-MTA", strings.Replace(string(bounceWith("", "Message-ID: <1@x.example>\nFrom: a@b.example\n")), "Reporting-MTA", "Received-From-MTA: dns; pool.example [198.51.100.9]\nReporting-MTA", 1), "198.51.100.9"},
		{"nothing", string(bounceWith("", "Message-ID: <1@x.example>\nFrom: a@b.example\n")), "invalid IP"},
	} {
		f := j.Judge(evidence.Report{Raw: []byte("From: MAILER-DAEMON@bounces.example\n" + tt.raw), Reporter: "local", Received: now}, now)
		if got := f.Original.Origin.String(); got != tt.want {
			t.Errorf("%s: origin %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestEximIdentity: a warning of Exim, which returns nothing, is about the same
// original as the failure that follows.
func TestEximIdentity(t *testing.T) {
	t.Parallel()
	const id = "1vMabc-000000004Xy-1Zab"
	exim := "Received: from [198.51.100.9] (helo=pool.example)\n\tby bounces.example with esmtp (Exim 4.98)\n\tid " + id + "\n\tfor nobody@bounces.example; Sat, 21 Nov 2026 09:59:50 +0000\nMessage-ID: <1@pool.example>\nFrom: info@trap.example\nSubject: watches\nDate: Sat, 21 Nov 2026 09:59:40 +0000\n\nBuy.\n"
	head := direct + "From: Mail Delivery System <Mailer-Daemon@bounces.example>\nTo: info@trap.example\nAuto-Submitted: auto-replied\n"
	warning := head + "Subject: Warning: message " + id + " delayed 24 hours\n\nThis message was created automatically by mail delivery software.\nA message that you sent has not yet been delivered to one or more of its\nrecipients after more than 24 hours on the queue on bounces.example.\n\nThe message identifier is:     " + id + "\nThe subject of the message is: watches\nThe date of the message is:    Sat, 21 Nov 2026 09:59:40 +0000\n\nThe address to which the message has not yet been delivered is:\n\n  nobody@bounces.example\n"
	failure := head + "X-Failed-Recipients: nobody@bounces.example\nSubject: Mail delivery failed: returning message to sender\n\nThis message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent error.\n\n  nobody@bounces.example\n    retry timeout exceeded\n\n------ This is a copy of the message, including all the headers. ------\n\n" + exim
	j := newJudge(t)
	var ids []listing.ID
	for _, raw := range []string{warning, failure} {
		o, ok := j.Judge(evidence.Report{Raw: []byte(raw), Reporter: "local", Received: now}, now).Observation()
		if !ok {
			t.Fatalf("not kept: %.80s", raw)
		}
		ids = append(ids, o.ID)
	}
	if ids[0] != ids[1] {
		t.Error("a warning and its failure are two")
	}
	other, _ := j.Judge(evidence.Report{Raw: []byte(strings.ReplaceAll(failure, "4Xy", "4Xz")), Reporter: "local", Received: now}, now).Observation()
	if other.ID == ids[1] {
		t.Error("two messages are one")
	}
}
