package integration_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// chain is a publisher, an rsync daemon that offers its export, and folders that
// it is fetched into: the way from the list to mirrors.
type chain struct {
	t         *testing.T
	publisher *daemon
	ours      *asker // asks the publisher
	dir       string // of all
	export    string
	key       string // public
	rsync     string // the program
	port      int    // of its daemon
}

// published is a signed export of all that consumers take.
const published = quick + `
zones: [{name: bl.example, ns: [ns1.dns.example, ns2.dns.example]}]
exports: [{zone: bl.example, dir: DIR/export, key: DIR/key, formats: [ip4set, ip6trie, zone], every: 1s, brake: 0}]
`

// newChain starts a publisher and, by our own configuration of it, rsync's daemon.
func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{t: t, rsync: peer(t, "rsync", "rsync"), dir: shortDir(t)}
	c.export = c.file("export")
	// Daemons that give up root read here.
	if err := errors.Join(os.Chmod(c.dir, 0o755), os.Mkdir(c.export, 0o755)); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, strings.ReplaceAll(published, "DIR", c.dir))
	s.must("export", "keygen", c.file("key"))
	c.key = strings.Split(c.read("key.pub"), "\n")[1]
	c.publisher = s.start()
	c.ours = newAsker(t, "udp", c.publisher.dns)
	c.serveRsync()
	return c
}

func (c *chain) file(name string) string { return filepath.Join(c.dir, name) }

