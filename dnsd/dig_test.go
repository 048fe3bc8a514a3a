package dnsd_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDig has Debian's dig read our answers: it complains of what is malformed,
// of answers from elsewhere and of questions that do not match.
func TestDig(t *testing.T) {
	t.Parallel()
	dig, err := exec.LookPath("dig")
	if err != nil {
		if os.Getenv("BACKSCATTER_PEERS") == "require" {
			t.Fatal(err)
		}
		t.Skip("dig is not installed (Debian: bind9-dnsutils)")
	}
	o := options(t)
	o.Listen = []string{":0"}
	s := serve(t, o)
	_, port, err := net.SplitHostPort(s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want []string // lines, or parts of them
	}{
		{"+short 66.2.0.192.bl.example A", []string{"127.0.0.2"}},
		{"+short +tcp 66.2.0.192.bl.example A", []string{"127.0.0.2"}},
		{"+short +tcp +keepopen 66.2.0.192.bl.example A 2.0.0.127.bl.example A", []string{"127.0.0.2\n127.0.0.2"}},
		{"65.2.0.192.bl.example A", []string{"status: NXDOMAIN", "flags: qr aa rd;", "; EDNS: version: 0, flags:; udp: 1232", "bl.example.\t\t300\tIN\tSOA\t"}},
		{"+noedns 2.0.192.bl.example NS", []string{"status: NOERROR", "QUERY: 1, ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 0"}},
		{"+edns=1 +noednsnegotiation bl.example SOA", []string{"status: BADVERS", "; EDNS: version: 0"}},
		{"+ednsopt=100 +ednsflags=0x40 +dnssec bl.example SOA", []string{"status: NOERROR", "flags: do; udp: 1232", "ANSWER: 1"}},
		{"+opcode=15 +header-only", []string{"opcode: RESERVED15, status: NOTIMP"}},
		{"+ignore +bufsize=512 big.example NS", []string{"flags: qr aa tc rd;", "; EDNS: version: 0"}},
		{"big.example NS", []string{";; Truncated, retrying in TCP mode.", "ANSWER: 60"}},
		{"www.example.net A", []string{"status: REFUSED", "flags: qr rd;"}},
		{"+tcp www.example.net A", []string{"status: REFUSED", "flags: qr rd;", "; EDE: 20 (Not Authoritative)"}},
		{"+notcp bl.example AXFR", []string{"Transfer failed."}},
		{"+short CH version.bind TXT", []string{`backscatter \"1\\0\"`}},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			// dig shares ports as the server does: from the same address, the kernel
			// may give it the server's own, and it then reads its own question.
			args := append([]string{"@127.0.0.1", "-p", port, "-b", "127.0.0.2", "+time=5", "+tries=1", "+nocookie"}, strings.Fields(c.args)...)
			out, err := exec.Command(dig, args...).CombinedOutput()
			if err != nil && !strings.Contains(c.args, "AXFR") {
				t.Fatalf("dig %s: %v\n%s", args, err, out)
			}
			text := strings.ReplaceAll(string(out), "\r", "")
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					t.Errorf("dig %s: no %q in\n%s", args, want, text)
				}
			}
			var complaints []string
			for line := range strings.Lines(text) {
				if strings.Contains(line, "WARNING") && !strings.Contains(line, "recursion requested but not available") || strings.Contains(line, "mismatch") {
					complaints = append(complaints, line)
				}
			}
			if diff := cmp.Diff([]string(nil), complaints); diff != "" {
				t.Errorf("dig %s complains:\n%s", args, diff)
			}
		})
	}
}
