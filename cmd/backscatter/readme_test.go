package main

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"backscatter/ops/config"
)

var update = flag.Bool("update", false, "write the generated part of the README")

const readmeName = "../../README.md"

func readReadme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(readmeName)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fenced returns the fenced blocks with the given info string.
func fenced(t *testing.T, readme, info string) []string {
	t.Helper()
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^( *)```"+info+"\n(.*?)^ *```$").FindAllStringSubmatch(readme, -1) {
		out = append(out, strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n")[1:])
	}
	if len(out) == 0 {
		t.Fatalf("the README has no block of %q", info)
	}
	return out
}

// The reference in the README is what the code says.
func TestReadmeReference(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- reference -->\n", "<!-- /reference -->"
	readme := readReadme(t)
	before, rest, found := strings.Cut(readme, begin)
	got, after, found2 := strings.Cut(rest, end)
	if !found || !found2 {
		t.Fatal("the README has no place for the reference")
	}
	var want bytes.Buffer
	if err := config.WriteReference(&want); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(readmeName, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want.String(), got); diff != "" {
		t.Errorf("run 'go test ./cmd/backscatter -run Readme -update' (-want +got):\n%s", diff)
	}
}

// Every configuration in the README loads.
func TestReadmeConfigurations(t *testing.T) {
	t.Parallel()
	for i, block := range fenced(t, readReadme(t), "yaml") {
		if _, err := config.Parse(fmt.Sprintf("README block %d", i+1), []byte(block), nil); err != nil {
			t.Error(err)
		}
	}
}

// The tour does what the README says: each command is run, and its output has
// to contain the lines behind the arrows that follow it.
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dig"); err != nil {
		if os.Getenv("BACKSCATTER_PEERS") == "require" {
			t.Fatal("dig is missing (Debian: bind9-dnsutils)")
		}
		t.Skip("the tour asks with dig, which is missing (Debian: bind9-dnsutils)")
	}
	dir := t.TempDir()
	script := tourScript(t, fenced(t, readReadme(t), "sh tour")[0])
	archive := "exec sh tour.sh\n-- tour.sh --\n" + script
	if err := os.WriteFile(filepath.Join(dir, "tour.txtar"), []byte(archive), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: dir, Setup: setup})
}

// tourScript makes a shell script of the tour that checks itself, on ports
// that are free.
func tourScript(t *testing.T, tour string) string {
	t.Helper()
	for _, port := range []string{"5300", "8053", "2525"} {
		tour = strings.ReplaceAll(tour, port, freePort(t))
	}
	// A server that did not start is not waited for.
	tour = strings.ReplaceAll(tour, "do sleep 0.1; done", "do kill -0 $server || { cat log >&2; exit 1; }; sleep 0.1; done")
	var b strings.Builder
	b.WriteString("set -eu\ntrap '[ -z \"${server:-}\" ] || kill $server 2>/dev/null || :' EXIT\nwant() { grep -qF -- \"$1\" out || { echo \"want: $1\" >&2; cat out log >&2; exit 1; }; }\n")
	lines := strings.Split(tour, "\n")
	for i := range lines {
		if text, ok := strings.CutPrefix(lines[i], "# → "); ok {
			fmt.Fprintf(&b, "want '%s'\n", text)
			continue
		}
		if i+1 < len(lines) && strings.HasPrefix(lines[i+1], "# → ") {
			b.WriteString(lines[i] + " > out\n")
			continue
		}
		b.WriteString(lines[i] + "\n")
	}
	return b.String()
}

// freePort returns a port that was free for UDP and TCP a moment ago, from below
// those that systems give out for port 0, so that no other test gets it by then.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", "127.0.0.1:"+port)
		l.Close()
		if err == nil {
			u.Close()
			return port
		}
	}
	t.Fatal("no port is free for both UDP and TCP")
	return ""
}
