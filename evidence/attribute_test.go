package evidence_test

import (
	"net/netip"
	"strings"
	"testing"

	"backscatter/evidence"

	"pgregory.net/rapid"
)

// grammars is how mail servers write who connected: "~" is what the client
// called itself, ADDR its address. A server that cannot write IPv6 has no form
// for it.
var grammars = []struct {
	name, line string
	only4      bool
}{
	{"Postfix", "from ~ (bounces.example [LITERAL])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\n\t(No client certificate requested)\n\tby relay.example (Postfix) with ESMTPS id 4XyZ12\n\tfor <info@trap.example>; Sat, 21 Nov 2026 10:00:00 +0000 (UTC)", false},
	{"Postfix, without a name", "from ~ (unknown [LITERAL]) by relay.example (Postfix) with SMTP id 4XyZ12; Sat, 21 Nov 2026 10:00:00 +0000 (UTC)", false},
	{"Sendmail 8.17", "from ~ (bounces.example [LITERAL] (may be forged))\n\tby relay.example (8.17.1/8.17.1) with ESMTPS id 6ALA0 (version=TLSv1.3 verify=NO)\n\tfor <info@trap.example>; Sat, 21 Nov 2026 10:00:00 GMT", false},
	{"Sendmail 8.8", "from ~ (~@bounces.example [LITERAL]) by relay.example (8.8.8/8.8.8) with SMTP id KAA00123 for <info@trap.example>; Sat, 21 Nov 2026 10:00:00 GMT", true},
	{"Sendmail 8.8, without a name", "from ~ ([LITERAL]) by relay.example (8.8.5/8.8.5) with SMTP id KAA00123; Sat, 21 Nov 2026 10:00:00 GMT", true},
	{"Exim", "from bounces.example ([ADDR]:25025 helo=~)\n\tby relay.example with esmtps  (TLS1.3) tls TLS_AES_256_GCM_SHA384\n\t(Exim 4.98)\n\tid 1vMabc-000000004Xy-1Zab\n\tfor info@trap.example; Sat, 21 Nov 2026 10:00:00 +0000", false},
	{"Exim, without a name", "from [ADDR] (helo=~)\n\tby relay.example with esmtp (Exim 4.98)\n\tid 1vMabc-000000004Xy-1Zab; Sat, 21 Nov 2026 10:00:00 +0000", false},
	{"Exim, with ident", "from [ADDR] (port=25025 helo=~ ident=~)\n\tby relay.example with smtp (Exim 3.36)\n\tid 18abcd-0001zz-00; Sat, 21 Nov 2026 10:00:00 +0000", false},
	{"qmail", "from unknown (HELO ~) (ADDR)\n  by relay.example with SMTP; 21 Nov 2026 10:00:00 -0000", true},
	{"qmail, with ident", "from bounces.example (HELO ~) (~@ADDR)\n  by relay.example with SMTP; 21 Nov 2026 10:00:00 -0000", true},
	{"qpsmtpd", "from bounces.example (HELO ~) (ADDR)\n  by relay.example (qpsmtpd/0.96) with ESMTP; Sat, 21 Nov 2026 10:00:00 +0000", false},
	{"Exchange", "from ~ (ADDR) by relay.example\n (203.0.113.5) with Microsoft SMTP Server (version=TLS1_2,\n cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.20.8182.16 via Frontend\n Transport; Sat, 21 Nov 2026 10:00:00 +0000", false},
	{"Exchange 2003", "from ~ ([ADDR]) by relay.example with Microsoft SMTPSVC(6.0.3790.4675);\n\t Sat, 21 Nov 2026 10:00:00 +0000", false},
	{"Gmail", "from ~ (bounces.example. [LITERAL])\n        by mx.relay.example with ESMTPS id a1b2\n        for <info@trap.example>\n        (version=TLS1_3 cipher=TLS_AES_128_GCM_SHA256 bits=128/128);\n        Sat, 21 Nov 2026 02:00:00 -0800 (PST)", false},
	{"CommuniGate", "from [ADDR] (HELO ~)\n  by relay.example (CommuniGate Pro SMTP 6.3)\n  with ESMTP id 77; Sat, 21 Nov 2026 10:00:00 +0000", false},
	{"Courier", "from ~ (bounces.example [::ffff:ADDR])\n  by relay.example with esmtp; Sat, 21 Nov 2026 10:00:00 +0000\n  id 00000000.65000000.00001234", true},
	{"OpenSMTPD", "from ~ (bounces.example [LITERAL])\n\tby relay.example (OpenSMTPD) with ESMTP id 7f3e\n\tfor <info@trap.example>;\n\tSat, 21 Nov 2026 10:00:00 +0000 (UTC)", false},
	{"Haraka", "from ~ (bounces.example [LITERAL])\n\tby relay.example (Haraka/3.0.3) with ESMTP id 0A.1;\n\tSat, 21 Nov 2026 10:00:00 +0000", false},
	{"MDaemon", "from ~ (~ [LITERAL])\n\tby relay.example (relay.example)\n\t(MDaemon PRO v24.0.0)\n\twith ESMTP id md1.msg; Sat, 21 Nov 2026 10:00:00 +0000", true},
	{"IMail", "from ~ [LITERAL] by relay.example\n  (SMTPD32-7.07) id A1; Sat, 21 Nov 2026 10:00:00 +0000", true},
	{"hMailServer", "from ~ (bounces.example [LITERAL])\n\tby relay.example with ESMTP\n\t; Sat, 21 Nov 2026 10:00:00 +0000", false},
	{"Domino", "from ~ ([LITERAL])\n          by relay.example (Lotus Domino Release 9.0.1)\n          with ESMTP id 2026112110000000-1 ;\n          Sat, 21 Nov 2026 10:00:00 +0000", true},
	{"PowerMTA", "from ~ (ADDR) by relay.example id h1abc for <info@trap.example>; Sat, 21 Nov 2026 10:00:00 +0000 (envelope-from <>)", false},
	{"Yahoo", "from ADDR  (EHLO ~) (ADDR)\n  by mta.relay.example with SMTPs; Sat, 21 Nov 2026 10:00:00 +0000", true},
}

