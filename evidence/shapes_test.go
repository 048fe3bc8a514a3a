package evidence_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"backscatter/evidence"
	"backscatter/listing"
)

const quotedOriginal = "\n\nReceived: from pool (pool.example [198.51.100.9]) by mx.example (Postfix) with SMTP id 1;\n\tSat, 21 Nov 2026 09:59:40 +0000\n" +
	"Message-ID: <spam@pool.example>\nDate: Sat, 21 Nov 2026 09:59:30 +0000\nFrom: info@trap.example\nTo: nobody@mx.example\nSubject: watches\n"

// TestShapes holds, for each rule that knows no words but the shape of a message,
// one that it takes in or keeps out, and one that differs in what the rule asks.
func TestShapes(t *testing.T) {
	t.Parallel()
	daemon := "Return-Path: <>\nFrom: Postmaster <postmaster@mx.example>\n"
	gateway := "Return-Path: <>\nFrom: Gateway <gateway@mx.example>\n"
	person := "Return-Path: <>\nFrom: Jane <jane@mx.example>\n"
	html := "\n--b\nContent-Type: text/html; name=\"message.htm\"\nContent-Disposition: attachment\n\n<a href=\"https://evil.example/\">open</a>\n--b--\n"
	mixed := "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n"
	for _, tt := range []struct{ name, class, rule, raw string }{
		{"a notice in a language that nobody here reads", "bounce", "daemon-status", daemon + "Subject: Loipe\n\nTamo puri sela nobody@mx.example\n#550 5.1.1 velu\n"},
		{"the same with a link", "other", "", daemon + "Subject: Loipe\n\nTamo puri sela nobody@mx.example\n#550 5.1.1 velu https://evil.example/\n"},
		{"the same with a file to open", "other", "", daemon + mixed + "Subject: Loipe\n\n--b\n\nTamo puri sela nobody@mx.example\n#550 5.1.1 velu\n" + html},
		{"the same by a person", "other", "", person + "Subject: Loipe\n\nTamo puri sela nobody@mx.example\n#550 5.1.1 velu\n"},
		{"the same with a link to a blocklist in the reply", "bounce", "daemon-status", daemon + "Subject: Loipe\n\nTamo puri sela nobody@mx.example\nhost mx said: 550-5.7.1 velu\n550 5.7.1 see https://lookup.example/\n"},
		{"the same in Exim's words", "bounce", "daemon-status", daemon + "Subject: Loipe\n\nnobody@mx.example\n host mx.x.example [192.0.2.9]\n Tamo puri:\n 550-5.7.1 velu\n 550 5.7.1 see https://lookup.example/\n"},
		{"the same in Sendmail's words", "bounce", "daemon-status", daemon + "Subject: Loipe\n\nnobody@mx.example\n... while talking to mx.x.example.:\n<<< 550-5.7.1 velu\n<<< 550 5.7.1 see https://lookup.example/\n"},
		{"the same, and no host that said it", "other", "", daemon + "Subject: Loipe\n\n550-5.7.1 nobody@mx.example tamo puri\n550 5.7.1 velu https://evil.example/\n"},
		{"the original, and no word that is known", "bounce", "daemon-returns", daemon + "Subject: Loipe\n\nTamo puri sela." + quotedOriginal},
		{"the original and a status, from a gateway", "bounce", "status-with-original", gateway + "Subject: Loipe\n\nTamo puri nobody@mx.example: 550 5.1.1 velu" + quotedOriginal},
		{"the original without a status, from a gateway", "other", "", gateway + "Subject: Loipe\n\nTamo puri nobody@mx.example" + quotedOriginal},
		{"Exchange in any language", "bounce", "exchange-resolver", gateway + "Subject: Loipe\n\nTamo puri nobody@mx.example\nRESOLVER.ADR.RecipNotFound; velu\n"},
		{"Domino in any language", "bounce", "domino-directory", gateway + "Subject: Loipe\n\nTamo nobody (nobody@mx.example) not listed in Domino Directory\n"},
		{"SES", "bounce", "ses-json", "From: SES <no-reply@mx.example>\nSubject: Notification\n\n{\"notificationType\":\"Bounce\",\"bounce\":{\"bouncedRecipients\":[{\"emailAddress\":\"nobody@mx.example\"}]}}\n"},
		{"SES, by SNS", "bounce", "ses-json", "From: SNS <no-reply@mx.example>\nSubject: Notification\n\n{\n\"Message\" : \"{\\\"notificationType\\\":\\\"Bounce\\\",\\\"bounce\\\":{\\\"bouncedRecipients\\\":[]}}\"\n}\n--\nIf you wish to stop receiving notifications, visit the link below to unsubscribe: https://sns.mx.example/\n"},
		{"SES, of a delivery", "other", "", "From: SES <no-reply@mx.example>\nSubject: Notification\n\n{\"notificationType\":\"Delivery\",\"delivery\":{\"recipients\":[\"nobody@mx.example\"]}}\n"},
		{"a machine's alert", "other", "", "Return-Path: <>\nFrom: CI <ci@mx.example>\nAuto-Submitted: auto-generated\nSubject: Build 550 failed\n\nExpected: 550 5.1.1 <a@b.example> user unknown. Delivery failed permanently.\n"},

		{"an answer in a language that nobody here reads", "autoreply", "null-answer", person + "Precedence: junk\nSubject: Loipe\nIn-Reply-To: <1@x.example>\n\nTamo puri sela.\n"},
		{"the same with a link", "other", "", person + "Precedence: junk\nSubject: Loipe\nIn-Reply-To: <1@x.example>\n\nTamo puri https://evil.example/\n"},
		{"the same as a person answers", "other", "", person + "Precedence: junk\nSubject: Re: Loipe\nIn-Reply-To: <1@x.example>\n\nTamo puri sela.\n"},
		{"the same from a person at a help desk", "other", "", person + "Subject: [#4711] Loipe\nIn-Reply-To: <1@x.example>\nReferences: <1@x.example>\n\nTamo puri sela.\n"},
		{"a return receipt", "other", "return-receipt", person + "Subject: Return Receipt\nIn-Reply-To: <1@x.example>\n\nYour document: Loipe\nwas received by: Jane\n"},
		{"a return receipt in German", "other", "return-receipt-words", person + "Subject: Empfangsbestätigung\nIn-Reply-To: <1@x.example>\n\nIhr Dokument: Loipe\nwurde empfangen von: Jane\n"},
		{"a ticket that has the same name", "autoreply", "receipt-subject", person + "Subject: Empfangsbestätigung\nIn-Reply-To: <1@x.example>\n\nIhre Anfrage ist eingegangen.\n"},
		{"procmail", "autoreply", "loop-answer", "Return-Path: <j@mx.example>\nFrom: j@mx.example\nX-Loop: j@mx.example\nPrecedence: junk\nSubject: Re: Loipe\nIn-Reply-To: <1@x.example>\n\nTamo.\n"},
		{"procmail on a list", "other", "", "Return-Path: <j@mx.example>\nFrom: j@mx.example\nX-Loop: j@mx.example\nList-Id: <l.mx.example>\nPrecedence: bulk\nSubject: Re: Loipe\nIn-Reply-To: <1@x.example>\n\nTamo.\n"},
		{"Majordomo", "other", "", "Return-Path: <j@mx.example>\nFrom: j@mx.example\nSender: owner-l@mx.example\nX-Loop: mx.example\nPrecedence: bulk\nSubject: Re: Loipe\nIn-Reply-To: <1@x.example>\n\nTamo.\n"},
		{"SmartList", "other", "", "Return-Path: <j@mx.example>\nFrom: j@mx.example\nResent-Sender: l-request@mx.example\nX-Loop: l@mx.example\nPrecedence: bulk\nSubject: Loipe\nIn-Reply-To: <1@x.example>\n\nTamo.\n"},
		{"a list that says nothing, by a person", "other", "", "Return-Path: <j@mx.example>\nFrom: j@mx.example\nUser-Agent: Mutt/1.5\nX-Loop: mx.example\nPrecedence: bulk\nSubject: Loipe\nIn-Reply-To: <1@x.example>\n\nTamo.\n"},
		{"Exchange, to the outside", "autoreply", "null-answer", person + "Auto-Submitted: auto-generated\nX-Auto-Response-Suppress: All\nSubject: Loipe: puri\nIn-Reply-To: <1@x.example>\n\nTamo.\n"},
		{"the same, answering nothing", "other", "", person + "Auto-Submitted: auto-generated\nX-Auto-Response-Suppress: All\nSubject: Loipe: puri\n\nTamo.\n"},
		{"a help desk's notification", "other", "", "Return-Path: <h@mx.example>\nFrom: h@mx.example\nAuto-Submitted: auto-generated\nX-Auto-Response-Suppress: All\nSubject: Loipe: puri\n\nTamo.\n"},
		{"OTRS", "autoreply", "otrs-subject", gateway + "X-OTRS-Loop: yes\nAuto-Submitted: auto-generated\nSubject: [Ticket#20] RE: Loipe\n\nTamo.\n"},
		{"OTRS, to a message", "autoreply", "otrs", gateway + "X-OTRS-Loop: yes\nAuto-Submitted: auto-generated\nSubject: Loipe\nIn-Reply-To: <1@x.example>\n\nTamo.\n"},
		{"OTRS, to its own agents", "other", "", gateway + "X-OTRS-Loop: yes\nAuto-Submitted: auto-generated\nSubject: [Ticket#20] Loipe assigned to you\n\nTamo.\n"},
		{"null sender and leave", "autoreply", "null-robot", person + "Subject: Away\n\nI am on vacation.\n"},
		{"null sender and a receipt", "autoreply", "null-robot", gateway + "Subject: 4711\n\nWe received your message.\n"},
		{"leave that was granted", "other", "", "Return-Path: <hr@mx.example>\nFrom: HR <hr@mx.example>\nAuto-Submitted: auto-generated\nSubject: Your annual leave request\n\nIt has been approved.\n"},
		{"an invoice by a machine", "other", "", person + "Auto-Submitted: auto-generated\nSubject: Your invoice 4711\n\nThis is an automated message, please do not reply.\n"},

		{"an invitation, declined", "other", "calendar", person + mixed + "Subject: Refusé : réunion\nIn-Reply-To: <1@x.example>\n\n--b\n\nJe suis absent, en vacances.\n--b\nContent-Type: text/calendar; method=REPLY\n\nBEGIN:VCALENDAR\n--b--\n"},
		{"a list's robot", "other", "list-robot", "From: l-request@mx.example\nAuto-Submitted: auto-replied\nList-Id: <l.mx.example>\nSubject: confirm 123\n\nWe have received a request. Reply to this message.\n"},
		{"a virus on a computer", "other", "", "From: Antivirus <av@mx.example>\nSubject: Virus detected on PC-12\n\nC:\\x.exe: Trojan.Gen was deleted. Your computer is clean.\n"},
		{"a virus in a message", "notice", "virus-name", "From: Antivirus <av@mx.example>\nSubject: Virus detected\n\nYour message to nobody@mx.example had Trojan.Gen in it, which was deleted.\n"},
		{"the same, told to whom it was sent", "other", "notice-of-others", "From: Antivirus <av@mx.example>\nSubject: Virus detected\n\nSender: jane@x.example\nRecipient: nobody@mx.example\nA message from you had Trojan.Gen in it, which was deleted.\n"},
		{"the same, told to the sender", "notice", "virus-name", "From: Antivirus <av@mx.example>\nSubject: Virus detected\n\nSender: info@trap.example\nRecipient: nobody@mx.example\nA message from you had Trojan.Gen in it, which was deleted.\n"},
		{"a link, and no mailbox but the reader's", "other", "phish-reader", daemon + "Subject: Delivery failure\n\nDelivery to info@trap.example has failed to these recipients or groups. https://evil.example/\n"},
		{"a link, and another's mailbox", "bounce", "generic-mail-returned", daemon + "Subject: Delivery failure\n\nWe were unable to deliver your message to nobody@mx.example. https://help.mx.example/\n"},
		{"no link, and no mailbox but the reader's", "bounce", "daemon-status", daemon + "Subject: Delivery failure\n\nDelivery to info@trap.example failed: 550 5.1.1 velu\n"},
		{"a link, and what others sent to the reader", "other", "phish-original", daemon + mixed + "Subject: Delivery failure\n\n--b\n\nhttps://evil.example/\n--b\nContent-Type: message/rfc822\n\nFrom: jane@x.example\nTo: info@trap.example\n\nTamo.\n--b--\n"},
		{"a link, and what the reader sent", "bounce", "daemon-returns", daemon + mixed + "Subject: Delivery failure\n\n--b\n\nhttps://help.mx.example/\n--b\nContent-Type: message/rfc822\n\nFrom: info@trap.example\nTo: nobody@mx.example\n\nTamo.\n--b--\n"},

		// What names somebody, said by whom, to whom.
		{"a person who can be reached", "other", "", "From: Jane <jane@mx.example>\nSubject: Re: Loipe\nIn-Reply-To: <1@x.example>\n\nI received your message. Please confirm the date. You can reach me here. Human Resources\n"},
		{"a sign-up", "other", "", "From: Shop <shop@mx.example>\nSubject: Confirm\n\nPlease click on the link to confirm your address before your email address can be used. reCAPTCHA keeps robots out. https://mx.example/\n"},
		{"a full mailbox, and a help desk", "other", "", daemon + "Subject: Warning\n\nThe mailbox is full. New mail will be refused. Write to support@mx.example\n"},
		{"a letter behind the reader's address", "other", "phish-reader", daemon + "Subject: Delivery failure\n\nDelivery to info@trap.example様 has failed to these recipients or groups. https://evil.example/\n"},
		{"a virus notice that calls somebody else the sender, and the reader you", "notice", "", "From: Antivirus <av@mx.example>\nSubject: Virus detected\n\nSender: forged@x.example\nYour message to nobody@mx.example had Trojan.Gen in it, which was deleted.\n"},
		{"a footer that a message was sent to the reader", "notice", "", "From: Antivirus <av@mx.example>\nSubject: Virus detected\n\nThis is an automatic message sent to you by the scanner. Your message to nobody@mx.example had Trojan.Gen in it, which was deleted.\n"},
		{"a bounce that says to be automatic", "bounce", "status-code", "Return-Path: <>\nFrom: Mailgate <noreply@mx.example>\nAuto-Submitted: auto-generated\nSubject: Undeliverable\n\nYour message could not be delivered.\nnobody@mx.example: 550 5.1.1 user unknown\n"},
		{"a vacation by a person's program", "autoreply", "", person + "X-Mailer: Microsoft Outlook 16.0\nSubject: Automatic reply: Loipe\n\nI am on vacation.\n"},
		{"a person's program, and no null sender", "other", "person-plans", "From: Jane <jane@mx.example>\nX-Mailer: Microsoft Outlook 16.0\nSubject: Next week\n\nI am on vacation until Monday.\n"},
		{"a brand's spam that came back with its trace", "bounce", "daemon-returns", daemon + mixed + "Subject: Delivery failure\n\n--b\n\nhttps://help.mx.example/\n--b\nContent-Type: message/rfc822\n\nReceived: from x.example (x.example [198.51.100.17]) by mx.example with SMTP; Sat, 21 Nov 2026 10:00:00 +0000\nFrom: jane@x.example\nTo: info@trap.example\n\nTamo.\n--b--\n"},
		{"a report on the reader's own mailbox, in plain words", "bounce", "", daemon + "MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\nSubject: Delivery failure\n\n--b\n\nDelivery to info@trap.example failed: 550 see https://help.mx.example/\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; internal.example\n\nFinal-Recipient: rfc822; info@trap.example\nAction: failed\nStatus: 5.7.1\n\n--b--\n"},
		{"the same with a page to click", "other", "phish-reader-report", daemon + "MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\nSubject: Delivery failure\n\n--b\nContent-Type: text/html\n\n<p>Delivery to info@trap.example failed <a href=\"https://evil.example/\">release</a></p>\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; internal.example\n\nFinal-Recipient: rfc822; info@trap.example\nAction: failed\nStatus: 5.7.1\n\n--b--\n"},
	} {
		m, err := evidence.Parse([]byte("To: info@trap.example\n" + tt.raw))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		c := evidence.Classify(m)
		if c.Class.String() != tt.class || tt.rule != "" && !slices.Contains(c.Rules, tt.rule) {
			t.Errorf("%s: %s %s, want %s by %s", tt.name, c.Class, strings.Join(c.Rules, " "), tt.class, tt.rule)
		}
	}
}

