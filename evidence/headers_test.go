package evidence_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
)

// keptHeader hands in a bounce with more fields, to a trap, and returns the header
// that the observation carries.
func keptHeader(tb testing.TB, rcpt, fields string, keep bool) (header string, kept bool) {
	tb.Helper()
	traps, err := evidence.NewTraps([]evidence.Trap{{Domain: "trap.example"}})
	if err != nil {
		tb.Fatal(err)
	}
	judge, err := evidence.NewJudge(evidence.Config{
		Reporters: []evidence.Reporter{{Name: "local", Organisation: "local"}}, Traps: traps,
		Listable: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Key: [32]byte{1, 2, 3}, Headers: keep,
	})
	if err != nil {
		tb.Fatal(err)
	}
	raw := strings.ReplaceAll(fields+`From: Mail Delivery System <MAILER-DAEMON@mx.out.example>
To: `+rcpt+`
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b

This is the mail system at host mx.out.example. I'm sorry to have to inform you that
your message could not be delivered to one or more recipients.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.out.example

Final-Recipient: rfc822; nobody@out.example
Action: failed
Status: 5.1.1

--b
Content-Type: message/rfc822

Received: from zombie.example ([198.51.100.9]) by mx.out.example
Message-ID: <spam-of-tuesday@zombie.example>
From: `+rcpt+`
Subject: cheap pills of tuesday

Buy.
--b--
`, "\n", "\r\n")
	f := judge.Judge(evidence.Report{
		Raw: []byte(raw), Held: true, Reporter: "local", Sensor: "smtp",
		Envelope: evidence.Envelope{Client: netip.MustParseAddr("192.0.2.66"), MailFromKnown: true, Recipients: []string{rcpt}},
	}, time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC))
	o, ok := f.Observation()
	return o.Headers, ok
}

func TestHeaderOff(t *testing.T) {
	t.Parallel()
	if got, ok := keptHeader(t, "ana@trap.example", "", false); got != "" || !ok {
		t.Errorf("carried, and nobody asked for it: %q", got)
	}
}

// What helps an operator stays, and nothing tells who the trap is, or which of a
// spammer's messages came to it.
func TestHeaderRedacted(t *testing.T) {
	t.Parallel()
	const secret = "olga-2009"
	const address = secret + "@trap.example"
	got, ok := keptHeader(t, address, `Received: from mx.out.example (mx.out.example [192.0.2.66])
	by trap.example with ESMTP id 4F00 for <`+address+`>;
	Sat, 21 Nov 2026 12:00:00 +0000
Message-ID: <20261121.4F00@mx.out.example>
X-Verp: bounce-`+secret+`=trap.example@list.example
X-Quoted: "olga-2009 x"@trap.example
X-Route: <@relay.example:olga-2009@trap.example>
X-Others: <someone.else@elsewhere.example>
X-Percent: unsubscribe=`+url.QueryEscape(address)+`
X-Quoted-Printable: olga=2D2009=40trap.example
X-Base64: `+base64.StdEncoding.EncodeToString([]byte("user="+address))+`
X-Base64-Url: token.`+base64.RawURLEncoding.EncodeToString([]byte(address))+`.x
X-Hex: 0x`+hex.EncodeToString([]byte(address))+`
X-Backwards: 9002-aglo
X-Folded: olga-
 2009
X-Word: =?utf-8?b?`+base64.StdEncoding.EncodeToString([]byte("For Olga-2009"))+`?=
X-olga-2009-Id: 7
In-Reply-To: <spam-of-tuesday@zombie.example>
X-Answers: spam-of-tuesday@zombie.example
X-Original-Subject: cheap pills of tuesday
X-Told: re: cheap pills of Tuesday
Cc: Olga Niner <`+address+`>, Somebody <somebody@elsewhere.example>
`, true)
	if !ok {
		t.Fatal("there is nothing to keep")
	}
	for _, want := range []string{
		"Received: from mx.out.example (mx.out.example [192.0.2.66]) by trap.example with ESMTP id 4F00 for <~",
		"Sat, 21 Nov 2026 12:00:00 +0000", "Message-ID: <20261121.4F00@mx.out.example>\n",
		"From: Mail Delivery System <~", "@mx.out.example>\n", "Auto-Submitted: auto-replied\n", "@elsewhere.example",
		"Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing", want)
		}
	}
	lower := strings.ToLower(got)
	for form, text := range map[string]string{
		"as it is": secret, "backwards": "9002-aglo", "hex": hex.EncodeToString([]byte(secret)), "name": "niner",
		"someone else": "someone.else", "somebody": "somebody@", "daemon": "mailer-daemon",
		"message": "spam-of", "subject": "pills", "returned": "undelivered", "quoted-printable": "=2d2009",
	} {
		if strings.Contains(lower, text) {
			t.Errorf("%s is told: %s", form, text)
		}
	}
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(".", shift) + secret))
		if strings.Contains(got, text[4:len(text)-4]) {
			t.Error("base64 tells the trap")
		}
	}
	if n := len(regexp.MustCompile(`~[0-9a-f]{8}`).FindAllString(got, -1)); n < 15 {
		t.Errorf("%d hashes in\n%s", n, got)
	}
	if t.Failed() {
		t.Log(got)
	}
}

// A short local part hides itself and not half of the header.
func TestHeaderShortTrap(t *testing.T) {
	t.Parallel()
	got, _ := keptHeader(t, "mail@trap.example", "X-Mailer: mailx, to mail\nX-Token: "+base64.StdEncoding.EncodeToString([]byte("to mail@trap.example"))+"\n", true)
	if !strings.Contains(got, "X-Mailer: mailx, to ~") {
		t.Errorf("in\n%s", got)
	}
	if strings.Contains(got, "bWFpbEB0cmFw") || !strings.Contains(got, "X-Token: ~") {
		t.Errorf("told in base64:\n%s", got)
	}
}

// Whatever stands in a header, what is kept of it is bounded, printable, and
// silent about the recipient.
func FuzzHeader(f *testing.F) {
	f.Add("X-A: olga-2009@trap.example\n")
	f.Add("X-A: \"olga-2009\"@trap.example =?utf-8?q?olga=2D2009?=\n")
	f.Add("X-%41: %6flga-2009 ~12345678@x @@@ <@:@>\n")
	f.Fuzz(func(t *testing.T, fields string) {
		if strings.Contains(fields, "\n\n") || strings.Contains(fields, "\r") || !strings.HasSuffix(fields, "\n") || !strings.HasPrefix(fields, "X-") {
			t.Skip()
		}
		got, _ := keptHeader(t, "olga-2009@trap.example", fields, true)
		if len(got) > listing.MaxHeader || strings.Contains(strings.ToLower(got), "olga-2009") {
			t.Errorf("%q", got)
		}
		for _, c := range strings.ReplaceAll(got, "\n", "") {
			if c < ' ' || c == 0x7f {
				t.Errorf("%q", got)
			}
		}
	})
}
