package zonefile_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/miekg/dns"
)

// ended is a list that was decommissioned.
func ended() *listing.Snapshot {
	return listing.NewSnapshot(listing.Build{Sequence: sequence + 1, Time: made, Decommissioned: made})
}

// A list that has ended has no entries and no test points, in answers and files
// alike, and says so at its apex and under _status (RFC 6471 §3.4).
func TestDecommissioned(t *testing.T) {
	t.Parallel()
	z := testZone()
	for last := range 256 {
		if e, ok := z.Lookup(ended(), netip.AddrFrom4([4]byte{127, 0, 0, byte(last)})); ok {
			t.Errorf("%+v is listed", e)
		}
	}
	var said []string
	for rr := range z.Records(ended()) {
		if a, ok := rr.(*dns.A); ok && a.Hdr.Name != z.Name && strings.HasPrefix(a.A.String(), "127.") {
			t.Errorf("lists %s", rr)
		}
		if txt, ok := rr.(*dns.TXT); ok {
			said = append(said, txt.Hdr.Name+" "+strings.Join(txt.Txt, " "))
		}
	}
	want := z.Name + " This list ended on " + made.UTC().Format("2006-01-02") + ". It is empty, its test entries too."
	if !slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, want) }) {
		t.Errorf("says %q, not %q", said, want)
	}
	if !slices.ContainsFunc(said, func(s string) bool {
		return strings.HasPrefix(s, z.StatusOwner()) && strings.Contains(s, "decommissioned="+made.UTC().Format("2006-01-02T"))
	}) {
		t.Errorf("_status says %q", said)
	}

	// The publisher reads back what it wrote, and finds it whole.
	d := newDesk(t, sample(), zonefile.Formats...)
	must(d.Publish(made))(t)
	d.snapshot.Store(ended())
	must(d.Publish(made))(t)
	for name, text := range d.files(t) {
		if strings.Contains(text, "127.0.0.2") || strings.Contains(text, "192.0.2.6") || strings.Contains(text, "2.0.0.127") {
			t.Errorf("%s lists still:\n%s", name, text)
		}
		if name == "bl.example.jsonl" || name == zonefile.ManifestName {
			continue // they have no comments; the manifest says it in its own way
		}
		if !strings.Contains(text, fmt.Sprintf("decommissioned=%s: the list has ended", made.UTC().Format("2006-01-02T15:04:05Z"))) {
			t.Errorf("%s does not say so:\n%s", name, text)
		}
	}
}
