package intake

import (
	"bytes"
	"strings"
	"testing"
)

// Whatever a relay says, what comes of it is bounded, printable, and either a
// valid address or none.
func FuzzXCLIENT(f *testing.F) {
	for _, s := range []string{
		"ADDR=192.0.2.66 NAME=mail.sender.example HELO=mail", "ADDR=IPV6:2001:db8::66", "ADDR=IPV6:::ffff:192.0.2.1",
		"NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL]", "HELO=a+20b", "HELO=+", "addr=fe80::1%eth0", strings.Repeat("PORT=1 ", 20),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		g, err := parseXCLIENT(args)
		if err != nil {
			return
		}
		if g.addr.IsValid() && (g.addr.Is4In6() || g.addr.Zone() != "") {
			t.Errorf("address %s is not in its one form", g.addr)
		}
		for _, text := range []string{g.name, g.helo} {
			if len(text) > maxHELO || strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("%q came of %q", text, args)
			}
		}
	})
}

// The text of a message ends where RFC 5321 §4.1.1.4 says, however it is cut
// into pieces; no line of it is longer than go-smtp takes; and where no line was
// folded nothing is lost but CRs.
func FuzzStream(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\nQUIT\r\n", ".\r\r\n.\r\n", "\n.\n\r\n.\r\n", "..\r\n.\r\n", "a\r\r\n.\r\n", strings.Repeat("x", 50) + ".\r\n.\r\n", "x\rx\rx\rx\rx\rx\rx\rx\rx\rx\rx\rx\r"} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint8) {
		const fold = 16
		s := stream{fold: fold}
		s.text()
		var out []byte
		taken := 0
		for taken < len(in) && s.mode == text {
			piece := in[taken:min(len(in), taken+int(cut)+1)]
			var n int
			out, n = s.message(out, piece)
			taken += n
		}
		if bytes.Contains(out, []byte(".\r\r")) {
			return // no line end for go-smtp, and so none here
		}
		end := len(out)
		if bytes.HasPrefix(out, []byte(".\r\n")) {
			end = 3
		} else if at := bytes.Index(out, []byte("\r\n.\r\n")); at >= 0 {
			end = at + 5
		}
		if ended := s.mode == commands; ended != (end < len(out) || bytes.HasSuffix(out, []byte("\r\n.\r\n")) || string(out) == ".\r\n") || end != len(out) {
			t.Errorf("%q became %q, ended %v", in, out, ended)
		}
		for line := range bytes.Lines(out) {
			if len(line) > fold+3 {
				t.Errorf("line %q of %q", line, in)
			}
		}
		plain := func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r"), nil) }
		if !bytes.Contains(out, []byte("\r\n ")) && !bytes.Equal(plain(out), plain(in[:taken])) {
			t.Errorf("%q became %q", in[:taken], out)
		}
	})
}
