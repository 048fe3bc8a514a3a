package zonefile_test

import (
	"math/rand/v2"
	"testing"

	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// The names in wire format are those of Wildcards.
func TestAppendLabels(t *testing.T) {
	t.Parallel()
	z := testZone()
	for e := range randomSnapshot(rand.New(rand.NewPCG(21, 22)), 500).All() {
		want := z.Wildcards(e.Prefix)
		for piece := range zonefile.Pieces(e.Prefix) {
			wire := append(zonefile.AppendLabels([]byte("before"), piece)[len("before"):], 0)
			got, end, err := dns.UnpackDomainName(wire, 0)
			if err != nil || end != len(wire) || len(want) == 0 || got+z.Name != want[0] {
				t.Fatalf("%s: %q, %v, want %q", piece, got, err, want)
			}
			want = want[1:]
		}
		if len(want) > 0 {
			t.Errorf("%s: without %q", e.Prefix, want)
		}
	}
}

// What the zone says of its state is what it said then.
func TestFormerStatusTXT(t *testing.T) {
	t.Parallel()
	z, s := testZone(), sample()
	former := z.FormerStatusTXT(s.Sequence(), s.Time(), s.Len())
	if want := z.StatusTXT(s).String(); former.String() != want {
		t.Errorf("%s, want %s", former, want)
	}
}
