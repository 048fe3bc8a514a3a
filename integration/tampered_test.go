package integration_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"backscatter/ops/control"
)

// look has a mirror look at its folder, and waits until it has come to know
// whether that is good. It returns why it is not.
func (d *daemon) look(t *testing.T) string {
	t.Helper()
	before := d.mirrorStatus(t)
	refusals := d.metricAlone(t, "backscatter_mirror_refusals_total")
	if err := d.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mirror has looked", func(context.Context) error {
		if d.mirrorStatus(t).Checked.Equal(before.Checked) && d.metricAlone(t, "backscatter_mirror_refusals_total") == refusals {
			return errors.New("it has not")
		}
		return nil
	})
	return d.mirrorStatus(t).Error
}

// mirrorStatus asks a mirror how it is.
func (d *daemon) mirrorStatus(t *testing.T) control.Mirror {
	t.Helper()
	status, err := d.client.Status(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if status.Mirror == nil {
		t.Fatal("it is no mirror")
	}
	return *status.Mirror
}

// metricAlone returns a metric that has no labels.
func (d *daemon) metricAlone(t *testing.T, name string) (value string) {
	t.Helper()
	_, text := d.get(t, "/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("no metric %s", name)
	return ""
}

// publication is the files of one.
type publication map[string][]byte

func readPublication(t *testing.T, dir string) publication {
	t.Helper()
	p := publication{}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Type().IsRegular() && !strings.HasPrefix(f.Name(), ".") {
			if p[f.Name()], err = os.ReadFile(filepath.Join(dir, f.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	return p
}

// put has a folder hold just these files, each put there as rsync does.
func (p publication) put(t *testing.T, dir string) {
	t.Helper()
	for name := range readPublication(t, dir) {
		if _, ok := p[name]; !ok {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, text := range p {
		beside := filepath.Join(dir, "."+name+".put")
		if err := errors.Join(os.WriteFile(beside, text, 0o644), os.Rename(beside, filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
}

// with returns the publication with some files of another, or changed; nil is a
// file that is missing.
func (p publication) with(other publication) publication {
	out := maps.Clone(p)
	for name, text := range other {
		if out[name] = text; text == nil {
			delete(out, name)
		}
	}
	return out
}

// twoPublications publishes twice: 192.0.2.66 is in both, 192.0.2.67 in the second
// alone.
func (c *chain) twoPublications() (former, newer publication) {
	c.t.Helper()
	c.list("192.0.2.66")
	former = readPublication(c.t, c.mustFetch("former"))
	c.list("192.0.2.67")
	newer = readPublication(c.t, c.mustFetch("newer"))
	return former, newer
}

func (c *chain) list(addrs ...string) {
	c.t.Helper()
	c.publisher.site.must(append([]string{"list", "--reason", "a test", "--permanent"}, addrs...)...)
}

const listedByHand = "127.0.0.9"

// serves wants a mirror to answer from a publication of twoPublications.
func (d *daemon) serves(t *testing.T, newer bool) {
	t.Helper()
	a := newAsker(t, "udp", d.dns)
	for name, want := range map[string]string{
		"66.2.0.192.bl.example": listedByHand, "2.0.0.127.bl.example": "127.0.0.2", "1.0.0.127.bl.example": "NXDOMAIN",
		"67.2.0.192.bl.example": map[bool]string{true: listedByHand, false: "NXDOMAIN"}[newer],
	} {
		if got := a.data(t, name, dns.TypeA); got != want {
			t.Errorf("%s is answered with %s, want %s", name, got, want)
		}
	}
}

// TestTampered has a mirror find what somebody has changed, what is old and what
// another has signed: it says what is wrong, and answers from the last good one.
func TestTampered(t *testing.T) {
	t.Parallel()
	minisign := peer(t, "minisign", "minisign")
	c := newChain(t)
	former, newer := c.twoPublications()
	if r := run(t, exec.Command(minisign, "-V", "-P", c.key, "-m", filepath.Join(c.file("newer"), "MANIFEST"))); r.code != 0 {
		t.Errorf("minisign does not take our signature: %s%s", r.stdout, r.stderr)
	}
	flip := func(name, old, now string) publication {
		text := strings.Replace(string(newer[name]), old, now, 1)
		if text == string(newer[name]) {
			t.Fatalf("%s has no %q", name, old)
		}
		return newer.with(publication{name: []byte(text)})
	}
	dir := c.file("mirrored")
	for _, spoilt := range []struct {
		what  string
		files publication
		want  string
	}{
		{"a file with other bytes", flip("bl.example.ip4set", "192.0.2.67", "192.0.2.68"), "bl.example.ip4set: has other bytes than those of the manifest"},
		{"a file with more", newer.with(publication{"bl.example.ip4set": append(newer["bl.example.ip4set"], "192.0.2.70\n"...)}), "bl.example.ip4set: has not the"},
		{"no file", newer.with(publication{"bl.example.ip6trie": nil}), "bl.example.ip6trie: no such file"},
		{"a manifest with another sum", flip("MANIFEST", `"entries": 2`, `"entries": 3`), "the signature beside it is not that of key"},
		{"a manifest that lives longer", flip("MANIFEST", `"expires": "2`, `"expires": "3`), "the signature beside it is not that of key"},
		{"a signature that promises more", flip("MANIFEST.minisig", "serial=", "serial=9"), "the signature beside it is not that of key"},
		{"the former signature", newer.with(publication{"MANIFEST.minisig": former["MANIFEST.minisig"]}), "the signature beside it is not that of key"},
		{"the former files under the new manifest", former.with(publication{"MANIFEST": newer["MANIFEST"], "MANIFEST.minisig": newer["MANIFEST.minisig"]}), "the manifest"},
		{"no manifest", newer.with(publication{"MANIFEST": nil}), "no such file"},
		{"no signature", newer.with(publication{"MANIFEST.minisig": nil}), "no such file"},
		{"an expired one", c.expired(newer), "it expired on"},
		{"another's key", newer.with(c.signedByAnother(newer)), "the signature beside it is not that of key"},
	} {
		t.Run(spoilt.what, func(t *testing.T) {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			former.put(t, dir)
			m := c.startMirror(t, dir)
			m.serves(t, false)
			spoilt.files.put(t, dir)
			if why := m.look(t); !strings.Contains(why, spoilt.want) {
				t.Errorf("refused for %q, want %q", why, spoilt.want)
			}
			m.serves(t, false)
			newer.put(t, dir)
			if why := m.look(t); why != "" {
				t.Errorf("the good one is refused: %s", why)
			}
			m.serves(t, true)
			// What was in force once is signed as well, and is refused for its age.
			former.put(t, dir)
			if why := m.look(t); !strings.Contains(why, "is older than serial") {
				t.Errorf("a replay is refused for %q", why)
			}
			m.serves(t, true)
			m.stop()
		})
	}
}

// signedByAnother returns the signature of a key that is as good, but not ours.
func (c *chain) signedByAnother(p publication) publication {
	c.t.Helper()
	public, secret := c.file("another.pub"), c.file("another")
	if r := run(c.t, exec.Command(peer(c.t, "minisign", "minisign"), "-G", "-W", "-f", "-p", public, "-s", secret)); r.code != 0 {
		c.t.Fatalf("minisign: %s%s", r.stdout, r.stderr)
	}
	return c.sign(secret, p["MANIFEST"], comment(p))
}

var stamped = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

// expired returns the publication as it was three days ago, signed with our key.
func (c *chain) expired(p publication) publication {
	c.t.Helper()
	age := func(text string) string {
		return stamped.ReplaceAllStringFunc(text, func(stamp string) string {
			at, err := time.Parse(time.RFC3339, stamp)
			if err != nil {
				c.t.Fatal(err)
			}
			return at.Add(-72 * time.Hour).Format(time.RFC3339)
		})
	}
	manifest := []byte(age(string(p["MANIFEST"])))
	return p.with(publication{"MANIFEST": manifest}).with(c.sign(c.file("key"), manifest, age(comment(p))))
}

// comment is the trusted comment of a publication's signature.
func comment(p publication) string {
	for line := range strings.Lines(string(p["MANIFEST.minisig"])) {
		if text, ok := strings.CutPrefix(line, "trusted comment: "); ok {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// sign signs a manifest with minisign.
func (c *chain) sign(secret string, manifest []byte, comment string) publication {
	c.t.Helper()
	c.write("to-sign", string(manifest), 0o644)
	if r := run(c.t, exec.Command(peer(c.t, "minisign", "minisign"), "-S", "-W", "-s", secret, "-m", c.file("to-sign"), "-t", comment)); r.code != 0 {
		c.t.Fatalf("minisign: %s%s", r.stdout, r.stderr)
	}
	return publication{"MANIFEST.minisig": []byte(c.read("to-sign.minisig"))}
}
