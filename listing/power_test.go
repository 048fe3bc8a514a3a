package listing_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// record has a child work on a copy of the victim and returns what it did to its
// disk.
func (v *victim) record(t *testing.T) []call {
	t.Helper()
	c, err := v.fresh(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	end, err := c.strace(t.Context(), "-xx", "-s", "16777216", "-P", c.store, "-P", c.acks, "-e", "trace=pwrite64,write,ftruncate,fdatasync,fsync")
	if err != nil || !end.whole {
		t.Fatalf("the child did not end by itself: %v", err)
	}
	calls := readCalls(t, end.log)
	if got := count(calls, "ack"); got != tortureTasks || count(calls, "sync") < 20 || count(calls, "pwrite64") < 50 {
		t.Fatalf("%d acknowledgements, %d syncs, %d writes", got, count(calls, "sync"), count(calls, "pwrite64"))
	}
	acked, err := c.acked()
	if err == nil {
		err = examine(t, c.store, c.before, acked)
	}
	if err != nil {
		t.Fatal(err)
	}
	return calls
}

// image is the disk after the power went at a moment: all that was synced by then
// is there, and of the rest any part, in sectors of 512 bytes where a write is torn.
func image(r *rand.Rand, base []byte, calls []call, synced func(int) bool) []byte {
	const sector = 512
	disk := bytes.Clone(base)
	put := func(at int64, data []byte) {
		if end := at + int64(len(data)); end > int64(len(disk)) {
			disk = append(disk, make([]byte, end-int64(len(disk)))...)
		}
		copy(disk[at:], data)
	}
	how := r.IntN(4) // all lost, all there, some of them, torn
	for i, c := range calls {
		lucky := synced(i) || how == 1 || how > 1 && r.IntN(2) == 0
		switch {
		case c.name == "ftruncate" && lucky:
			size := int(c.offset)
			disk = append(disk[:min(size, len(disk))], make([]byte, max(0, size-len(disk)))...)
		case c.name != "pwrite64":
		case lucky:
			put(c.offset, c.data)
		case how == 3:
			for n := 0; n < len(c.data); n += sector {
				if r.IntN(2) == 0 {
					put(c.offset+int64(n), c.data[n:min(n+sector, len(c.data))])
				}
			}
		}
	}
	return disk
}

// lose has the power go at a random moment, leaves the disk at a path, and returns
// what had been acknowledged.
func lose(t *testing.T, r *rand.Rand, base []byte, calls []call, ignoreSync bool, path string) (acked []task) {
	t.Helper()
	calls = calls[:r.IntN(len(calls)+1)]
	last := -1 // the last sync
	for i, c := range calls {
		switch c.name {
		case "ack":
			more, err := parseAcks(string(c.data))
			if err != nil {
				t.Fatal(err)
			}
			acked = append(acked, more...)
		case "sync":
			last = i
		}
	}
	disk := image(r, base, calls, func(i int) bool { return i < last && !ignoreSync })
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{path: disk, path + ".made": nil} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return acked
}

// The power goes at any moment, and any part of what was not synced is lost: what
// was acknowledged is there, and nothing by half. The same disk with the syncs
// taken for nothing must fail, or the test would prove nothing.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	perRun := 30
	if long(t, 1) > 1 {
		perRun = 60
	}
	v := newVictim(t, workTasks)
	r := randomOf(t)
	path := filepath.Join(v.dir, "image.db")
	images, controls, failed := 0, 0, 0
	for range long(t, 1) {
		calls := v.record(t)
		for range perRun {
			images++
			acked := lose(t, r, v.data, calls, false, path)
			if err := examine(t, path, v.before, acked); err != nil {
				t.Fatalf("image %d: %v", images, err)
			}
			if images%2 == 0 {
				controls++
				acked := lose(t, r, v.data, calls, true, path)
				if examine(t, path, nil, acked) != nil {
					failed++
				}
			}
		}
	}
	if failed == 0 {
		t.Error("a disk that syncs nothing does no harm: the test cannot fail")
	}
	t.Logf("torture: power loss: %d images of the disk were whole; of %d without the syncs %d were not", images, controls, failed)
}
