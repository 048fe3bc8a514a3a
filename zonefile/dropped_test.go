package zonefile_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"backscatter/zonefile"
)

// TestPublishDropsFormats takes formats out of a signed export, stops before each
// step of the next publication, and wants files to go only when no manifest in force
// names them; in the end they go, and nothing else does.
func TestPublishDropsFormats(t *testing.T) {
	t.Parallel()
	d, public := signedDesk(t)
	d.options.Formats, d.options.Gzip = zonefile.Formats, true
	all := must(zonefile.NewPublisher(d.options))(t)
	d.options.Formats, d.options.Gzip = []zonefile.Format{zonefile.IP4Set, zonefile.IP6Trie}, false
	some := must(zonefile.NewPublisher(d.options))(t)
	must(all.Publish(made))(t)
	for _, mine := range []string{"other.example.zone", "bl.example.txt.old", "notes"} {
		if err := os.WriteFile(filepath.Join(d.dir, mine), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stop, removed := errors.New("stopped here"), 0
	for at := 0; ; at++ {
		steps := 0
		some.StopBefore(func(step string) error {
			if strings.HasPrefix(step, "remove bl.example") {
				removed++
			}
			if steps++; steps > at {
				return stop
			}
			return nil
		})
		_, err := some.Publish(made)
		if m, bad := zonefile.OpenManifest(d.dir, public); bad == nil { // else the next publication completes it
			if err := m.Verify(d.dir); err != nil {
				t.Fatalf("stopped before step %d: %v", at, err)
			}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, stop) {
			t.Fatal(err)
		}
	}
	if removed == 0 {
		t.Error("nothing was removed step by step")
	}
	var left []string
	for name := range d.files(t) {
		left = append(left, name)
	}
	slices.Sort(left)
	want := []string{"MANIFEST", "MANIFEST.minisig", "bl.example.ip4set", "bl.example.ip6trie", "bl.example.txt.old", "notes", "other.example.zone"}
	if !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
}
