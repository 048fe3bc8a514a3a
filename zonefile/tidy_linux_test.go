package zonefile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"
)

// TestReplacedFilesAreLetGo: what keeps a replaced file open keeps its blocks, and on a
// disk that is nearly full the next publication has no room.
func TestReplacedFilesAreLetGo(t *testing.T) {
	t.Parallel()
	d := newDesk(t, sample(), zonefile.Formats...)
	for i := range 3 {
		d.next(listing.Next{Time: made, Added: []listing.Entry{entry("192.0.2."+string(rune('1'+i)), listing.Summary{}, listing.ClassManual)}})
		must(d.Accept(made.Add(time.Duration(i) * time.Minute)))(t)
	}
	if open := openIn(t, d.dir); len(open) > 0 {
		t.Errorf("after an accepted publication these are open: %q", open)
	}
	must(d.Publish(made.Add(24 * time.Hour)))(t) // a later stamp
	if open := openIn(t, d.dir); len(open) == 0 {
		t.Error("no file that was replaced is open: this test finds none")
	}
	d.Tidy()
	if open := openIn(t, d.dir); len(open) > 0 {
		t.Errorf("after Tidy these are open: %q", open)
	}
}

// openIn returns the files below a folder that this process has open.
func openIn(t *testing.T, dir string) (open []string) {
	t.Helper()
	for _, e := range must(os.ReadDir("/proc/self/fd"))(t) {
		name, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name()))
		if err == nil && strings.HasPrefix(name, dir+"/") {
			open = append(open, name)
		}
	}
	return open
}
