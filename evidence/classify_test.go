package evidence_test

import (
	"fmt"
	"testing"

	"backscatter/evidence"
)

// TestWords holds messages with a null sender, of which the words decide: what
// no rule knows by name, and what only sounds like it.
func TestWords(t *testing.T) {
	t.Parallel()
	tests := []struct{ class, from, subject, text string }{
		{"other", "Mail Delivery System <noreply@real.example>", "You have 5 undelivered mails", "Dear jane@real.example, 5 messages were not delivered due to a server error 550. Please follow http://evil.example to receive them."},
		{"other", "IT Support <support@real.example>", "Mailbox full", "Your mailbox jane@real.example is over quota. Messages will be returned to sender. 552 5.2.2 mailbox full. Contact us by replying."},
		{"other", "Postmaster <postmaster@real.example>", "Delivery Status Notification (Failure)", "Dear jane@real.example, your incoming mails have been suspended. Open the attached file to restore delivery."},
		{"other", "Pay <pay@shop.example>", "Invoice 550 delivery failure notice", "Your invoice is attached"},
		{"other", "Amazon <ship@shop.example>", "Your order could not be delivered", "We were unable to deliver your package to the address. It was returned to sender."},
		{"other", "Cron Daemon <root@real.example>", "Cron <root@h> backup", "550 files saved; 5.1.1 released; mail root@real.example"},
		{"bounce", "MAILER-DAEMON@x.example", "Nachricht unzustellbar", "Leider konnte Ihre Nachricht nicht zugestellt werden:\n<a@x.example>\n550 5.1.1 unbekannt"},
		{"bounce", "Mail Delivery Subsystem <mailer-daemon@x.example>", "Undelivered Mail", "a@x.example\nuser unknown"},
		{"bounce", "postmaster@x.example", "Non remis", "Votre message n'a pas pu \u00eatre remis \u00e0 a@x.example : utilisateur inconnu"},
		{"bounce", "postmaster@x.example", "Undeliverable: Your subscription to Antivirus was renewed", "Delivery has failed to these recipients:\na@x.example\n550 5.1.1 user unknown"},
		{"bounce", "postmaster@x.example", "Message undeliverable: spam complaint", "The message could not be delivered:\na@x.example\n550 5.1.1 user unknown"},
		{"bounce", "postmaster@x.example", "Undeliverable: DMARC failure report", "The message could not be delivered:\na@x.example\n550 5.1.1 user unknown"},
		{"autoreply", "Joe <joe@x.example>", "Automatic reply: Your subscription to Antivirus was renewed", "I am on vacation until May 3. I will reply when I return."},
		{"other", "List <list-request@x.example>", "Your subscription to list", "Your request to a@x.example could not be delivered to the list. This is an automated message."},
		{"notice", "MailGate <postmaster@x.example>", "Message blocked", "Your message to a@x.example was blocked because it contains a virus"},
		{"notice", "virus-scanner@x.example", "Virus gefunden", "In einer von Ihnen gesendeten E-Mail wurde der Virus W32/Klez entdeckt. Ihre Nachricht an a@x.example wurde nicht zugestellt."},
		{"notice", "SAV <postmaster@x.example>", "Report to Sender", "Incident Information:- Recipients: a@x.example. The attachment you sent, photo.pif, is infected with WORM_NETSKY and was deleted."},
		{"autoreply", "Joe <joe@x.example>", "Abwesend: Angebot", "Ich bin im Urlaub bis zum 3.4."},
		{"autoreply", "Joe <joe@x.example>", "I'm on vacation Re: offer", "I am on vacation until May 3. I will reply when I return."},
		{"autoreply", "Joe <joe@x.example>", "Re: offer", "I am currently out of the office with limited access to email. I will respond upon my return."},
		{"autoreply", "Support <help@x.example>", "[#1234] Request received", "Thank you for contacting support. Your request has been received. Please do not reply to this automated message"},
		{"autoreply", "Joe <joe@x.example>", "Auto: offer", "\u6211\u6b63\u5728\u4f11\u5047"},
		{"challenge", "Joe <joe@x.example>", "Please verify", "You are not on my whitelist. Your message will be delivered once you click the link below to verify that you are human: http://x.example/1"},
		{"other", "Joe <joe@x.example>", "Account", "Click the link below to verify your email address http://x.example/1"},
		{"other", "Spam Quarantine <quarantine@real.example>", "Spam Quarantine Summary", "You have 3 messages in quarantine: virus, spam. Release: http://q.example/"},
	}
	for _, tt := range tests {
		raw := fmt.Sprintf("Return-Path: <>\nFrom: %s\nTo: jane@real.example\nSubject: %s\nMIME-Version: 1.0\nContent-Type: text/plain\n\n%s\n", tt.from, tt.subject, tt.text)
		m, err := evidence.Parse([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", tt.subject, err)
			continue
		}
		if c := evidence.Classify(m); c.Class.String() != tt.class {
			t.Errorf("%s: class %s, want %s, by %v", tt.subject, c.Class, tt.class, c.Rules)
		}
	}
}
