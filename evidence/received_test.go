package evidence_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

// TestParseReceived holds one line of each grammar that was met, and lines by
// which a client tries to be taken for another.
func TestParseReceived(t *testing.T) {
	t.Parallel()
	type want = evidence.Received
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	tests := []struct {
		name, line string
		want       want
	}{
		{
			"postfix", "from helo.example (ptr.example [192.0.2.66])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\n\t(No client certificate requested)\n\tby mx.example (Postfix) with ESMTPS id 4XyZ12\n\tfor <info@trap.example>; Sat, 21 Nov 2026 10:00:00 +0000 (UTC)",
			want{Addr: addr("192.0.2.66"), HELO: "helo.example", PTR: "ptr.example", By: "mx.example", With: "ESMTPS", ID: "4XyZ12", For: "info@trap.example", Date: at},
		},
		{"postfix unknown", "from helo.example (unknown [192.0.2.66]) by mx.example (Postfix) with SMTP id 1", want{Addr: addr("192.0.2.66"), HELO: "helo.example", By: "mx.example", With: "SMTP", ID: "1"}},
		{"postfix ipv6", "from h.example (p.example [IPv6:2001:db8::66]) by mx.example (Postfix) with ESMTP id 1", want{Addr: addr("2001:db8::66"), HELO: "h.example", PTR: "p.example", By: "mx.example", With: "ESMTP", ID: "1"}},
		{"postfix literal helo", "from [198.51.100.1] (unknown [192.0.2.66]) by mx.example (Postfix) with ESMTP id 1", want{Addr: addr("192.0.2.66"), HELO: "[198.51.100.1]", By: "mx.example", With: "ESMTP", ID: "1"}},
		{"postfix own bounce", "by mx.example (Postfix)\n\tid 1; Sat, 21 Nov 2026 10:00:00 +0000", want{By: "mx.example", ID: "1", Internal: true, Date: at}},
		{"postfix pickup", "by mx.example (Postfix, from userid 1000)\n\tid 1; Sat, 21 Nov 2026 10:00:00 +0000", want{By: "mx.example", ID: "1", Local: true, Date: at}},
		{"sendmail", "from helo.example (ptr.example [192.0.2.66] (may be forged)) by mx.example (8.17.1/8.17.1) with ESMTP id abc for <info@trap.example>; Sat, 21 Nov 2026 10:00:00 GMT", want{Addr: addr("192.0.2.66"), HELO: "helo.example", PTR: "ptr.example", By: "mx.example", With: "ESMTP", ID: "abc", For: "info@trap.example", Date: at}},
		{"sendmail ident", "from helo.example (IDENT:[198.51.100.1]@ptr.example [192.0.2.66]) by mx.example (8.8.8/8.8.8) with SMTP id abc", want{Addr: addr("192.0.2.66"), HELO: "helo.example", PTR: "ptr.example", By: "mx.example", With: "SMTP", ID: "abc"}},
		{"sendmail submit", "(from www@localhost)\n\tby mx.example (8.17.1/8.17.1/Submit) id abc; Sat, 21 Nov 2026 10:00:00 GMT", want{By: "mx.example", ID: "abc", Local: true, Date: at}},
		{"sendmail two dates", "from h.example ([192.0.2.66]) by mx.example; id abc; Sat, 21 Nov 2026 10:00:00 GMT", want{Addr: addr("192.0.2.66"), HELO: "h.example", By: "mx.example", Date: at}},
		{"sendmail no name", "from helo.example ([192.0.2.66]) by mx.example", want{Addr: addr("192.0.2.66"), HELO: "helo.example", By: "mx.example"}},
		{"exim", "from ptr.example ([192.0.2.66]:25025 helo=helo.example)\n\tby mx.example with esmtps (TLS1.3) (Exim 4.98)\n\tid 1tDxyz-0001", want{Addr: addr("192.0.2.66"), HELO: "helo.example", PTR: "ptr.example", By: "mx.example", With: "ESMTPS", ID: "1tDxyz-0001"}},
		{"exim no name", "from [192.0.2.66] (helo=helo.example) by mx.example with smtp (Exim 4.98) id 1", want{Addr: addr("192.0.2.66"), HELO: "helo.example", By: "mx.example", With: "SMTP", ID: "1"}},
		{"exim port first", "from [192.0.2.66] (port=25025 helo=helo.example) by mx.example with smtp (Exim 4.98) id 1", want{Addr: addr("192.0.2.66"), HELO: "helo.example", By: "mx.example", With: "SMTP", ID: "1"}},
		{"exim helo with an address", "from ptr.example ([192.0.2.66] helo=[198.51.100.1]) by mx.example with smtp (Exim 4.98) id 1", want{Addr: addr("192.0.2.66"), HELO: "[198.51.100.1]", PTR: "ptr.example", By: "mx.example", With: "SMTP", ID: "1"}},
		{"exim no name, helo with an address", "from [192.0.2.66] (helo=[198.51.100.1]) by mx.example with smtp (Exim 4.98) id 1", want{Addr: addr("192.0.2.66"), HELO: "[198.51.100.1]", By: "mx.example", With: "SMTP", ID: "1"}},
		{"exim no name, ident with an address", "from [192.0.2.66] (ident=[198.51.100.1]) by mx.example with smtp (Exim 4.98) id 1", want{Addr: addr("192.0.2.66"), HELO: "[192.0.2.66]", By: "mx.example", With: "SMTP", ID: "1"}},
		{"exim no name, port and ident with an address", "from [192.0.2.66] (port=25025 helo=h.example ident=[198.51.100.1]) by mx.example with smtp (Exim 4.98) id 1", want{Addr: addr("192.0.2.66"), HELO: "h.example", By: "mx.example", With: "SMTP", ID: "1"}},
		{"exim local", "from user by mx.example with local (Exim 4.98) id 1", want{HELO: "user", By: "mx.example", With: "LOCAL", ID: "1", Local: true}},
		{"qmail", "from unknown (HELO helo.example) (192.0.2.66) by 0 with SMTP; 21 Nov 2026 10:00:00 -0000", want{Addr: addr("192.0.2.66"), HELO: "helo.example", By: "0", With: "SMTP", Date: at}},
		{"qmail ident", "from ptr.example (HELO [198.51.100.1]) (user@192.0.2.66) by mx.example with SMTP", want{Addr: addr("192.0.2.66"), HELO: "[198.51.100.1]", PTR: "ptr.example", By: "mx.example", With: "SMTP"}},
		{"qmail network", "(qmail 4711 invoked from network); 21 Nov 2026 10:00:00 -0000", want{ID: "4711", Internal: true, Date: at}},
		{"qmail uid", "(qmail 4711 invoked by uid 89); 21 Nov 2026 10:00:00 -0000", want{ID: "4711", Local: true, Date: at}},
		{"exchange", "from MBX.example (2001:db8::66) by\n MX.example (2001:db8:1::1) with Microsoft SMTP Server (version=TLS1_2) id 15.2.1; Sat, 21 Nov 2026 10:00:00 +0000", want{Addr: addr("2001:db8::66"), HELO: "MBX.example", By: "mx.example", With: "MICROSOFT", ID: "15.2.1", Date: at}},
		{"exchange scope", "from a.example ([fe80::1%22]) by b.example ([fe80::2%22]) with mapi id 1", want{Addr: addr("fe80::1"), HELO: "a.example", By: "b.example", With: "MAPI", ID: "1", Local: true}},
		{"gmail", "from p.example (p.example. [192.0.2.66])\n        by mx.google.example with ESMTPS id x1.2\n        for <info@trap.example>", want{Addr: addr("192.0.2.66"), HELO: "p.example", PTR: "p.example", By: "mx.google.example", With: "ESMTPS", ID: "x1.2", For: "info@trap.example"}},
		{"gmail within", "by 2002:a05:7000:1 with SMTP id x1.2", want{By: "2002:a05:7000:1", With: "SMTP", ID: "x1.2", Internal: true}},
		{"communigate", "from [192.0.2.66] (HELO helo.example) by mx.example (CommuniGate Pro SMTP 6.1) with ESMTP id 7", want{Addr: addr("192.0.2.66"), HELO: "helo.example", By: "mx.example", With: "ESMTP", ID: "7"}},
		{"imail", "from helo.example [192.0.2.66] by mx.example (SMTPD32-7.07) id A1", want{Addr: addr("192.0.2.66"), HELO: "helo.example", By: "mx.example", ID: "A1"}},
		{"yahoo", "from 192.0.2.66  (EHLO helo.example) (192.0.2.66) by mta.example with SMTP", want{Addr: addr("192.0.2.66"), HELO: "helo.example", By: "mta.example", With: "SMTP"}},
		{"no helo", "from (ptr.example [192.0.2.66]) by mx.example with smtp id 1", want{Addr: addr("192.0.2.66"), PTR: "ptr.example", By: "mx.example", With: "SMTP", ID: "1"}},
		{"mapped", "from h.example (p.example [::ffff:192.0.2.66]) by mx.example with ESMTP", want{Addr: addr("192.0.2.66"), HELO: "h.example", PTR: "p.example", By: "mx.example", With: "ESMTP"}},
		{"fetchmail", "from pop.example [192.0.2.66] by localhost with POP3 (fetchmail-6.4.0) for <me@localhost> (single-drop)", want{Addr: addr("192.0.2.66"), HELO: "pop.example", By: "localhost", With: "POP3", For: "me@localhost", Local: true}},
		{"lmtp socket", "from mx.example by imap.example with LMTP id 1", want{HELO: "mx.example", By: "imap.example", With: "LMTP", ID: "1", Internal: true}},
		{"web mail", "from [192.0.2.66] by web.example (via HTTP)", want{Addr: addr("192.0.2.66"), HELO: "[192.0.2.66]", By: "web.example", Local: true}},

		{"no address", "from helo.example by mx.example with SMTP id 1", want{HELO: "helo.example", By: "mx.example", With: "SMTP", ID: "1"}},
		{"only a literal helo", "from [198.51.100.1] by mx.example with SMTP id 1", want{HELO: "[198.51.100.1]", By: "mx.example", With: "SMTP", ID: "1"}},
		{"helo with a comment", "from x (evil [198.51.100.1]) (ptr.example [192.0.2.66]) by mx.example", want{HELO: "x", By: "mx.example"}},
		{"ident that closes its comment", "from [192.0.2.66] (ident=x) (198.51.100.1) by mx.example with smtp (Exim 4.98) id 1", want{HELO: "[192.0.2.66]", By: "mx.example", With: "SMTP", ID: "1"}},
		{"address that the limit cuts", "from " + strings.Repeat("h", 1980) + " (198.51.100.123) by mx.example", want{For: evidence.Unreadable, HELO: strings.Repeat("h", 1980)}},
		{"comment that is never closed", "from h.example (ptr.example [192.0.2.66] by mx.example", want{HELO: "h.example"}},
		{"helo that opens a comment", "from x([198.51.100.77])( (real.example [192.0.2.66])\n\tby relay.example (Haraka/3) with ESMTP id 1; Sat, 21 Nov 2026 10:00:00 +0000", want{HELO: "x([198.51.100.77])(", By: "relay.example", With: "ESMTP", ID: "1", Date: at}},
		{"helo of many comments", "from x([198.51.100.77])" + strings.Repeat("(a)", 60) + " (real.example [192.0.2.66]) by relay.example", want{HELO: "x([198.51.100.77])" + strings.Repeat("(a)", 60), By: "relay.example"}},
		{"helo that ends the line", "from x([198.51.100.77]); (real.example [192.0.2.66]) by relay.example", want{HELO: "x([198.51.100.77])"}},
		{"helo with a clause in it", "from x([198.51.100.77])by(y); (real.example [192.0.2.66]) by relay.example", want{HELO: "x([198.51.100.77])by(y)"}},
		{"helo with a comment, and an address behind it", "from x([198.51.100.77]) [192.0.2.66] by relay.example (SMTPD32-7.07)", want{HELO: "x([198.51.100.77])", By: "relay.example"}},
		{"helo that closes its comment", "from ptr.example (HELO x)(198.51.100.77) (192.0.2.66) by relay.example", want{HELO: "x", By: "relay.example"}},
		{"helo that closes the comment of the address", "from [198.51.100.77]) ([198.51.100.77]) [192.0.2.66]) by relay.example", want{HELO: "[198.51.100.77])", By: "relay.example"}},
		{"a comment alone that is never closed", "(from x", want{}},
		{"too many tokens", "from x (p.example [192.0.2.66]) by relay.example with SMTP" + strings.Repeat(" (a)", 60), want{HELO: "x", By: "relay.example", With: "SMTP"}},
		{"helo with a keyword", "from by (ptr.example [192.0.2.66]) by mx.example", want{Addr: addr("192.0.2.66"), HELO: "by", PTR: "ptr.example", By: "mx.example"}},
		{"account with an address", "from [192.0.2.66] (account a@198.51.100.1 HELO h.example) by mx.example (CommuniGate Pro SMTP 6.1)", want{Addr: addr("192.0.2.66"), HELO: "h.example", By: "mx.example"}},
		{"continued by the sender", "from [198.51.100.1] by odd.example with SMTP; Sat, 21 Nov 2026 10:00:00 +0000 (Exim 4.98) by evil.example; 1 Jan 2020 00:00:00 +0000", want{HELO: "[198.51.100.1]", By: "odd.example", With: "SMTP", Date: at}},
		{"nonsense", "((((;;;;[[[[ from from from", want{}},
		{"empty", "", want{Internal: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := evidence.ParseReceived(tt.line)
			if tt.name == "nonsense" {
				if got.Addr.IsValid() {
					t.Errorf("address %s out of nonsense", got.Addr)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// hellos are the forms in which hosts write what a client says of itself: "~" is
// what it calls itself, "%" the name that its own name servers give it, "^" its
// ident.
var hellos = []string{
	"from ~ [192.0.2.66] by mx.example (SMTPD32-7.07) id A1",
	"from ~ (~ [192.0.2.66]) by mx.example (MDaemon PRO v24.0.0) with ESMTP id 1",
	"from % (EHLO ~) (192.0.2.66) by mx.example with SMTP; Sat, 21 Nov 2026 10:00:00 +0000",
	"from ~ (% [192.0.2.66]) by mx.example (Postfix) with ESMTP id 1",
	"from ~ (% [192.0.2.66]) (using TLSv1.3 with cipher X (256/256 bits)) by mx.example (Postfix) with ESMTPS id 1",
	"from ~ (%. [192.0.2.66]) by mx.example with ESMTPS id 1",
	"from ~ (% [192.0.2.66] (may be forged)) by mx.example (8.17.1/8.17.1) with ESMTP id 1",
	"from ~ ([192.0.2.66]) by mx.example (8.17.1/8.17.1) with ESMTP id 1",
	"from ~ ([192.0.2.66] (may be forged)) by mx.example (8.17.1/8.17.1) with ESMTP id 1",
	"from ~ (^@[192.0.2.66]) by mx.example (8.9.3/8.9.3) with ESMTP id 1",
	"from ~ (^@% [192.0.2.66]) by mx.example (8.8.8/8.8.8) with ESMTP id 1",
	"from ~ (%[192.0.2.66]) by mx.example with ESMTP id 1",
	`from ~ ("port 1234"@% [192.0.2.66]) by mx.example (PMDF V6.2) with ESMTP id 1`,
	"from ~ ([192.0.2.66] RDNS failed) by mx.example with Microsoft SMTPSVC(6.0.3790.4675)",
	"from ~ ([192.0.2.66] verified) by mx.example (CommuniGate Pro SMTP 6.1) with ESMTP id 7",
	"from ~ (%) [192.0.2.66] by mx.example with esmtp (Exim 4.98) id 1",
	"from % ([192.0.2.66]:25 helo=~) by mx.example with esmtp (Exim 4.98) id 1",
	"from % ([192.0.2.66]:25 helo=~ ident=^) by mx.example with esmtp (Exim 4.98) id 1",
	"from [192.0.2.66] (helo=~) by mx.example with esmtp (Exim 4.98) id 1",
	"from [192.0.2.66] (port=25 helo=~ ident=^) by mx.example with esmtp (Exim 4.98) id 1",
	"from % (HELO ~) (^@192.0.2.66) by mx.example with SMTP",
	"from ~ (192.0.2.66) by mx.example with Microsoft SMTP Server id 15.2.1",
	"from [192.0.2.66] (HELO ~) by mx.example (CommuniGate Pro SMTP 6.1) with ESMTP id 7",
	"from [192.0.2.66] (account ^ HELO ~) by mx.example (CommuniGate Pro SMTP 6.1) with ESMTP id 7",
	"from ~ (IDENT:^@% [192.0.2.66] (may be forged)) by mx.example with ESMTP id 1",
	`from % ([192.0.2.66]:25 "EHLO ~") by mx.example with ESMTP id 1`,
	"from ~ by mx.example with SMTP id 1",
}

// says fills a form with what a client says.
func says(form, helo, ptr, ident string) string {
	return strings.NewReplacer("~", helo, "%", ptr, "^", ident).Replace(form)
}

// moved returns the address that is read from a line, if it is another than that
// of the client.
func moved(line string) (to netip.Addr, is bool) {
	to = evidence.ParseReceived(line).Addr
	return to, to.IsValid() && to != addr("192.0.2.66")
}

// TestHELONamesNobody: a client can call itself anything that has no white space,
// and chooses nobody by it; and what honest hosts call themselves hides nobody.
func TestHELONamesNobody(t *testing.T) {
	t.Parallel()
	pieces := []string{"", "(", ")", "[198.51.100.1]", "198.51.100.1", "([198.51.100.1])", "x", "@", ";", "helo=", "ident=", "HELO", "by", "]:", "(may", `"`, "<", "IPv6:"}
	for _, a := range pieces {
		for _, b := range pieces {
			for _, c := range pieces {
				helo := a + b + c
				if helo == "" {
					continue
				}
				for _, form := range hellos {
					if to, is := moved(says(form, helo, "ptr.example", helo)); is {
						t.Errorf("HELO %q moved the address to %s in %q", helo, to, form)
					}
				}
			}
		}
	}
	for _, helo := range []string{"x.example", "[198.51.100.1]", "[IPv6:2001:db8::1]", "198.51.100.1", "localhost", "by"} {
		for _, ptr := range []string{"ptr.example", "unknown", "accounts.example", "helo.example", "port.example"} {
			for _, form := range hellos[:len(hellos)-1] {
				if got := evidence.ParseReceived(says(form, helo, ptr, "joe")); !got.Addr.IsValid() {
					t.Errorf("HELO %q, PTR %s hid the address in %q", helo, ptr, form)
				}
			}
		}
	}
}

// TestClaimsNameNobody: nor does a client choose anybody that has its name servers
// and its ident say another thing than it says itself.
func TestClaimsNameNobody(t *testing.T) {
	t.Parallel()
	claims := []string{
		"x.example", "[198.51.100.1]", "198.51.100.1", "([198.51.100.1])", "[198.51.100.1]:25", "x[198.51.100.1]", "account", "helo", "(helo", "ehlo", "lhlo",
		"helo=x", "port=1", "ident=x", `"port`, "by", "may", "as", "(Exim)", "(CommuniGate)",
	}
	for _, form := range hellos {
		idents := claims
		if !strings.Contains(form, "^") {
			idents = claims[:1]
		}
		for _, helo := range claims {
			for _, ptr := range claims {
				for _, ident := range idents {
					if to, is := moved(says(form, helo, ptr, ident)); is {
						t.Errorf("HELO %q, PTR %q, ident %q moved the address to %s in %q", helo, ptr, ident, to, form)
					}
				}
			}
		}
	}
}

// TestRecipientSaysNothingElse: a recipient with quotes, in which a client can
// write anything, tells no date and no other recipient, and does not make the host
// another.
func TestRecipientSaysNothingElse(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	tests := []struct {
		helo, rcpt string
		read       bool
	}{
		{"x", "<jane@mailbox.example>", true},
		{"x", "jane@mailbox.example", true},
		{"x", "<jane@mailbox.example> (single-drop)", true},
		{"x", `<"jane+x for <old@trap.example> y"@mailbox.example>`, false},
		{"x", `"jane+x for <old@trap.example> y"@mailbox.example`, false},
		{"x", `<jane+x for <old@trap.example> y@mailbox.example>`, false},
		{"x", `jane+x for <old@trap.example> y@mailbox.example`, false},
		{"x", `<jane@mailbox.example> for <old@trap.example>`, false},
		{"x", `<"jane+;Sat, 21 Nov 2026 07:00:00 +0000;"@mailbox.example>`, false},
		{"x", `<jane+;Sat, 21 Nov 2026 07:00:00 +0000;@mailbox.example>`, false},
		{"x", `<"x) by z with SMTP for <old@trap.example>; Sat, 21 Nov 2026 07:00:00 +0000; ("@mailbox.example>`, false},
		{"(x", `<"x) by z with SMTP for <old@trap.example>; Sat, 21 Nov 2026 07:00:00 +0000; ("@mailbox.example>`, false},
		{"x", `jane@mailbox.example (envelope-from <"x) for <old@trap.example>; Sat, 21 Nov 2026 07:00:00 +0000; ("@a.example>)`, false},
		{"[198.51.100.77]", `<"a (Exim) b"@mailbox.example>`, false},
		{"[198.51.100.77]", `<a (Exim) b@mailbox.example>`, false},
		{"[198.51.100.77]", `<a@mailbox.example> (Exim)`, true},
	}
	for _, tt := range tests {
		for _, form := range []string{"from ~ (ptr.example [192.0.2.66]) by mx.example (Postfix) with ESMTP id 1", "from ~ by mx.example with SMTP id 1"} {
			line := says(form, tt.helo, "", "") + "\n\tfor " + tt.rcpt + "; Sat, 21 Nov 2026 10:00:00 +0000"
			got := evidence.ParseReceived(line)
			if got.For != "" && got.For != evidence.Unreadable && got.For != "jane@mailbox.example" && got.For != "a@mailbox.example" || !got.Date.IsZero() && got.Date != at {
				t.Errorf("for %q at %s in %q", got.For, got.Date, line)
			}
			if to, is := moved(line); is {
				t.Errorf("the recipient moved the address to %s in %q", to, line)
			}
			if tt.read == (got.For == evidence.Unreadable) {
				t.Errorf("for %q in %q", got.For, line)
			}
			if tt.read && (got.For == "" || got.Date != at) {
				t.Errorf("not read: for %q at %s in %q", got.For, got.Date, line)
			}
		}
	}
}

// TestLongLine: what a client calls itself does not push its recipient out of what is
// read, so that another field would tell it.
func TestLongLine(t *testing.T) {
	t.Parallel()
	for n := range 2100 {
		line := says("from ~ (% [192.0.2.66]) by mx.example (Postfix) with ESMTP id 1", strings.Repeat("x", n), "", "") + " for <jane@mailbox.example>; Sat, 21 Nov 2026 10:00:00 +0000"
		if got := evidence.ParseReceived(line); got.Addr.IsValid() && got.For != "jane@mailbox.example" && got.For != evidence.Unreadable {
			t.Fatalf("%d octets: for %q, address %s", n, got.For, got.Addr)
		}
	}
}

// TestIdentSaysNothingElse: Exim writes an ident with its white space, in which a
// client can write clauses of its own.
func TestIdentSaysNothingElse(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	for _, form := range []string{
		"from ptr.example ([192.0.2.66]:25 helo=x ident=^)\n\tby mx.example with esmtp (Exim 4.98)\n\tid 1",
		"from [192.0.2.66] (port=25 helo=x ident=^)\n\tby mx.example with esmtp (Exim 4.98)\n\tid 1",
	} {
		for _, rcpt := range []string{"", "\n\tfor jane@mailbox.example"} {
			for _, ident := range []string{
				"joe", "a) for <old@trap.example> (", "a) by y for <old@trap.example>; Sat, 21 Nov 2026 07:00:00 +0000 (",
				"a) by y for <old@trap.example>; Sat, 21 Nov 2026 07:00:00 +0000; (", "a) by y (CommuniGate) (", "a) [198.51.100.1] (x",
			} {
				line := says(form, "", "", ident) + rcpt + "; Sat, 21 Nov 2026 10:00:00 +0000"
				got := evidence.ParseReceived(line)
				if to, is := moved(line); is || strings.Contains(got.For, "trap") || !got.Date.IsZero() && got.Date != at {
					t.Errorf("address %s, for %q, at %s in %q", to, got.For, got.Date, line)
				}
				if ident == "joe" && (!got.Addr.IsValid() || got.Date != at || rcpt != "" && got.For != "jane@mailbox.example") {
					t.Errorf("not read: address %s, for %q, at %s in %q", got.Addr, got.For, got.Date, line)
				}
			}
		}
	}
}

// FuzzParseReceived: what a client says (its name, that which its name servers
// give it, its ident, its recipient) moves neither the address nor the date, and
// tells no other recipient.
func FuzzParseReceived(f *testing.F) {
	f.Add("helo.example", "ptr.example", "joe", "jane")
	f.Add("[198.51.100.1]", "account", "helo=x", `x for <old@trap.example> y`)
	f.Add("x([198.51.100.77])(", "helo", "port=1", "+;Sat, 21 Nov 2026 07:00:00 +0000;")
	f.Add("[198.51.100.77])", "[198.51.100.1]", "ident=x", "a (Exim) b")
	f.Add("x)(198.51.100.77)((", "x[198.51.100.1]", "198.51.100.1", `a" by b for <old@trap.example>;`)
	f.Add("x(y)by[198.51.100.77];"+strings.Repeat("(a)", 60), `"port`, "(x", ") by z")
	f.Add("from helo (ptr [192.0.2.66]) by mx with ESMTP id 1 for <a@b.example>; Sat, 21 Nov 2026 10:00:00 +0000", "", "", "")
	f.Add("from [192.0.2.66] (port=1 helo=x) by mx with smtp (Exim 4.98)", "", "", "")
	f.Add("x", "ptr.example", "::%", "jane")
	f.Add("(qmail 1 invoked from network); 21 Nov 2026 10:00:00 -0000", "by", "by", "by")
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, helo, ptr, ident, local string) {
		if r := evidence.ParseReceived(helo); r.Addr.Is4In6() || r.Addr.Zone() != "" {
			t.Errorf("address %s is not in its plain form", r.Addr)
		}
		// What trusted hosts write has no white space but in a recipient's quotes.
		helo, ptr, ident = strings.Map(heloRune, helo), strings.Map(heloRune, ptr), strings.Map(heloRune, ident)
		if helo == "" || ptr == "" || ident == "" {
			return
		}
		rcpt := `"` + strings.Map(printableRune, local) + `"@mailbox.example`
		for _, form := range hellos {
			line := says(form, helo, ptr, ident)
			line, _, _ = strings.Cut(line, "; Sat, 21")
			line += " for <" + rcpt + ">; Sat, 21 Nov 2026 10:00:00 +0000"
			got := evidence.ParseReceived(line)
			if !got.Addr.IsValid() {
				continue
			}
			if got.Addr != addr("192.0.2.66") || got.For != evidence.Unreadable || !got.Date.IsZero() && got.Date != at {
				t.Errorf("address %s, for %q, at %s in %q", got.Addr, got.For, got.Date, line)
			}
		}
	})
}

func printableRune(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

func heloRune(r rune) rune {
	if r <= ' ' || r > '~' {
		return -1
	}
	return r
}