// in fills a grammar.
func in(line, helo, address string) string {
	literal := address
	if strings.Contains(address, ":") {
		literal = "IPv6:" + address
	}
	return "Received: " + strings.NewReplacer("LITERAL", literal, "ADDR", address, "~", helo).Replace(line) + "\n"
}

// ways is how a message comes to the reporter behind the relay that wrote the
// line about the host outside: the fields on top of that line, and who held the
// session with the sensor.
var ways = []struct{ name, top, client string }{
	{"out of the relay's own mailbox", "", ""},
	{"from the relay", "", "203.0.113.5"},
	{"from the relay, mapped", "", "::ffff:203.0.113.5"},
	{"from the relay by IPv6", "", "2001:db8:1::25"},
	{"from a process on the trap's own host", "", "127.0.0.1"},
	{"through a second relay", "Received: from relay.example (relay.example [203.0.113.5]) by mx.trap.example (Postfix) with ESMTP id 1\n", "203.0.113.6"},
	{"through a scanner on the relay", "Received: from localhost (localhost [127.0.0.1])\n\tby relay.example (Postfix) with ESMTP id 2; Sat, 21 Nov 2026 10:00:01 +0000\nReceived: from relay.example ([127.0.0.1])\n\tby localhost (relay.example [127.0.0.1]) (amavisd-new, port 10024)\n\twith ESMTP id x; Sat, 21 Nov 2026 10:00:01 +0000\n", ""},
	// An alias of the relay forwards to a mailbox at a large provider, out of
	// which the message is taken by the provider's API, as it stands.
	{"an alias into a provider, by its API", "Delivered-To: reader@provider.example\nReceived: by 2002:a05:7110:1234:b0:1 with SMTP id n1csp1;\n        Sat, 21 Nov 2026 02:00:02 -0800 (PST)\nX-Google-Smtp-Source: AGHT+x\nX-Received: by 2002:a05:6a00:1 with SMTP id d2;\n        Sat, 21 Nov 2026 02:00:01 -0800 (PST)\nARC-Seal: i=1; a=rsa-sha256; t=1; cv=none; d=provider.example; s=arc; b=x\nReturn-Path: <>\nReceived: from relay.example (relay.example. [203.0.113.5])\n        by mx.provider.example with ESMTPS id x3\n        for <reader@provider.example>;\n        Sat, 21 Nov 2026 02:00:01 -0800 (PST)\n", ""},
	// The same by POP: fetchmail writes a line of its own, and the provider's POP
	// server is registered as a relay.
	{"an alias into a provider, by POP", "Received: from pop.provider.example [203.0.113.9]\n\tby localhost with POP3 (fetchmail-6.4.37)\n\tfor <reader@localhost> (single-drop); Sat, 21 Nov 2026 10:05:00 +0000 (GMT)\nReceived: by 2002:a05:7110:1234:b0:1 with SMTP id n1csp1;\n        Sat, 21 Nov 2026 02:00:02 -0800 (PST)\nReceived: from relay.example (relay.example. [203.0.113.5])\n        by mx.provider.example with ESMTPS id x3\n        for <reader@provider.example>;\n        Sat, 21 Nov 2026 02:00:01 -0800 (PST)\n", ""},
	// A provider whose hosts name one another: all of its space is registered.
	{"an alias into Exchange Online", "Received: from AM1.prod.provider.example (2001:db8:1:10::1)\n by AM2.prod.provider.example with HTTPS; Sat, 21 Nov 2026 10:00:03 +0000\nReceived: from AM3.prod.provider.example (2001:db8:1:20::1)\n by AM1.prod.provider.example (2001:db8:1:10::2) with Microsoft SMTP Server (version=TLS1_2,\n cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.20.1; Sat, 21 Nov 2026 10:00:02 +0000\nReceived: from relay.example (203.0.113.5) by\n AM3.mail.provider.example (2001:db8:1:20::2) with Microsoft SMTP Server id 15.20.1 via Frontend Transport; Sat, 21 Nov 2026 10:00:01 +0000\n", ""},
}

