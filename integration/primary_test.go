package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// primaryRounds is how often the list changes in TestMirrorOfPrimary, times
// BACKSCATTER_TORTURE.
const primaryRounds = 50

// mirrorOf starts a mirror that takes a zone from primaries, on a port that they
// know.
func mirrorOf(t *testing.T, zone, key string, port int, primaries ...string) *daemon {
	t.Helper()
	s := newSite(t, fmt.Sprintf(`
dns: {listen: ["127.0.0.1:%d"], limits: {same: 0, all: 0}, keys: [{name: %s, file: %s}]}
http: {listen: "127.0.0.1:0"}
mirror: {zone: %s, transfer_key: %[2]s}
policy: {listable: [192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, "2001:db8::/32"]}
zones: [{name: %[4]s, ns: [ns.example.net], transfer: [{from: [127.0.0.1], key: %[2]s}]}]
`, port, transferKey, key, zone))
	s.args = []string{"--mirror", strings.Join(primaries, ",")}
	return s.start()
}

func transferKeyFile(t *testing.T) string {
	t.Helper()
	key := filepath.Join(shortDir(t), "transfer.key")
	if err := os.WriteFile(key, []byte(transferSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return key
}

// TestMirrorOfPrimary has mirrors of ours take a zone each, signed, and follow as they
// are told of changes, while they are killed in between; and wants them to answer what
// the primary does. At the end all records are compared.
func TestMirrorOfPrimary(t *testing.T) {
	t.Parallel()
	key := transferKeyFile(t)
	d := startDaemon(t, sharing(key))
	w := &world{t: t, d: d, rng: rand.New(rand.NewPCG(seedOf(t), 1996)), ours: newAsker(t, "udp", d.dns), listed: map[netip.Prefix]bool{}}
	w.change(60)
	dead := fmt.Sprintf("127.0.0.1:%d", freePortOfBoth(t)) // a second primary, that is down
	var told []string
	var mirrors []*daemon
	for _, zone := range sharedZones {
		port := freePortOfBoth(t)
		m := mirrorOf(t, zone, key, port, dead, d.dns)
		mirrors = append(mirrors, m)
		told = append(told, m.dns)
	}
	d.site.configure(sharing(key, told...))
	if _, err := d.client.Reload(within(t)); err != nil {
		t.Fatal(err)
	}
	part := func(i int) *world {
		one := *w
		one.compared = 0
		one.zones, one.theirs = sharedZones[i:i+1], []theirs{{"the mirror of " + sharedZones[i], newAsker(t, "udp", told[i])}}
		return &one
	}
	compare := func() {
		for i := range mirrors {
			one := part(i)
			one.awaitSerial()
			one.compare()
			w.compared += one.compared
		}
		w.touched = w.touched[:0]
	}
	for round := range primaryRounds * factor(t) {
		w.change(1 + w.rng.IntN(8))
		if round%10 == 4 { // while it takes what is new, or before, or afterwards
			i := w.rng.IntN(len(mirrors))
			mirrors[i].kill()
			if w.rng.IntN(2) == 0 {
				w.change(2)
			}
			// It answers at once from what it had.
			mirrors[i] = mirrors[i].site.start()
		}
		compare()
	}
	for p := range w.listed {
		w.touched = append(w.touched, p)
	}
	compare()
	for i, m := range mirrors {
		if want, got := wholeZone(t, d.dns, sharedZones[i]), wholeZone(t, m.dns, sharedZones[i]); !slices.Equal(want, got) {
			t.Errorf("%s: the mirror hands on %d records, the primary %d, and not the same", sharedZones[i], len(got), len(want))
		}
		if n, counted := m.metric(t, "backscatter_mirror_transfers_total", `kind="ixfr"`, `result="done"`); n == 0 || !counted {
			t.Error("incremental transfers are not counted")
		}
		if n, _ := m.metric(t, "backscatter_mirror_transfers_total", `kind="ixfr"`, `result="failed"`); n > 0 {
			t.Errorf("%d incremental transfers failed", n)
		}
	}
	t.Logf("%d names compared", w.compared)
}

// wholeZone takes a zone and returns its records, sorted.
func wholeZone(t *testing.T, server, zone string) []string {
	t.Helper()
	m := new(dns.Msg)
	m.SetAxfr(dns.Fqdn(zone))
	m.SetTsig(dns.Fqdn(transferKey), dns.HmacSHA256, 300, time.Now().Unix())
	tr := dns.Transfer{TsigSecret: map[string]string{dns.Fqdn(transferKey): transferSecret}, DialTimeout: patience, ReadTimeout: patience}
	envelopes, err := tr.In(m, server)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for e := range envelopes {
		if e.Error != nil {
			t.Fatal(e.Error)
		}
		for _, rr := range e.RR {
			out = append(out, rr.String())
		}
	}
	slices.Sort(out)
	return out
}

// primaryPrograms are servers of others that have our zone file, and give the zone
// to our mirror. The folder's file list.zone is read anew at a SIGHUP.
var primaryPrograms = []secondaryProgram{
	{"nsd", "nsd", nsdPrimary, func(config string) []string { return []string{"-d", "-c", config} }},
	{"knotd", "knot", knotPrimary, func(config string) []string { return []string{"-c", config} }},
	{"named", "bind9", namedPrimary, func(config string) []string { return []string{"-g", "-n", "1", "-c", config} }},
}

func nsdPrimary(dir string, port int, file string, zones []string) string {
	return fmt.Sprintf(`server:
  ip-address: 127.0.0.1@%[2]d
  username: ""
  chroot: ""
  zonesdir: "%[1]s"
  database: ""
  xfrdfile: "%[1]s/xfrd.state"
  zonelistfile: "%[1]s/zone.list"
  xfrdir: "%[1]s"
  pidfile: ""
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
key:
  name: %[3]s
  algorithm: hmac-sha256
  secret: "%[4]s"
zone:
  name: %[6]s
  zonefile: "%[5]s"
  provide-xfr: 127.0.0.1 %[3]s
`, dir, port, transferKey, transferSecret, file, zones[0])
}

func knotPrimary(dir string, port int, file string, zones []string) string {
	return knotHead(dir, port) + fmt.Sprintf(`acl:
  - id: transfer
    key: %[2]s
    action: transfer
zone:
  - domain: %[4]s
    storage: "%[1]s"
    file: "%[3]s"
    acl: transfer
    zonefile-sync: -1
    zonefile-load: difference
    journal-content: changes
`, dir, transferKey, file, zones[0])
}

func namedPrimary(dir string, port int, file string, zones []string) string {
	return fmt.Sprintf(`options {
  directory "%[1]s";
  listen-on port %[2]d { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file none;
  session-keyfile none;
  recursion no;
  notify no;
  dnssec-validation no;
  empty-zones-enable no;
};
controls { };
key "%[3]s" { algorithm hmac-sha256; secret "%[4]s"; };
zone %[6]q { type primary; file %[5]q; ixfr-from-differences yes; allow-transfer { key "%[3]s"; }; };
`, dir, port, transferKey, transferSecret, file, zones[0])
}

// TestMirrorOfOthers has NSD, Knot and BIND load our zone file, and mirrors of ours
// take the zone from them.
func TestMirrorOfOthers(t *testing.T) {
	t.Parallel()
	for _, p := range primaryPrograms {
		peer(t, p.name, p.debian)
	}
	const zone = "bl.example"
	key := transferKeyFile(t)
	d := startDaemon(t, sharing(key))
	w := &world{t: t, d: d, zones: []string{zone}, rng: rand.New(rand.NewPCG(seedOf(t), 1035)), ours: newAsker(t, "udp", d.dns), listed: map[netip.Prefix]bool{}}
	w.change(60)
	file := filepath.Join(shortDir(t), "list.zone")
	export := func() {
		t.Helper()
		w.d.site.must("export", "--format", "zone", "--zone", zone, "--output", file)
	}
	export()
	var others []*secondary
	var mirrors []*daemon
	for _, p := range primaryPrograms {
		other := startSecondary(t, p, file, zone)
		m := mirrorOf(t, zone, key, freePortOfBoth(t), other.addr)
		others, mirrors = append(others, other), append(mirrors, m)
		w.theirs = append(w.theirs, theirs{"the mirror of " + p.name, newAsker(t, "udp", m.dns)})
	}
	for range 6 {
		w.change(1 + w.rng.IntN(8))
		export()
		for i, other := range others {
			if err := other.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			asker := newAsker(t, "udp", other.addr)
			want := w.ours.serial(t, zone)
			eventually(t, other.name+" has read the file", func(context.Context) error {
				if got := asker.serial(t, zone); got != want {
					return fmt.Errorf("%d, not %d", got, want)
				}
				return nil
			})
			if err := mirrors[i].Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		w.awaitSerial()
		w.compare()
	}
	w.compareAll()
	for i, m := range mirrors {
		incremental, _ := m.metric(t, "backscatter_mirror_transfers_total", `kind="ixfr"`, `result="done"`)
		whole, _ := m.metric(t, "backscatter_mirror_transfers_total", `result="done"`)
		t.Logf("from %s: %d transfers, %d of them incremental", others[i].name, whole, incremental)
		if others[i].name != "nsd" && incremental == 0 { // it makes none of its own files
			t.Errorf("no incremental transfer from %s", others[i].name)
		}
	}
}

// TestMirrorWithoutPrimary wants a mirror to answer from its copy when it starts and
// the primary is down, and to say so.
func TestMirrorWithoutPrimary(t *testing.T) {
	t.Parallel()
	key := transferKeyFile(t)
	d := startDaemon(t, sharing(key))
	d.site.must("list", "192.0.2.66", "--reason", "a test", "--for", "1d")
	m := mirrorOf(t, "bl.example", key, freePortOfBoth(t), d.dns)
	eventually(t, "the copy is on the disk", func(context.Context) error {
		_, err := os.Stat(filepath.Join(m.site.state, "mirror.bl.example.copy", "a", "MANIFEST"))
		return err
	})
	d.stop()
	m.kill()
	m = m.site.start()
	a := newAsker(t, "udp", m.dns)
	if got := a.data(t, "66.2.0.192.bl.example", dns.TypeA); got != "127.0.0.9" {
		t.Errorf("without its primary the mirror answers %q", got)
	}
	eventually(t, "the mirror says that the primary is down", func(ctx context.Context) error {
		status, err := m.client.Status(ctx)
		if err == nil && (status.Mirror == nil || !strings.Contains(status.Mirror.Error, d.dns) || status.Mirror.Serial == 0) {
			err = fmt.Errorf("%+v", status.Mirror)
		}
		return err
	})
	if _, err := m.client.Policy(within(t)); err == nil {
		t.Error("a mirror tells a policy")
	}
}
