package zonefile_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
)

// toldSlowly reads a file as rbldnsd(8) explains it, one line after the other, and
// returns what it says of each prefix outside the test net. It takes anything for
// granted: it is for files that somebody took.
func toldSlowly(file []byte) map[string]string {
	told, fallback := map[string]string{}, ""
	lines := bufio.NewScanner(bytes.NewReader(file))
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, ":127.") {
			fallback = line
			continue
		}
		name, value, own := strings.Cut(line, " ")
		if !own {
			value = fallback
		}
		p, err := netip.ParsePrefix(name)
		if addr, e := netip.ParseAddr(name); e == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() || netip.MustParsePrefix("127.0.0.0/24").Overlaps(p) {
			continue
		}
		value = strings.NewReplacer("$1", "https://bl.example/", "$", name).Replace(value)
		if _, twice := told[p.String()]; !twice {
			told[p.String()] = value
		}
	}
	return told
}

// toldBy returns the same of entries.
func toldBy(entries []listing.Entry) map[string]string {
	told := map[string]string{}
	for _, e := range entries {
		told[e.Prefix.String()] = fmt.Sprintf(":%s:%s", zonefile.Code(e.Class), testZone().Text(e))
	}
	return told
}

// TestCopiedLines reads random files in blocks of any size, and the same files with
// bytes changed, dropped and repeated, and wants of all that is taken what a slow
// reader makes of it.
func TestCopiedLines(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(6, 8))
	taken := 0
	for range 20 {
		var file bytes.Buffer
		for _, f := range []zonefile.Format{zonefile.IP4Set, zonefile.IP6Trie} {
			must(zonefile.Write(&file, f, testZone(), randomSnapshot(rng, 300)))(t)
		}
		good := file.Bytes()
		entries, err := zonefile.ReadCopied(good, 200+rng.IntN(2*len(good)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(toldSlowly(good), toldBy(entries)); diff != "" {
			t.Fatalf("(-slowly +read):\n%s", diff)
		}
		for range 60 {
			bad := bytes.Clone(good)
			at := rng.IntN(len(bad))
			switch rng.IntN(3) {
			case 0:
				bad[at] = "0123456789.\n:/ "[rng.IntN(15)]
			case 1:
				bad = append(bad[:at], bad[at+1:]...)
			default:
				end := min(len(bad), at+rng.IntN(40))
				bad = append(bad[:end:end], good[at:]...)
			}
			entries, err := zonefile.ReadCopied(bad, 300+rng.IntN(len(good)))
			if err != nil {
				continue
			}
			taken++
			if got, want := toldBy(entries), toldSlowly(bad); !maps.Equal(got, want) {
				t.Fatalf("(-slowly +read):\n%s\n%s", cmp.Diff(want, got), bad)
			}
		}
	}
	if taken < 40 {
		t.Errorf("only %d of the changed files were taken, so little was compared", taken)
	}
}

// What is no line of ours is refused, whatever the block that it lies in.
func TestCopiedLinesRefused(t *testing.T) {
	t.Parallel()
	const told = ":127.0.0.9:$1$ backscatter: listed by an operator; permanent; for use on MAIL FROM:<> only\n"
	const testPoint = ":127.0.0.2:$1$ backscatter: test point, always listed (RFC 5782)\n"
	for text, want := range map[string]string{
		told + "192.0.2.1":             "no whole line",
		told + "192.0.2.256\n":         "no prefix",
		told + "192.0.2.01\n":          "no prefix",
		told + "192.0.2.1.1\n":         "no prefix",
		told + "192.0.2\n":             "no prefix",
		told + "192.0.2.1234\n":        "no prefix",
		told + "192.0.2.1 \n":          "no prefix",
		told + "192.0.2.1\r\n":         "no prefix",
		told + "192..2.1\n":            "no prefix",
		told + "127.0.0.0/16 " + told:  "no prefix",
		told + "127.0.0.2\n":           "127.0.0.2 is listed, and must not be",
		testPoint + "127.0.0.3\n":      "127.0.0.3 is listed, and must not be",
		testPoint + "192.0.2.1\n":      "no code is told",
		"127.0.0.2\n":                  "127.0.0.2 is listed, and must not be",
		"192.0.2.1\n":                  "no code is told",
		told + "!127.0.0.1\n:x\n":      "want a code and a text",
		strings.Repeat("192.0.2", 1e5): "no whole line",
	} {
		for _, block := range []int{256, 1 << 18} {
			if _, err := zonefile.ReadCopied([]byte(text), block); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%.120q in blocks of %d: %v, want %q", text, block, err, want)
			}
		}
	}
	entries, err := zonefile.ReadCopied([]byte(told+"0.0.0.0\n255.255.255.255\n127.0.1.0\n"+testPoint+"127.0.0.2\n"), 256)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestAhead reads random texts from readers of all manners in blocks of any size:
// they are the text, cut at ends of lines alone where there are any.
func TestAhead(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(6, 9))
	broken := errors.New("broken disk")
	for range 300 {
		text := make([]byte, rng.IntN(500))
		for i := range text {
			text[i] = "x\n"[rng.IntN(8)/7]
		}
		size := 1 + rng.IntN(60)
		var in io.Reader = bytes.NewReader(text)
		switch rng.IntN(4) {
		case 0:
			in = iotest.OneByteReader(in)
		case 1:
			in = iotest.DataErrReader(in)
		case 2:
			in = io.MultiReader(in, iotest.ErrReader(broken))
		}
		blocks, sum, err := zonefile.ReadAhead(in, size)
		if err != nil && !errors.Is(err, broken) {
			t.Fatal(err)
		}
		if got := bytes.Join(blocks, nil); !bytes.Equal(got, text) || sum != sha256.Sum256(text) {
			t.Fatalf("%q came as %q", text, blocks)
		}
		for i, block := range blocks[:max(0, len(blocks)-1)] {
			if bytes.IndexByte(block, '\n') >= 0 && block[len(block)-1] != '\n' || len(block) > size {
				t.Fatalf("block %d of %d bytes at most: %q", i, size, block)
			}
		}
	}
	if _, _, err := zonefile.ReadAhead(iotest.ErrReader(broken), 8); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
