package integration_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

// complaint wants the command to have failed with the code and one line for
// people, beside what it logged, and returns that.
func complaint(t *testing.T, r result, code int) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(r.stderr) {
		if !strings.HasPrefix(line, "time=") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if r.code != code || len(lines) != 1 || !strings.HasPrefix(lines[0], "backscatter: ") || r.stdout != "" {
		t.Errorf("exit code %d, want %d and one line on standard error\n%s%s", r.code, code, r.stdout, r.stderr)
	}
	return strings.Join(lines, "\n")
}

// TestPortInUse starts the daemon where a port of each service is taken.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() }) // after the subtests
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	free := `"127.0.0.1:0"`
	for name, c := range map[string]struct{ dns, http, smtp string }{
		"dns over udp": {dns: udp.LocalAddr().String()},
		"dns over tcp": {dns: tcp.Addr().String()},
		"http":         {http: tcp.Addr().String()},
		"smtp":         {smtp: tcp.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listen := func(addr string) string {
				if addr == "" {
					return free
				}
				return `"` + addr + `"`
			}
			config := func(dns, http, smtp string) string {
				return fmt.Sprintf("dns: {listen: [%s]}\nhttp: {listen: %s}\nintake: {smtp: {listen: %s}}\n", listen(dns), listen(http), listen(smtp))
			}
			s := newSite(t, config(c.dns, c.http, c.smtp))
			line := complaint(t, s.run("serve"), 1)
			if taken := c.dns + c.http + c.smtp; !strings.Contains(line, taken) || !strings.Contains(line, "address already in use") {
				t.Errorf("the complaint does not tell the address: %s", line)
			}
			s.configure(config("", "", "")) // what failed is in nobody's way
			s.start().stop()
		})
	}
}

