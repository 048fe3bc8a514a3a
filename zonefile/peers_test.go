package zonefile_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// peer finds a program of the system that a test needs. It may be missing on a
// developer's machine, and must not be where BACKSCATTER_PEERS=require is set.
func peer(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/usr/bin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	switch {
	case err == nil:
		return path
	case os.Getenv("BACKSCATTER_PEERS") == "require":
		t.Fatalf("%s is not installed, and BACKSCATTER_PEERS=require", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// save writes files of a zone into a directory that other users can read.
func save(t *testing.T, z *zonefile.Zone, s *listing.Snapshot, formats ...zonefile.Format) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range formats {
		if err := os.WriteFile(filepath.Join(dir, f.File(z)), write(t, f, z, s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func peerSnapshots() map[string]*listing.Snapshot {
	return map[string]*listing.Snapshot{
		"sample": sample(),
		"random": randomSnapshot(rand.New(rand.NewPCG(9, 10)), 500),
		"empty":  snapshotOf(),
		"ended":  ended(),
	}
}

func TestZoneCheckers(t *testing.T) {
	t.Parallel()
	inside := testZone()
	inside.NS = []string{"ns1.bl.example"}
	for _, program := range []string{"named-checkzone", "nsd-checkzone"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			path := peer(t, program)
			for name, s := range peerSnapshots() {
				for _, z := range []*zonefile.Zone{testZone(), inside} {
					dir := save(t, z, s, zonefile.Master)
					out, err := exec.Command(path, "bl.example", filepath.Join(dir, zonefile.Master.File(z))).CombinedOutput()
					if err != nil || strings.Contains(strings.ToLower(string(out)), "warning") {
						t.Errorf("%s: %v\n%s", name, err, out)
					}
				}
			}
		})
	}
}

// TestRbldnsd loads all files and compares its answers with our own, to the
// byte, for every entry, its neighbours, the test points and random addresses.
func TestRbldnsd(t *testing.T) {
	t.Parallel()
	path := peer(t, "rbldnsd")
	for name, s := range peerSnapshots() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := testZone()
			s := s.Next(listing.Next{Sequence: sequence, Time: time.Now().Add(-time.Hour)}) // its stamp is compared with the clock
			server := startRbldnsd(t, path, save(t, z, s, zonefile.IP4Set, zonefile.IP6Trie, zonefile.Combined), z)
			rng := rand.New(rand.NewPCG(11, 12))
			addrs := []netip.Addr{}
			for last := range 12 {
				v4 := netip.AddrFrom4([4]byte{127, 0, 0, byte(last)})
				addrs = append(addrs, v4, netip.AddrFrom16(v4.As16()))
			}
			for e := range s.All() {
				addrs = append(addrs, e.Prefix.Addr(), near(rng, e.Prefix), near(rng, e.Prefix))
			}
			for range 1000 {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + rng.IntN(223)), byte(rng.IntN(3))}), 8)
				addrs = append(addrs, near(rng, p))
			}
			six := *z
			six.Name = "six.example." // without the IPv4 data, which would answer
			both := *z
			both.Name = "both.example." // one combined file, and its sub-zones
			combined := []*zonefile.Zone{&both}
			for _, class := range listing.Classes {
				if z.Classes.Has(class) {
					sub := both
					sub.Name, sub.Classes = class.String()+"."+both.Name, listing.ClassSetOf(class)
					combined = append(combined, &sub)
				}
			}
			for i, addr := range addrs {
				server.compare(t, z, s, addr)
				server.compare(t, combined[i%len(combined)], s, addr)
				if mapped := addr.Is4In6(); mapped || addr.Is6() {
					server.compare(t, &six, s, addr)
				}
			}
		})
	}
}

type rbldnsd struct {
	addr string
	conn *dns.Conn
}

func startRbldnsd(t *testing.T, path, dir string, z *zonefile.Zone) *rbldnsd {
	t.Helper()
	zone := strings.TrimSuffix(z.Name, ".")
	return runRbldnsd(t, path, dir, z.Name,
		zone+":ip4set:"+filepath.Join(dir, zonefile.IP4Set.File(z)),
		zone+":ip6trie:"+filepath.Join(dir, zonefile.IP6Trie.File(z)),
		"both.example:combined:"+filepath.Join(dir, zonefile.Combined.File(z)),
		"six.example:ip6trie:"+filepath.Join(dir, zonefile.IP6Trie.File(z)))
}

// runRbldnsd has it serve zones from files in a directory, until it answers for one of them.
func runRbldnsd(t *testing.T, path, dir, apex string, zones ...string) *rbldnsd {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command(path, append([]string{"-n", "-b", "127.0.0.1/" + strconv.Itoa(port)}, zones...)...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	// It gives up root, and must be able to read the files then.
	for up := dir; strings.HasPrefix(up, os.TempDir()+"/"); up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if complaints.Len() > 0 {
			t.Errorf("rbldnsd complains: %s", complaints.String())
		}
	})
	r := &rbldnsd{addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	r.conn = must(dns.Dial("udp", r.addr))(t)
	t.Cleanup(func() { r.conn.Close() })
	for deadline := time.Now().Add(20 * time.Second); ; {
		m := new(dns.Msg).SetQuestion(apex, dns.TypeSOA)
		c := dns.Client{Timeout: 200 * time.Millisecond}
		if reply, _, err := c.ExchangeWithConn(m, r.conn); err == nil && len(reply.Answer) == 1 {
			if got := reply.Answer[0].(*dns.SOA).Serial; got != sequence {
				t.Fatalf("serial %d, want %d", got, sequence)
			}
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("rbldnsd does not answer: %s", complaints.String())
		}
		r.conn.Close()
		time.Sleep(20 * time.Millisecond) // it has no other sign of being ready
		r.conn = must(dns.Dial("udp", r.addr))(t)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	conn := must(net.ListenPacket("udp", "127.0.0.1:0"))(t)
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

func (r *rbldnsd) ask(t *testing.T, name string, rrtype uint16) (rcode int, data string) {
	t.Helper()
	c := dns.Client{Timeout: 5 * time.Second}
	reply, _, err := c.ExchangeWithConn(new(dns.Msg).SetQuestion(name, rrtype), r.conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, rr := range reply.Answer {
		data += dns.Field(rr, 1)
		if rr.Header().Ttl != 300 {
			t.Errorf("%s: TTL %d", name, rr.Header().Ttl)
		}
	}
	return reply.Rcode, data
}

func (r *rbldnsd) compare(t *testing.T, z *zonefile.Zone, s *listing.Snapshot, addr netip.Addr) {
	t.Helper()
	name := z.Owner(addr)
	if addr.Is4In6() { // asked as nibbles
		name = z.Name
		for _, b := range addr.As16() {
			name = fmt.Sprintf("%x.%x.", b&0xf, b>>4) + name
		}
	}
	wantA, wantTXT, wantRcode := "", "", dns.RcodeNameError
	if e, ok := z.Lookup(s, addr); ok {
		wantA, wantTXT, wantRcode = zonefile.Code(e.Class).String(), z.Text(e), dns.RcodeSuccess
	}
	if rcode, got := r.ask(t, name, dns.TypeA); got != wantA || rcode != wantRcode {
		t.Errorf("%s: rbldnsd says A %q (%s), want %q", addr, got, dns.RcodeToString[rcode], wantA)
	}
	if _, got := r.ask(t, name, dns.TypeTXT); got != wantTXT {
		t.Errorf("%s: rbldnsd says TXT\n%q, want\n%q", addr, got, wantTXT)
	}
}