// TestWays: whatever the way and the grammar, the host outside is found.
func TestWays(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	for _, way := range ways {
		for _, g := range grammars {
			for _, source := range []string{"192.0.2.66", "2001:db8:bad::66"} {
				if g.only4 && strings.Contains(source, ":") {
					continue
				}
				f := j.Judge(evidence.Report{
					Raw: bounceWith(way.top+in(g.line, "bounces.example", source), spam), Reporter: "local", Received: now, Held: way.client != "",
					Envelope: evidence.Envelope{Client: addr(way.client), Recipients: []string{"info@trap.example"}},
				}, now)
				if f.Source != addr(source) || f.Level.String() != "B" {
					t.Errorf("%s, %s: source %s level %s, want %s", way.name, g.name, f.Source, f.Level, source)
				}
			}
		}
	}
}

// TestNeverMoved: in no grammar can a client change who is accused: not by what
// it calls itself, and not by any line that it writes below the relay's. It can
// at most make the line unreadable, and then nobody is accused. Nor does it choose
// for whom its message was where that line, or one above it, says so; where none
// does, as for two recipients, it is taken from the To field, which is the client's.
// A client that the sensor does not know accuses nobody.
func TestNeverMoved(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	forged := make([]string, 0, 2*len(grammars))
	for _, g := range grammars {
		forged = append(forged, strings.TrimSuffix(in(g.line, "innocent.example", "198.51.100.77"), "\n"),
			strings.TrimSuffix(in(g.line, "relay.example", "203.0.113.5"), "\n"))
	}
	below := rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(forged), rapid.SampledFrom([]string{
		"Received: by relay.example (Postfix) id 1", "Received: (qmail 1 invoked from network)", "Received: from localhost ([127.0.0.1]) by relay.example",
		"X-Received: from x (x [198.51.100.77]) by relay.example", "X-Original-To: old@trap.example", "Delivered-To: old@trap.example",
		"Envelope-To: old@trap.example", "To: old@trap.example", "Received: by relay.example (Postfix) id 1 for <old@trap.example>", " (x [198.51.100.77])", "\t[198.51.100.77]", "", "--b", "From nobody", "\x00", "\r",
	}), rapid.StringN(0, 60, 200)), 0, 8)
	// What the servers let through in a HELO; none lets white space through.
	parts := rapid.SampledFrom([]string{
		"x", "(", ")", "((", "))", "(a)", "[198.51.100.77]", "([198.51.100.77])", "(198.51.100.77)", "(x@198.51.100.77)", "[IPv6:2001:db8::77]",
		";", "by", "from", "with", "LMTP", "(Exim)", "helo=", "(from", ",", "\"", "\\", "@", "<", ">", "203.0.113.5", "([203.0.113.5])",
	})
	helo := rapid.OneOf(rapid.StringMatching(`[!-~]{1,30}`), rapid.Custom(func(t *rapid.T) string {
		name := strings.Join(rapid.SliceOfN(parts, 1, 8).Draw(t, "parts"), "")
		return name + strings.Repeat("(a)", rapid.SampledFrom([]int{0, 0, 0, 60, 200}).Draw(t, "comments"))
	}), rapid.SampledFrom([]string{
		"[198.51.100.77]", "198.51.100.77", "[IPv6:2001:db8:1::77]", "helo=[198.51.100.77]", "ident=[198.51.100.77]", "by", "with", "[198.51.100.77]:25", "x@198.51.100.77",
	}))
	rapid.Check(t, func(rt *rapid.T) {
		g := rapid.SampledFrom(grammars).Draw(rt, "grammar")
		way := rapid.SampledFrom(ways).Draw(rt, "way")
		name := helo.Draw(rt, "helo")
		line := strings.ReplaceAll(g.line, "info@trap.example", "jane@mailbox.example")
		raw := way.top + in(line, name, "192.0.2.66") + strings.Join(below.Draw(rt, "below"), "\n") + "\n\nbody\n"
		report := evidence.Report{
			Raw: []byte(raw), Reporter: "local", Received: now, Held: way.client != "", Envelope: evidence.Envelope{Client: addr(way.client)},
		}
		f := j.Judge(report, now)
		if f.Source.IsValid() && f.Source != addr("192.0.2.66") {
			rt.Fatalf("source %s", f.Source)
		}
		// Whom it was for is told by the relay's line, or by one above it.
		if f.Source.IsValid() && f.RecipientTrap && strings.Contains(way.top+line, "for <") {
			rt.Fatal("the client made its message one for a trap")
		}
		report.Nobody = true
		if f := j.Judge(report, now); f.Source.IsValid() {
			rt.Fatalf("source %s, of a client that is not known", f.Source)
		}
		if name == "bounces.example" && !f.Source.IsValid() {
			rt.Fatal("nobody is accused")
		}
	})
}

