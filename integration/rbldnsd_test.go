package integration_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

// mirrored has a zone of all classes and one of bounces alone, both exported.
const mirrored = quick + `
zones:
  - {name: bl.example, ns: [ns1.dns.example, ns2.dns.example]}
  - {name: bounces.bl.example, ns: [ns1.dns.example], classes: [bounce]}
exports:
  - {zone: bl.example, dir: EXPORT/bl.example, formats: [ip4set, ip6trie, zone], every: 1s, brake: 0}
  - {zone: bounces.bl.example, dir: EXPORT/bounces.bl.example, formats: [ip4set, ip6trie, zone], every: 1s, brake: 0}
`

var mirroredZones = []string{"bl.example", "bounces.bl.example"}

// TestMirrors exports a list of everything, has other programs load it, and
// compares what they answer with what the daemon answers.
func TestMirrors(t *testing.T) {
	t.Parallel()
	export := filepath.Join(shortDir(t), "export")
	if err := errors.Join(os.Mkdir(export, 0o755), os.Chmod(filepath.Dir(export), 0o755)); err != nil { // rbldnsd gives up root before it reads
		t.Fatal(err)
	}
	d := startDaemon(t, strings.ReplaceAll(mirrored, "EXPORT", export))
	list := fill(t, d, rand.New(rand.NewPCG(seedOf(t), 0)))
	ours := newAsker(t, "udp", d.dns)
	awaitExport(t, d, export, ours.serial(t, "bl.example"))

	for _, zone := range mirroredZones {
		for _, format := range []string{"ip4set", "ip6trie", "zone"} {
			scheduled, err := os.ReadFile(filepath.Join(export, zone, zone+"."+format))
			if err != nil {
				t.Fatal(err)
			}
			if demanded := d.site.must("export", "--format", format, "--zone", zone); demanded != string(scheduled) {
				t.Errorf("%s.%s: the export on demand is not the scheduled one", zone, format)
			}
		}
	}
	for program, debian := range map[string]string{"named-checkzone": "bind9-utils", "nsd-checkzone": "nsd"} {
		t.Run(program, func(t *testing.T) { checkZones(t, peer(t, program, debian), d.site) })
	}
	t.Run("rbldnsd", func(t *testing.T) {
		server := startRbldnsd(t, export)
		pair := &pair{t: t, ours: ours, theirs: newAsker(t, "udp", server.addr), ending: list.ending, bounces: true}
		pair.theirs.answersAgain(t, "bl.example")
		pair.compareList(list)
		pair.compareOddities(d.dns, server.addr)

		gone := netip.MustParseAddr("192.0.2.66")
		r := run(t, exec.Command(d.site.program, "delist", gone.String(), "--reason", "mended", "--config", d.site.config))
		if r.code != 0 {
			t.Fatalf("delist: %s", r.stderr)
		}
		awaitExport(t, d, export, ours.serial(t, "bl.example"))
		if err := server.Process.Signal(syscall.SIGHUP); err != nil { // read the files anew
			t.Fatal(err)
		}
		eventually(t, "rbldnsd has the new serial", func(context.Context) error {
			if got, want := pair.theirs.serial(t, "bl.example"), ours.serial(t, "bl.example"); got != want {
				return fmt.Errorf("serial %d, want %d", got, want)
			}
			return nil
		})
		delete(list.codes, gone)
		list.clean = append(list.clean, gone)
		pair.compareList(list)
	})
}

var endSerial = regexp.MustCompile(`# END serial=(\d+) `)

// awaitExport waits until the daemon says that the files are of the serial, and
// wants them to be.
func awaitExport(t *testing.T, d *daemon, dir string, serial uint32) {
	t.Helper()
	eventually(t, "the export has the new serial", func(ctx context.Context) error {
		status, err := d.client.Status(ctx)
		if err != nil {
			return err
		}
		if len(status.Exports) != len(mirroredZones) {
			return fmt.Errorf("%d exports", len(status.Exports))
		}
		for _, e := range status.Exports {
			if e.Serial != serial || e.Error != "" {
				return fmt.Errorf("%s has serial %d, want %d (error %q)", e.Zone, e.Serial, serial, e.Error)
			}
		}
		return nil
	})
	for _, zone := range mirroredZones {
		for _, format := range []string{"ip4set", "ip6trie"} {
			text, err := os.ReadFile(filepath.Join(dir, zone, zone+"."+format))
			if err != nil {
				t.Fatal(err)
			}
			if m := endSerial.FindSubmatch(text); m == nil || string(m[1]) != fmt.Sprint(serial) {
				t.Errorf("%s.%s ends with %q, want serial %d", zone, format, m, serial)
			}
		}
	}
}

