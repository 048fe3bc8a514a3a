package evidence_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
)

// sentMail is what a mail server wrote that it sent.
type sentMail []string

func (s sentMail) Has(id string) bool {
	return slices.Contains(s, strings.Trim(strings.ToLower(id), "<>"))
}

// A Message-ID or an envelope sender that was really sent beats every proof but
// the trap; that one was not shows nothing.
func TestSentMail(t *testing.T) {
	t.Parallel()
	traps, err := evidence.NewTraps([]evidence.Trap{{Address: "old@real.example"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sent    sentMail
		rcpt    string
		reason  string
		signs   []string
		verdict evidence.Verdict
	}{
		"nothing of it":  {nil, "ana@real.example", "", nil, evidence.Proven},
		"other mail":     {sentMail{"2@real.example"}, "ana@real.example", "", nil, evidence.Proven},
		"the message":    {sentMail{"1@real.example"}, "ana@real.example", evidence.ReasonGenuine, []string{"sent-message-id"}, evidence.Unproven},
		"the sender":     {sentMail{"bounce-17=x@real.example"}, "bounce-17=x@real.example", evidence.ReasonGenuine, []string{"sent-sender"}, evidence.Unproven},
		"both":           {sentMail{"1@real.example", "bounce-17=x@real.example"}, "bounce-17=x@real.example", evidence.ReasonGenuine, []string{"sent-message-id", "sent-sender"}, evidence.Unproven},
		"to a trap":      {sentMail{"1@real.example"}, "old@real.example", "", []string{"sent-message-id"}, evidence.Proven},
		"another domain": {sentMail{"1@real.example"}, "ana@elsewhere.example", evidence.ReasonNoProof, nil, evidence.Unproven},
	} {
		j, err := evidence.NewJudge(evidence.Config{
			Traps: traps, Listable: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Reporters: []evidence.Reporter{{Name: "ours"}},
			Guarded: []evidence.Guarded{{Reporter: "ours", Domains: []string{"real.example"}, BATV: []evidence.BATVKey{{Number: '3', Secret: "s"}}, Sent: c.sent}},
		})
		if err != nil {
			t.Fatal(err)
		}
		f := j.Judge(evidence.Report{
			Reporter: "ours", Held: true, Received: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC),
			Envelope: evidence.Envelope{Client: netip.MustParseAddr("192.0.2.66"), MailFromKnown: true, Recipients: []string{c.rcpt}},
			Raw: []byte("From: MAILER-DAEMON@mail.sender.example\r\nSubject: failure notice\r\n\r\nHi. This is the qmail-send program at mail.sender.example.\r\n" +
				"I'm afraid I wasn't able to deliver your message to the following addresses.\r\n\r\n<x@sender.example>:\r\nno mailbox here by that name. (#5.1.1)\r\n\r\n" +
				"--- Below this line is a copy of the message.\r\n\r\nMessage-ID: <1@Real.example>\r\nFrom: ana@real.example\r\nSubject: pills\r\n\r\npills\r\n"),
		}, time.Date(2026, 11, 22, 10, 1, 0, 0, time.UTC))
		if f.Verdict != c.verdict || f.Reason != c.reason || !slices.Equal(f.Signs, c.signs) {
			t.Errorf("%s: %s %q, signs %q", name, f.Verdict, f.Reason, f.Signs)
		}
	}
}
