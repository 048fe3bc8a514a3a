package zonefile_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"backscatter/listing"
	"backscatter/zonefile"
)

// The disk fills while any of the files is written: the former publication stays,
// nothing is left behind, and the next one has room again.
func TestPublishOnFullDisk(t *testing.T) {
	t.Parallel()
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip(err)
	}
	d, public := signedDesk(t)
	d.options.Gzip = true
	d.Publisher = must(zonefile.NewPublisher(d.options))(t)
	must(d.Publish(made))(t)
	want := d.files(t)
	d.next(listing.Next{Time: made, Removed: sampleHosts()})
	for name := range want {
		beside := filepath.Join(d.dir, "."+name+".new")
		if err := os.Symlink(full, beside); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Publish(made.Add(time.Minute)); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), d.dir) {
			t.Errorf("%s: got %v", name, err)
		}
		if diff := cmp.Diff(want, d.files(t)); diff != "" {
			t.Errorf("%s: the files changed, or something was left behind: %s", name, diff)
		}
	}
	must(d.Publish(made.Add(time.Minute)))(t)
	m := must(zonefile.OpenManifest(d.dir, public))(t)
	if err := m.Verify(d.dir); err != nil || m.Serial != sequence+1 {
		t.Errorf("serial %d, %v", m.Serial, err)
	}
}