// TestReadersAddress has the reader's own address written in all the ways in which it
// is: a notice that names him as the sender is one to him.
func TestReadersAddress(t *testing.T) {
	t.Parallel()
	notice := "From: Antivirus <av@mx.example>\nSubject: Virus detected\n%s\nSender: %s\nRecipient: nobody@mx.example\nA message from you had Trojan.Gen in it, which was deleted.\n"
	for _, to := range []string{
		"info@trap.example", "INFO@TRAP.EXAMPLE", "<info@trap.example>", `"info@trap.example" <info@trap.example>`, "info@trap.example;",
		"'info@trap.example'", "info@trap.example(Ana)", "<@relay.example:info@trap.example>", "list:info@trap.example;",
		"jane@other.example, info@trap.example",
	} {
		for _, sender := range []string{"info@trap.example", "<info@trap.example>", "“info@trap.example”", "«info@trap.example»", "Ana info@sub.trap.example"} {
			m, err := evidence.Parse(fmt.Appendf(nil, notice, "To: "+to+"\n", sender))
			if err != nil {
				t.Fatal(err)
			}
			if c := evidence.Classify(m); c.Class != listing.ClassNotice {
				t.Errorf("To: %s, Sender: %s: %s %s", to, sender, c.Class, strings.Join(c.Rules, " "))
			}
		}
	}
}
