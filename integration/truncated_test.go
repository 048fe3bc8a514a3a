package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// truncations is at how many offsets a file is cut off.
const truncations = 200

// TestTruncated cuts the list off at many offsets, as if a fetch had ended there:
// our mirror refuses it; rbldnsd loses what is behind, and lists one address too
// many where the end of an address is all that is missing of it, as the page says.
func TestTruncated(t *testing.T) {
	t.Parallel()
	peer(t, "rbldnsd", "rbldnsd")
	c := newChain(t)
	rng := rand.New(rand.NewPCG(seedOf(t), 200))
	former, newer, list := c.twoLists(rng)
	whole := newer["bl.example.ip4set"]
	offsets := []int{0, 1, len(whole) - 1}
	for len(offsets) < truncations {
		offsets = append(offsets, rng.IntN(len(whole)))
	}
	cut := func(offset int) publication {
		return newer.with(publication{"bl.example.ip4set": whole[:offset]})
	}

	t.Run("mirror", func(t *testing.T) {
		t.Parallel()
		dir := c.folder("mirrored")
		former.put(t, dir)
		m := c.startMirror(t, dir)
		for _, offset := range offsets {
			cut(offset).put(t, dir)
			if why := m.look(t); !strings.Contains(why, fmt.Sprintf("bl.example.ip4set: has not the %d bytes of the manifest", len(whole))) {
				t.Fatalf("cut off at %d: refused for %q", offset, why)
			}
		}
		m.serves(t, false)
		newer.put(t, dir)
		if why := m.look(t); why != "" {
			t.Errorf("the whole one is refused: %s", why)
		}
		m.serves(t, true)
	})
	t.Run("rbldnsd", func(t *testing.T) {
		t.Parallel()
		dir := c.folder("plain")
		newer.put(t, dir)
		r := c.startLooking(t, dir)
		half := 0
		for i, offset := range offsets {
			cut(offset).put(t, dir)
			age := time.Now().Add(time.Duration(i-len(offsets)) * time.Minute) // by which it knows that the file is another
			if err := os.Chtimes(filepath.Join(dir, "bl.example.ip4set"), age, age); err != nil {
				t.Fatal(err)
			}
			// It has what stands on whole lines; and of the rest what is an address by
			// chance, but no network.
			entries := len(entryLine.FindAll(whole[:offset], -1))
			last := string(whole[bytes.LastIndexByte(whole[:offset], '\n')+1 : offset])
			rest, err := netip.ParseAddr(strings.TrimPrefix(last, "!"))
			if err == nil {
				entries, half = entries+1, half+1
			}
			if got, want := r.reload(t), fmt.Sprintf("%d/0/0/0", entries); got != want {
				t.Errorf("cut off at %d: rbldnsd has %s, want %s", offset, got, want)
			}
			if err == nil {
				// What stood behind the address is cut off, and the default line before it holds.
				want := "NXDOMAIN"
				if defaults := defaultCode.FindAllSubmatch(whole[:offset], -1); last[0] != '!' && rest != excludedPoint {
					want = string(defaults[len(defaults)-1][1])
				}
				if got := r.data(t, reversed(rest)+".bl.example", dns.TypeA); got != want {
					t.Errorf("cut off at %d: %q is answered with %s, want %s", offset, last, got, want)
				}
			}
			r.neverMore(t, list.clean[:20])
		}
		t.Logf("rbldnsd listed half an address for %d of %d offsets", half, len(offsets))
	})
}

func (c *chain) folder(name string) string {
	c.t.Helper()
	dir := c.file(name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	return dir
}

// twoLists is twoPublications, with some thousand addresses in each.
func (c *chain) twoLists(rng *rand.Rand) (former, newer publication, list *contents) {
	c.t.Helper()
	list = &contents{codes: map[netip.Addr]string{}}
	list.importRandom(c.t, c.publisher.site, rng)
	former, newer = c.twoPublications()
	return former, newer, list
}

// looking is an rbldnsd that reads its files anew when it is told to.
type looking struct {
	*secondary
	*asker
}

// startLooking starts rbldnsd as the page says, but that it looks only when told to.
func (c *chain) startLooking(t *testing.T, dir string) *looking {
	t.Helper()
	program := secondaryProgram{"rbldnsd", "rbldnsd", func(_ string, port int, _ string, _ []string) string {
		replace := mirroredAt(dir)
		replace["192.0.2.53/53"], replace[" -n "] = fmt.Sprintf("127.0.0.1/%d", port), " -n -c 0 "
		return documented(t, "rbldnsd", replace)
	}, rbldnsdConsumer.args}
	s := startSecondary(t, program, "", "bl.example")
	r := &looking{secondary: s, asker: newAsker(t, "udp", s.addr)}
	r.read(t, 0) // what it says of that must not be taken for what it says of the next
	return r
}

var datasetSize = regexp.MustCompile(`ip4set:.*: e32/24/16/8=(\d+/\d+/\d+/\d+)`)

// reload has it read the files, and returns how many addresses, /24s, /16s and /8s
// it has then.
func (r *looking) reload(t *testing.T) string {
	t.Helper()
	said := len(r.log.String())
	if err := r.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	return r.read(t, said)
}

// read waits until it says, after so much else, that it has read the files.
func (r *looking) read(t *testing.T, after int) (size string) {
	t.Helper()
	eventually(t, "rbldnsd has read the files", func(context.Context) error {
		words := r.log.String()[after:]
		m := datasetSize.FindStringSubmatch(words)
		if m == nil || !strings.Contains(words, "zones reloaded") {
			return fmt.Errorf("it says %q", words)
		}
		size = m[1]
		return nil
	})
	return size
}

// neverMore wants nothing to be listed that is not on the list.
func (r *looking) neverMore(t *testing.T, clean []netip.Addr) {
	t.Helper()
	for _, addr := range clean {
		if got := r.data(t, reversed(addr)+".bl.example", dns.TypeA); got != "NXDOMAIN" {
			t.Errorf("%s is answered with %s, and is not listed", addr, got)
		}
	}
}

var (
	entryLine   = regexp.MustCompile(`(?m)^[!0-9].*\n`)
	defaultCode = regexp.MustCompile(`(?m)^:(127\.0\.0\.[0-9]+):.*\n`)

	excludedPoint = netip.MustParseAddr("127.0.0.1") // by a line of its own (RFC 5782 §5)
)