// TestQuotedRecipient: a recipient in quotes, of which the line could tell anything,
// makes the message none for a trap, whatever it says itself.
func TestQuotedRecipient(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	for rcpt, trap := range map[string]bool{
		`<info@trap.example>`:                                                             true,
		`<jane@mailbox.example>`:                                                          false,
		`<"jane+x for <info@trap.example> y"@mailbox.example>`:                            false,
		`<"jane+;Sat, 21 Nov 2026 07:00:00 +0000;"@mailbox.example>`:                      false,
		`jane@mailbox.example (envelope-from <"x) for <info@trap.example> ("@a.example>)`: false,
	} {
		raw := bounceWith("Received: from x (bounces.example [192.0.2.66]) by relay.example (Postfix) with ESMTP id 1 for "+rcpt+"; Sat, 21 Nov 2026 10:00:00 +0000\n", spam)
		f := j.Judge(evidence.Report{Raw: raw, Reporter: "local", Received: now}, now)
		nobody := !f.Source.IsValid() && strings.Contains(rcpt, "(") // a comment that is not closed before the quote
		if f.Source != addr("192.0.2.66") && !nobody || f.RecipientTrap != trap {
			t.Errorf("for %s: source %s, trap %t", rcpt, f.Source, f.RecipientTrap)
		}
	}
}

// TestNobody: what a sensor has from a client that it does not know accuses
// nobody, whatever the client wrote, and whoever handed it over.
func TestNobody(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	for _, g := range grammars {
		for _, client := range []string{"", "203.0.113.5", "127.0.0.1"} {
			f := j.Judge(evidence.Report{
				Raw: bounceWith(in(g.line, "bounces.example", "192.0.2.66"), spam), Reporter: "local", Received: now, Nobody: true,
				Envelope: evidence.Envelope{Client: addr(client), Recipients: []string{"info@trap.example"}},
			}, now)
			if f.Source.IsValid() || f.Reason != evidence.ReasonUnattributed {
				t.Errorf("%s, from %q: source %s, %s", g.name, client, f.Source, f.Reason)
			}
		}
	}
}

// TestForwarderIsNotAccused: without the forwarder among the relays, the
// message proves something about the forwarder at most; with it, nobody takes
// the forwarder for the source.
func TestForwarderIsNotAccused(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	relay := netip.MustParsePrefix("203.0.113.0/28")
	for _, way := range ways {
		// The relay's line lost its address: nobody can be accused.
		f := j.Judge(evidence.Report{
			Raw: bounceWith(way.top+"Received: from bounces.example by relay.example with SMTP id 1\n", spam), Reporter: "local", Received: now,
			Envelope: evidence.Envelope{Client: addr(way.client), Recipients: []string{"info@trap.example"}},
		}, now)
		if f.Source.IsValid() {
			t.Errorf("%s: source %s", way.name, f.Source)
		}
		if relay.Contains(f.Source) {
			t.Errorf("%s: the relay is accused", way.name)
		}
	}
}