// TestStateNotWritable starts the daemon with a state folder that is not its
// user's.
func TestStateNotWritable(t *testing.T) {
	t.Parallel()
	s := newSite(t, loopback)
	if err := os.Mkdir(s.state, 0o500); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(s.program, "serve", "--config", s.config)
	if os.Geteuid() == 0 { // may write everywhere, so it is nobody who tries
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		for path, mode := range map[string]os.FileMode{programs.dir: 0o755, s.dir: 0o755, s.state: 0o755, s.config: 0o644} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	if line := complaint(t, run(t, cmd), 1); !strings.Contains(line, s.state) || !strings.Contains(line, "permission denied") {
		t.Errorf("complaint: %s", line)
	}
}

// TestStateIsAFile starts the daemon where its state folder is none.
func TestStateIsAFile(t *testing.T) {
	t.Parallel()
	s := newSite(t, loopback)
	if err := os.WriteFile(s.state, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if line := complaint(t, s.run("serve"), 1); !strings.Contains(line, s.state) {
		t.Errorf("complaint: %s", line)
	}
}

// TestSecondDaemon starts a second daemon on the state of one that runs, which
// must not notice.
func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	d := startDaemon(t, quick)
	if line := complaint(t, d.site.run("serve"), 1); !strings.Contains(line, d.site.state) || !strings.Contains(line, "in use by another process") {
		t.Errorf("complaint: %s", line)
	}
	d.mustDeliver(t, bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66"))
	if got := newAsker(t, "udp", d.dns).data(t, "66.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
		t.Errorf("192.0.2.66 is answered with %s", got)
	}
	if out := d.site.must("show", "192.0.2.66"); !strings.Contains(out, "listed") {
		t.Errorf("show: %s", out)
	}
	d.stop()
}

// TestBadConfiguration wants all that is wrong told at once, with its place,
// and nothing begun.
func TestBadConfiguration(t *testing.T) {
	t.Parallel()
	s := newSite(t, `colour: blue
policy:
  window: 5
  listable: [192.0.2.0/33]
zones:
  - {name: bl.example, ns: [ns1.bl.example]}
  - {name: BL.example., ns: [ns1.bl.example]}
`)
	r := s.run("serve")
	if r.code != 2 || r.stdout != "" {
		t.Errorf("exit code %d, want 2\n%s", r.code, r.stdout)
	}
	for place, path := range map[int]string{2: "colour", 4: "policy.window", 5: "policy.listable", 8: "zones"} {
		if want := fmt.Sprintf("%s:%d: %s", s.config, place, path); !strings.Contains(r.stderr, want) {
			t.Errorf("no %q in\n%s", want, r.stderr)
		}
	}
	if _, err := os.Stat(s.state); err == nil {
		t.Error("it made its state folder")
	}
}

// get returns the status and the body of a page.
func (d *daemon) get(t *testing.T, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(within(t), http.MethodGet, "http://"+d.http+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// TestFullDisk takes the room away from a daemon's state and gives it back.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	peer(t, "ip", "iproute2") // for addresses
	if !isolated(t) {
		return
	}
	s, disk := newStateDisk(t, "2m")
	d := s.start()
	stored := []message{bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66")}
	d.mustDeliver(t, stored...)

	disk.fill(t)
	var refused message
	for refused.id == "" { // the store has some room left within its file
		m := bounceFrom(fmt.Sprintf("198.51.100.%d", len(stored)%200))
		switch err := d.deliver(within(t), m); {
		case err == nil:
			stored = append(stored, m)
		case replyCode(err) == 451:
			refused = m
		default:
			t.Fatalf("a full disk: %v", err)
		}
		if len(stored) > 5000 {
			t.Fatal("the disk is full, and everything is stored")
		}
	}
	t.Logf("%d reports stored before the first 451", len(stored))
	serial := newAsker(t, "udp", d.dns).serial(t, "bl.example")
	d.wantFull(t, refused, serial)
	d.kill()
	d = s.start() // what is known is answered for, room or not
	if err := d.deliver(within(t), refused); replyCode(err) != 451 {
		t.Errorf("a full disk after a crash: %v", err)
	}
	d.wantFull(t, refused, serial)

	disk.free(t)
	eventually(t, "reports are taken again", func(ctx context.Context) error { return d.deliver(ctx, refused) })
	stored = append(stored, refused)
	if status, body := d.get(t, "/readyz"); status != http.StatusOK {
		t.Errorf("with room again /readyz: %d %q", status, body)
	}
	s.must("list", "203.0.113.9", "--reason", "now", "--for", "1h")
	wantStored(t, d, stored)
	d.kill()
	d = s.start()
	wantStored(t, d, stored)
	if got := newAsker(t, "udp", d.dns).data(t, "9.113.0.203.bl.example", dns.TypeA); got != code["manual"] {
		t.Errorf("203.0.113.9 is answered with %s", got)
	}
	d.stop()
}

// wantFull wants the daemon to do all that can be done without room on its
// disk, and to say that it has none.
func (d *daemon) wantFull(t *testing.T, refused message, serial uint32) {
	t.Helper()
	asker := newAsker(t, "udp", d.dns)
	if got := asker.data(t, "66.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
		t.Errorf("on a full disk 192.0.2.66 is answered with %s", got)
	}
	eventually(t, "it says that it is full", func(ctx context.Context) error {
		// It may think that there is room again, until more than a little is stored.
		if err := d.deliver(ctx, refused); replyCode(err) != 451 {
			t.Fatalf("a full disk: %v", err)
		}
		if status, body := d.get(t, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "no space left") {
			return fmt.Errorf("/readyz: %d %q", status, body)
		}
		return nil
	})
	if status, body := d.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %q", status, body)
	}
	path := filepath.Join(d.site.dir, "refused.eml")
	if err := os.WriteFile(path, []byte(refused.text()), 0o600); err != nil {
		t.Fatal(err)
	}
	complaint(t, d.site.run("report", path), 75)
	// One address may find room within the file, where a report did not.
	many := filepath.Join(d.site.dir, "many.txt")
	if err := os.WriteFile(many, []byte(addressesFrom("9.1.0.0", 4000)), 0o600); err != nil {
		t.Fatal(err)
	}
	complaint(t, d.site.run("list", "@"+many, "--reason", "now", "--for", "1h", "--yes"), 1)
	if got := asker.serial(t, "bl.example"); got != serial {
		t.Errorf("the serial moved from %d to %d, and nothing could be stored", serial, got)
	}
}

// addressesFrom returns so many addresses from one on, a line each.
func addressesFrom(first string, n int) string {
	var b strings.Builder
	for addr := netip.MustParseAddr(first); n > 0; n-- {
		fmt.Fprintln(&b, addr)
		addr = addr.Next()
	}
	return b.String()
}

// wantStored wants each message to be stored, once, and none besides.
func wantStored(t *testing.T, d *daemon, all []message) {
	t.Helper()
	sources := map[string]map[string]int{}
	for _, m := range all {
		source := m.source.String()
		if sources[source] == nil {
			found, err := d.client.Show(within(t), source, false)
			if err != nil {
				t.Fatal(err)
			}
			sources[source] = map[string]int{}
			for _, e := range found.Events {
				sources[source][e.Traces.MessageID]++
			}
		}
		if n := sources[source][m.messageID()]; n != 1 {
			t.Errorf("%s from %s is stored %d times", m.id, source, n)
		}
	}
	status, err := d.client.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := status.Store.Observations; got != uint64(len(all)) {
		t.Errorf("%d observations, want %d", got, len(all))
	}
}
