package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// polled is a publisher of which anybody on this machine may fetch increments.
const polled = `
dns: {listen: ["127.0.0.1:0"]}
http: {listen: "127.0.0.1:0", poll: [127.0.0.1]}
policy: {listable: [192.0.2.0/24]}
exports: [{zone: bl.example, dir: DIR, formats: [jsonl], every: 1s, brake: 0}]
`

// poller is a script that keeps a list up to date by the commands of
// ops/docs/mirrors.md.
type poller struct {
	t         *testing.T
	publisher *daemon
	dir       string // of the script
	export    string
	serial    string
	list      []string // prefixes
}

func newPoller(t *testing.T) *poller {
	t.Helper()
	peer(t, "curl", "curl")
	dir := shortDir(t)
	p := &poller{t: t, dir: dir, export: filepath.Join(dir, "export")}
	p.publisher = startDaemon(t, strings.Replace(polled, "DIR", p.export, 1))
	// What curl was answered with, each time.
	if err := os.WriteFile(filepath.Join(dir, ".curlrc"), []byte(`write-out = "%{stderr}%{http_code} "`), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// file returns what a file of the script has.
func (p *poller) file(name string) string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// object is a line of a list, or of changes.
type object struct{ Change, Prefix string }

func (p *poller) objects(name string) (all []object) {
	p.t.Helper()
	for line := range strings.Lines(p.file(name)) {
		var o object
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			p.t.Fatalf("%q: %v", line, err)
		}
		all = append(all, o)
	}
	return all
}

// whole takes the whole list, as it is when the folder has the serial of the
// publisher.
func (p *poller) whole() {
	p.t.Helper()
	ours := newAsker(p.t, "udp", p.publisher.dns)
	eventually(p.t, "the list is exported", func(context.Context) error {
		var m struct {
			Serial uint32 `json:"serial"`
		}
		text, err := os.ReadFile(filepath.Join(p.export, "MANIFEST"))
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		if want := ours.serial(p.t, "bl.example"); err == nil && m.Serial != want {
			err = fmt.Errorf("serial %d, want %d", m.Serial, want)
		}
		p.serial = fmt.Sprint(m.Serial)
		return err
	})
	p.list = nil
	for _, o := range p.objects("export/bl.example.jsonl") {
		p.list = append(p.list, o.Prefix)
	}
}

// poll runs the block of the page, and makes the changes that it fetched. It returns
// what curl was answered with.
func (p *poller) poll() (answers string, err error) {
	p.t.Helper()
	block := documented(p.t, "poll", map[string]string{"127.0.0.1:8053": p.publisher.http})
	cmd := exec.Command("sh", "-ec", "serial="+p.serial+"\n"+block+"\necho $serial")
	cmd.Dir, cmd.Env = p.dir, append(cmd.Environ(), "HOME="+p.dir, "CURL_HOME="+p.dir)
	r := run(p.t, cmd)
	if r.code != 0 {
		return r.stderr, fmt.Errorf("exit code %d", r.code)
	}
	p.serial = strings.TrimSpace(r.stdout)
	for _, o := range p.objects("changes") {
		switch o.Change {
		case "added":
			p.list = append(p.list, o.Prefix)
		case "removed":
			p.list = slices.DeleteFunc(p.list, func(prefix string) bool { return prefix == o.Prefix })
		}
	}
	return r.stderr, nil
}

// TestPollAsDocumented keeps a list up to date by the commands of the page, and wants
// it to be what the publisher exports, what has not changed to be sent once, and a
// serial that is not kept to be told as gone.
func TestPollAsDocumented(t *testing.T) {
	t.Parallel()
	p := newPoller(t)
	order := func(command string, args ...string) {
		t.Helper()
		p.publisher.site.must(append([]string{command, "--reason", "test"}, args...)...)
	}
	order("list", "192.0.2.1", "192.0.2.2", "192.0.2.3", "--permanent")
	p.whole()
	began := p.serial
	for i, step := range []struct {
		change func()
		want   string // answers of /changes and /removals
	}{
		{func() { order("delist", "192.0.2.2") }, "200 200"},
		{func() {}, "200 304"}, // what left the list is what it was
		{func() { order("list", "192.0.2.4", "192.0.2.2", "--permanent") }, "200 200"},
		{func() { order("delist", "192.0.2.1", "192.0.2.3") }, "200 200"},
	} {
		step.change()
		answers, err := p.poll()
		if err != nil || strings.TrimSpace(answers) != step.want {
			t.Fatalf("step %d: answered with %s, want %s: %v", i, answers, step.want, err)
		}
		got, serial := slices.Sorted(slices.Values(p.list)), p.serial
		if p.whole(); !slices.Equal(got, slices.Sorted(slices.Values(p.list))) || serial != p.serial {
			t.Errorf("step %d: by its changes the list is %v at serial %s, and it is %v at %s", i, got, serial, p.list, p.serial)
		}
	}
	removals := p.file("removals")
	if !strings.Contains(removals, "\n192.0.2.1 ") || !strings.Contains(removals, "\n192.0.2.3 ") || strings.Contains(removals, "\n192.0.2.4 ") {
		t.Errorf("what left the list:\n%s", removals)
	}
	// The publisher's own commands write the same.
	if own := p.publisher.site.must("export", "--format", "removals"); removals != own {
		t.Errorf("removals are\n%s\nand by the command\n%s", removals, own)
	}
	p.serial = began
	if _, err := p.poll(); err != nil {
		t.Error(err)
	}
	if changes, own := p.file("changes"), p.publisher.site.must("export", "--since", began); changes != own || !strings.Contains(own, "192.0.2.4/32") {
		t.Errorf("changes are\n%s\nand by the command\n%s", changes, own)
	}
	p.serial = "1"
	if answers, err := p.poll(); err == nil || err.Error() != "exit code 22" || !strings.Contains(answers, "410") {
		t.Errorf("a serial of long ago: %s, %v", answers, err)
	}
}