func (c *chain) read(name string) string {
	c.t.Helper()
	text, err := os.ReadFile(c.file(name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

func (c *chain) write(name, text string, mode os.FileMode) {
	c.t.Helper()
	if err := os.WriteFile(c.file(name), []byte(text), mode); err != nil {
		c.t.Fatal(err)
	}
}

// serveRsync runs rsync's daemon with ops/rsyncd/rsyncd.conf, its folders and its
// clients' addresses replaced.
func (c *chain) serveRsync() {
	c.t.Helper()
	conf, err := os.ReadFile("../ops/rsyncd/rsyncd.conf")
	if err != nil {
		c.t.Fatal(err)
	}
	for _, pair := range [][2]string{
		{"/var/lib/backscatter/export", c.export},
		{"/etc/backscatter/rsync.secrets", c.file("rsync.secrets")},
		{"hosts allow = 192.0.2.0/24", "hosts allow = 127.0.0.1"},
		{"gid = backscatter", ""}, // the group is made by the package
		{"use chroot = yes", "use chroot = " + map[bool]string{true: "yes", false: "no"}[os.Geteuid() == 0] + "\nlock file = " + c.file("rsyncd.lock")},
	} {
		if !strings.Contains(string(conf), pair[0]) {
			c.t.Fatalf("rsyncd.conf has no %q", pair[0])
		}
		conf = []byte(strings.Replace(string(conf), pair[0], pair[1], 1))
	}
	c.write("rsyncd.conf", string(conf), 0o600)
	c.write("rsync.secrets", "mirror1:correct horse\n", 0o600)
	c.write("rsync.password", "correct horse\n", 0o600)
	c.write("rsync.wrong", "battery staple\n", 0o600)
	c.port = freePortOfBoth(c.t)
	log := c.file("rsyncd.log")
	launchGroup(c.t, exec.Command(c.rsync, "--daemon", "--no-detach", "--config="+c.file("rsyncd.conf"),
		"--address=127.0.0.1", fmt.Sprintf("--port=%d", c.port), "--log-file="+log))
	c.t.Cleanup(func() {
		if said, err := os.ReadFile(log); err == nil && c.t.Failed() {
			c.t.Logf("rsync's daemon says:\n%s", tail(string(said), 4<<10))
		}
	})
}

// fetchCommand is the command of ops/rsyncd/backscatter-fetch.service, for a
// folder of ours.
func (c *chain) fetchCommand(into string) []string {
	c.t.Helper()
	unit, err := os.ReadFile("../ops/rsyncd/backscatter-fetch.service")
	if err != nil {
		c.t.Fatal(err)
	}
	_, command, ok := strings.Cut(string(unit), "ExecStart=")
	command, _, whole := strings.Cut(command, "\n")
	if !ok || !whole {
		c.t.Fatal("the unit starts nothing")
	}
	args := strings.Fields(strings.NewReplacer(
		"/etc/backscatter/rsync.password", c.file("rsync.password"), "HOST", fmt.Sprintf("127.0.0.1:%d", c.port), "/var/lib/backscatter/mirrored", into,
	).Replace(command))
	args[0] = c.rsync
	return args
}

// fetch runs the command, with more options, and returns how it ended.
func (c *chain) fetch(into string, options ...string) result {
	c.t.Helper()
	args := c.fetchCommand(into)
	return run(c.t, exec.Command(args[0], append(options, args[1:]...)...))
}

// mustFetch makes the folder and fetches until the publisher's serial is there,
// whole and signed.
func (c *chain) mustFetch(name string) (into string) {
	c.t.Helper()
	into = c.file(name)
	if err := os.MkdirAll(into, 0o755); err != nil {
		c.t.Fatal(err)
	}
	serial := c.ours.serial(c.t, "bl.example")
	eventually(c.t, "the list is fetched", func(context.Context) error {
		if r := c.fetch(into); r.code != 0 {
			return fmt.Errorf("rsync: exit code %d: %s", r.code, r.stderr)
		}
		r := c.publisher.site.run("verify", into, "--key", c.key, "--json")
		if r.code != 0 || !strings.Contains(r.stdout, fmt.Sprintf(`"serial": %d,`, serial)) {
			return fmt.Errorf("verify: %s%s", r.stdout, r.stderr)
		}
		return nil
	})
	return into
}

// TestChain fetches a list of everything as a mirror would, and has every program
// of ops/docs/mirrors.md that can answer from it do so, configured as the page says:
// for all that is listed, 1 000 addresses that are not, all names above both and
// the test points they answer what the publisher does.
func TestChain(t *testing.T) {
	t.Parallel()
	for _, p := range consumers {
		peer(t, p.program, p.debian)
	}
	c := newChain(t)
	list := fill(t, c.publisher, rand.New(rand.NewPCG(seedOf(t), 6)))
	fetched := c.mustFetch("mirrored")
	c.refusesStrangers()

	want := newExpected(t, c.ours, list)
	for _, p := range consumers {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			theirs := c.startConsumer(t, p, fetched)
			want.compare(t, theirs)
		})
	}
	t.Run("rbldnsd", func(t *testing.T) {
		t.Parallel()
		theirs := c.startConsumer(t, rbldnsdConsumer, fetched)
		pair := &pair{t: t, ours: newAsker(t, "udp", c.publisher.dns), theirs: theirs, ending: list.ending}
		pair.compareList(list)
		for labels := range want.partial {
			pair.compare(labels, "bl.example", dns.TypeA)
		}
	})
	t.Run("mirror", func(t *testing.T) {
		t.Parallel()
		m := c.startMirror(t, fetched)
		pair := &pair{t: t, ours: newAsker(t, "udp", c.publisher.dns), theirs: newAsker(t, "udp", m.dns), ending: list.ending, mirror: true}
		pair.compareList(list)
		for labels := range want.partial {
			pair.compare(labels, "bl.example", dns.TypeA)
		}
	})
}

// refusesStrangers wants rsync's daemon to be for those whom it knows, and to let
// nobody write.
func (c *chain) refusesStrangers() {
	c.t.Helper()
	into := c.file("strangers")
	if err := os.Mkdir(into, 0o755); err != nil {
		c.t.Fatal(err)
	}
	args := c.fetchCommand(into)
	from := args[len(args)-2] // the publisher's folder
	for what, more := range map[string][]string{
		"a wrong password":    {"--password-file=" + c.file("rsync.wrong"), from, into},
		"another address":     {"--address=127.0.0.2", "--password-file=" + c.file("rsync.password"), from, into},
		"writing":             {"--password-file=" + c.file("rsync.password"), c.file("key.pub"), from},
		"somebody without it": {strings.Replace(from, "mirror1@", "", 1), into},
	} {
		if r := run(c.t, exec.Command(c.rsync, append([]string{"-rt"}, more...)...)); r.code == 0 {
			c.t.Errorf("rsync's daemon takes %s", what)
		}
	}
	list, _, _ := strings.Cut(from, "bl/")
	if r := run(c.t, exec.Command(c.rsync, list)); r.code != 0 || r.stdout != "" {
		c.t.Errorf("rsync's daemon lists its folders: %q, exit code %d %s", r.stdout, r.code, r.stderr)
	}
	if left, err := os.ReadDir(into); err != nil || len(left) != 0 {
		c.t.Errorf("strangers got %v, %v", left, err)
	}
}

// startMirror starts a mirror of ours that looks at the folder when it is told to.
func (c *chain) startMirror(t *testing.T, fetched string) *daemon {
	t.Helper()
	s := newSite(t, "")
	s.configure(documented(t, "mirror", map[string]string{
		"state: /var/lib/backscatter-mirror": "", "192.0.2.53:53": "127.0.0.1:0", "127.0.0.1:8053": "127.0.0.1:0", "PUBLIC-KEY": c.key,
		"every: 10s": "every: 1h",
	}))
	s.args = []string{"--mirror", fetched}
	return s.start()
}