// checkZones has a server's checker read the zone files.
func checkZones(t *testing.T, program string, s *site) {
	t.Helper()
	for _, zone := range mirroredZones {
		path := filepath.Join(t.TempDir(), zone+".zone")
		if r := run(t, exec.Command(s.program, "export", "--format", "zone", "--zone", zone, "--output", path, "--config", s.config)); r.code != 0 {
			t.Fatalf("export: %s", r.stderr)
		}
		r := run(t, exec.Command(program, zone, path))
		if words := strings.ToLower(r.stdout + r.stderr); r.code != 0 || strings.Contains(words, "warning") || strings.Contains(words, "error") {
			t.Errorf("%s: exit code %d\n%s%s", zone, r.code, r.stdout, r.stderr)
		}
	}
}

type rbldnsd struct {
	*process
	addr string
}

// startRbldnsd has rbldnsd load all its files in the folder, without a word of
// complaint now and later. With -a it leaves out what nobody asked for, as we
// do; with -c 0 it looks at the files only when told to.
func startRbldnsd(t *testing.T, dir string) *rbldnsd {
	t.Helper()
	path := peer(t, "rbldnsd", "rbldnsd")
	var out, complaints logBuffer
	port := freePort(t)
	args := []string{"-n", "-a", "-c", "0", "-b", fmt.Sprintf("127.0.0.1/%d", port)}
	for _, zone := range mirroredZones {
		for _, format := range []string{"ip4set", "ip6trie"} {
			args = append(args, zone+":"+format+":"+filepath.Join(dir, zone, zone+"."+format))
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	t.Cleanup(func() { // after it has ended: cleanups run last to first
		if text := complaints.String(); text != "" {
			t.Errorf("rbldnsd complains:\n%s", text)
		}
		if t.Failed() {
			t.Logf("rbldnsd says:\n%s", out.String())
		}
	})
	return &rbldnsd{launch(t, cmd), fmt.Sprintf("127.0.0.1:%d", port)}
}

// freePort returns a UDP port that was free a moment ago, for programs that
// cannot tell which one they got.
func freePort(t *testing.T) int {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// pair asks two servers the same and wants the same answer, but for what
// rbldnsd is known to do otherwise:
//
//   - it says NXDOMAIN for an empty non-terminal;
//   - it gives a listing that ends soon the TTL of all others;
//   - it reads octets with leading zeros, which stand for no address (066 may
//     have been meant as octal, and is not 66 then);
//   - it has no _status;
//   - it knows neither EDNS nor TCP.
type pair struct {
	t            *testing.T
	ours, theirs *asker
	ending       netip.Addr
	bounces      bool // they have the zone of bounces too
	mirror       bool // theirs is a mirror of ours, which only does not know when a listing ends
}

// compareList compares all that is listed, what is not, and the names above
// both.
func (p *pair) compareList(list *contents) {
	p.t.Helper()
	for addr, code := range list.codes {
		if got := p.compareAddr(addr); got != code {
			p.t.Errorf("%s is answered with %s, want %s", addr, got, code)
		}
	}
	for _, addr := range list.clean {
		if got := p.compareAddr(addr); got != "" {
			p.t.Errorf("%s is answered with %s, and is not listed", addr, got)
		}
		labels := strings.Split(reversed(addr), ".")
		cut := 1 + int(addr.As16()[15])%(len(labels)-1)
		p.compare(strings.Join(labels[cut:], "."), "bl.example", dns.TypeA)
	}
	for last := range 16 { // the test points
		p.compareAddr(netip.AddrFrom4([4]byte{127, 0, 0, byte(last)}))
	}
}

// compareAddr compares the answers about an address and returns the code.
func (p *pair) compareAddr(addr netip.Addr) (code string) {
	p.t.Helper()
	name := reversed(addr)
	if reply := p.compare(name, "bl.example", dns.TypeA); len(reply.Answer) == 1 {
		code = field(reply.Answer[0])
	}
	p.compare(name, "bl.example", dns.TypeTXT)
	if addr.As16()[15]%8 == 0 { // the rest is not for each of them
		if p.bounces {
			p.compare(name, "bounces.bl.example", dns.TypeA)
		}
		p.compare(name, "bl.example", dns.TypeMX)
		p.compare(strings.ToUpper(name), "Bl.ExamplE", dns.TypeAAAA)
		if addr.Is4() { // as nibbles
			p.compare(reversed(netip.AddrFrom16(addr.As16())), "bl.example", dns.TypeTXT)
		}
	}
	return code
}

// compare asks both servers for a name in a zone, and returns our answer.
func (p *pair) compare(labels, zone string, rrtype uint16) *dns.Msg {
	p.t.Helper()
	name := labels + "." + zone
	ours, theirs := p.ours.ask(p.t, name, rrtype), p.theirs.ask(p.t, name, rrtype)
	want := ours.Copy()
	if !p.mirror && len(ours.Answer) == 0 && emptyNonTerminal(labels) && len(p.ours.ask(p.t, name, dns.TypeA).Answer) == 0 {
		if ours.Rcode != dns.RcodeSuccess {
			p.t.Errorf("%s: we deny what lies below it: %s", name, dns.RcodeToString[ours.Rcode])
		}
		want.Rcode = dns.RcodeNameError
	}
	if labels == reversed(p.ending) || labels == reversed(netip.AddrFrom16(p.ending.As16())) {
		for _, rr := range want.Answer {
			if left := rr.Header().Ttl; left < 30 || left > 240 {
				p.t.Errorf("%s: TTL %d for a listing that ends within four minutes", name, left)
			}
			rr.Header().Ttl = 300
		}
	}
	if got, want := shape(theirs), shape(want); got != want {
		p.t.Errorf("%s %s: got\n%swant\n%s", name, dns.TypeToString[rrtype], got, want)
	}
	return ours
}

// shape is all of a reply that must be the same. Letter case is a matter of the
// answer's owner, which must be the asker's, and of its text; in the names of
// other sections it depends on how they are compressed.
func shape(m *dns.Msg) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s aa=%t tc=%t ra=%t\n", dns.RcodeToString[m.Rcode], m.Authoritative, m.Truncated, m.RecursionAvailable)
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		lines := make([]string, 0, len(section))
		for _, rr := range section {
			if line := rr.String(); i == 0 {
				lines = append(lines, line)
			} else {
				lines = append(lines, strings.ToLower(line))
			}
		}
		slices.Sort(lines)
		fmt.Fprintln(&b, strings.Join(lines, "\n"))
	}
	return b.String()
}

var (
	octets  = regexp.MustCompile(`^([1-9]?[0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])(\.([1-9]?[0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])){0,2}$`)
	nibbles = regexp.MustCompile(`^[0-9a-fA-F](\.[0-9a-fA-F]){0,30}$`)
	digits  = regexp.MustCompile(`^([0-9]\.){3}[0-9]$`)
)

// emptyNonTerminal reports whether names of addresses lie below the labels: 1
// to 3 octets, or 1 to 31 nibbles. What is both a whole IPv4 address and four
// nibbles is one where IPv6 addresses in use begin with them: those of 2000::/3
// and the mapped ones of ::ffff:0:0/96.
func emptyNonTerminal(labels string) bool {
	if digits.MatchString(labels) {
		return strings.ContainsAny(labels[len(labels)-1:], "023")
	}
	return octets.MatchString(labels) || nibbles.MatchString(labels)
}

// compareOddities compares what is no address, and makes sure that the
// differences are the known ones still.
func (p *pair) compareOddities(ours, theirs string) {
	p.t.Helper()
	for _, labels := range []string{
		"256.2.0.192", "66.2.0.999", "066.2.0.256", "x.2.0.192", "66.2.0.192.1", "66.2.0.192x", "-1.2.0.192", "66-2-0-192",
		"g.0.0.2", "www", strings.Repeat("0.", 32) + "2.0.0.1", "6", "192", "0.192", "f", "2.0.0.1", "1.0.0.2", "8.b.d.0.1.0.0.2",
	} {
		for _, rrtype := range []uint16{dns.TypeA, dns.TypeTXT} {
			p.compare(labels, "bl.example", rrtype)
		}
	}
	for _, zone := range mirroredZones {
		for _, rrtype := range []uint16{dns.TypeSOA, dns.TypeNS, dns.TypeA, dns.TypeMX} {
			if got, want := shape(p.theirs.ask(p.t, zone, rrtype)), shape(p.ours.ask(p.t, zone, rrtype)); got != want {
				p.t.Errorf("%s %s: rbldnsd answers\n%swant\n%s", zone, dns.TypeToString[rrtype], got, want)
			}
		}
	}
	if got := p.ours.data(p.t, "066.2.0.192.bl.example", dns.TypeA); got != "NXDOMAIN" {
		p.t.Errorf("we read leading zeros: %q", got)
	}
	if got := p.theirs.data(p.t, "066.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
		p.t.Errorf("rbldnsd does not read leading zeros: %q", got)
	}
	if got := p.ours.data(p.t, "_status.bl.example", dns.TypeTXT); !strings.HasPrefix(got, "serial=") {
		p.t.Errorf("our _status is %q", got)
	}
	if got := p.theirs.data(p.t, "_status.bl.example", dns.TypeTXT); got != "NXDOMAIN" {
		p.t.Errorf("rbldnsd has a _status: %q", got)
	}
	q := new(dns.Msg).SetQuestion("2.0.0.127.bl.example.", dns.TypeA).SetEdns0(1232, false)
	for server, knows := range map[string]bool{ours: true, theirs: false} {
		reply, _, err := (&dns.Client{Timeout: patience}).Exchange(q, server)
		if err != nil || len(reply.Answer) != 1 || (reply.IsEdns0() != nil) != knows {
			p.t.Errorf("%s with EDNS: %v\n%v", server, err, reply)
		}
		_, _, err = (&dns.Client{Net: "tcp", Timeout: patience}).Exchange(q, server)
		if (err == nil) != knows || !knows && !errors.Is(err, syscall.ECONNREFUSED) {
			p.t.Errorf("%s over TCP: %v", server, err)
		}
	}
}
