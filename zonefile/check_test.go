package zonefile_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"backscatter/listing"
	"backscatter/zonefile"
)

func TestCheckTakesWhatWeWrite(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(13, 14))
	notices := testZone()
	notices.Classes, notices.URL = listing.ClassSetOf(listing.ClassNotice), ""
	for _, s := range []*listing.Snapshot{sample(), snapshotOf(), randomSnapshot(rng, 400), randomSnapshot(rng, 400)} {
		for _, f := range zonefile.Formats {
			for _, z := range []*zonefile.Zone{testZone(), notices} {
				if err := zonefile.Check(bytes.NewReader(write(t, f, z, s)), f, z, s); err != nil {
					t.Errorf("%s: %v", f, err)
				}
			}
		}
	}
}

// TestCheckRefusesDamage damages each file in many ways, none of which may
// pass, but for those that only comments, headers and texts notice.
func TestCheckRefusesDamage(t *testing.T) {
	t.Parallel()
	z, s := testZone(), sample()
	for _, f := range zonefile.Formats {
		good := write(t, f, z, s)
		refused := func(what string, bad []byte) {
			t.Helper()
			if zonefile.Check(bytes.NewReader(bad), f, z, s) == nil {
				t.Errorf("%s: passes, %s", f, what)
			}
		}
		for cut := 0; cut < len(good); cut += 1 + len(good)/3000 {
			refused("cut off", good[:cut])
		}
		lines := bytes.SplitAfter(good, []byte("\n"))
		for i, line := range lines {
			name, _, _ := strings.Cut(strings.TrimSpace(string(line)), "\t")
			if first := line[:min(len(line), 1)]; len(first) == 0 || strings.ContainsAny(string(first), "#;$\t") || strings.HasPrefix(name, z.Name) || strings.HasPrefix(name, "_") {
				continue
			}
			rest := bytes.Join([][]byte{bytes.Join(lines[:i], nil), bytes.Join(lines[i+1:], nil)}, nil)
			if !bytes.Contains(line, []byte("\tTXT\t")) && line[0] != ':' {
				refused("without "+string(line), rest)
			}
			for _, more := range []string{"192.0.2.250\n", "127.0.0.1\n", "127.0.0.1 :127.0.0.2:x\n", "250.2.0.192\tA\t127.0.0.2\n", "junk\n", "\n"} {
				if f == zonefile.Master && !strings.Contains(more, "\t") {
					continue // other records are no listings
				}
				refused("with "+more, bytes.Join([][]byte{bytes.Join(lines[:i], nil), []byte(more), bytes.Join(lines[i:], nil)}, nil))
			}
		}
		if f == zonefile.Removals {
			continue // it is empty here; see TestRemovals
		}
		if f != zonefile.Plain { // of which the codes are no part
			refused("another code", bytes.Replace(good, []byte("127.0.0.9"), []byte("127.0.0.5"), 3))
		}
		refused("of another list", write(t, f, z, snapshotOf()))
	}
}
