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
	end, err := c.strace(t.Context(), "-y", "-xx", "-s", "16777216", "-P", c.store, "-P", c.store+".compacting", "-P", c.dir, "-P", c.acks,
		"-e", "trace=pwrite64,write,ftruncate,fdatasync,fsync,renameat")
	if err != nil || !end.whole {
		t.Fatalf("the child did not end by itself: %v", err)
	}
	calls := c.readCalls(t, end.log)
	if got := count(calls, "ack"); got != tortureTasks || count(calls, "sync") < 20 || count(calls, "pwrite64") < 50 ||
		(count(calls, "rename") == 1) != (v.work == workCompact) {
		t.Fatalf("%d acknowledgements, %d syncs, %d writes, %d renames", got, count(calls, "sync"), count(calls, "pwrite64"), count(calls, "rename"))
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

// image is a file after the power went at a moment: all that was synced by then
// is there, and of the rest any part, in sectors of 512 bytes where a write is torn.
func image(r *rand.Rand, base []byte, calls []call, file string, synced int) []byte {
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
		if c.file != file {
			continue
		}
		lucky := i < synced || how == 1 || how > 1 && r.IntN(2) == 0
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
// what had been acknowledged, and whether the store is a compaction's copy.
func (v *victim) lose(t *testing.T, r *rand.Rand, calls []call, ignoreSync bool, path string) (acked []task, exchanged bool) {
	t.Helper()
	calls = calls[:r.IntN(len(calls)+1)]
	last := map[string]int{} // sync of each file
	renamed := -1
	for i, c := range calls {
		switch {
		case c.name == "ack":
			more, err := parseAcks(string(c.data))
			if err != nil {
				t.Fatal(err)
			}
			acked = append(acked, more...)
		case c.name == "rename":
			renamed = i
		case c.name == "sync" && !ignoreSync:
			last[c.file] = i
		}
	}
	store := image(r, v.data, calls, fileStore, last[fileStore])
	copied := image(r, nil, calls, fileCopy, last[fileCopy])
	files := map[string][]byte{path: store, path + ".made": nil, path + ".compacting": copied}
	if renamed >= 0 && (last[fileFolder] > renamed || r.IntN(2) == 0) {
		exchanged = true
		files[path] = copied
		delete(files, path+".compacting")
	}
	for _, name := range []string{path, path + ".compacting"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for name, data := range files {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return acked, exchanged
}

// The power goes at any moment, while a store is worked on and while it is
// compacted, and any part of what was not synced is lost: what was acknowledged is
// there, and nothing by half. The same disk with the syncs taken for nothing must
// fail, or the test would prove nothing.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	perRun := 20
	if long(t, 1) > 1 {
		perRun = 60
	}
	r := randomOf(t)
	for _, work := range []work{workTasks, workCompact} {
		v := newVictim(t, work)
		path := filepath.Join(v.dir, "image.db")
		images, copies, controls, failed := 0, 0, 0, 0
		for range long(t, 1) {
			calls := v.record(t)
			for range perRun {
				images++
				acked, exchanged := v.lose(t, r, calls, false, path)
				if err := examine(t, path, v.before, acked); err != nil {
					t.Fatalf("%s, image %d, exchanged %t: %v", work, images, exchanged, err)
				}
				if exchanged {
					copies++
				}
				if images%2 == 0 {
					controls++
					acked, _ := v.lose(t, r, calls, true, path)
					if examine(t, path, nil, acked) != nil {
						failed++
					}
				}
			}
		}
		if failed == 0 {
			t.Error("a disk that syncs nothing does no harm: the test cannot fail")
		}
		if images >= 100 && (copies > 0) != (work == workCompact) {
			t.Errorf("%s: %d images are of the copy", work, copies)
		}
		t.Logf("torture: power loss, %s: %d images of the disk were whole, %d of them of a compaction's copy; of %d without the syncs %d were not",
			work, images, copies, controls, failed)
	}
}
