package listing_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"backscatter/listing"
)

func silent(int64, int64) {}

// While it is compacted a store takes in what comes, answers whoever asks, and
// has all of it afterwards. A backup that began before goes on.
func TestCompactInUse(t *testing.T) {
	t.Parallel()
	s := start(t)
	if _, err := s.List(t.Context(), operator, hosts(t, 20_000)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Compact(t.Context(), listing.Order{}, silent); !errors.Is(err, listing.ErrNoReason) {
		t.Errorf("without a reason: %v", err)
	}
	dry, err := s.Compact(t.Context(), dryRun, silent)
	if err != nil || dry.Before == 0 || dry.Free == 0 || dry.After != 0 {
		t.Errorf("dry run: %+v %v", dry, err)
	}
	source := func(n int) string { return fmt.Sprintf("203.0.113.%d", n%250+1) }
	stop, backedUp := make(chan struct{}), make(chan error, 1)
	var taken atomic.Int64
	var others sync.WaitGroup
	for worker := range 4 {
		others.Go(func() {
			for n := worker; ; n += 4 {
				select {
				case <-stop:
					return
				default:
				}
				s.observe(bounce(n, source(n), time.Now()))
				if _, err := s.Explain(key(t, "203.0.113.1").Prefix().Addr()); err != nil {
					t.Error(err)
				}
				taken.Store(max(taken.Load(), int64(n)))
			}
		})
	}
	s.OnCompactStep(func(step string) error {
		switch step {
		case "copied": // others write, and the copy knows nothing of it
			for seen := taken.Load(); taken.Load() < seen+50; {
				time.Sleep(time.Millisecond)
			}
			if _, err := s.Compact(t.Context(), operator, silent); err == nil {
				t.Error("compacted twice at the same time")
			}
			s.delist(0, "11.0.0.0")
		case "settled":
			begun, once := make(chan struct{}), sync.Once{}
			others.Go(func() {
				backup := filepath.Join(t.TempDir(), "backup")
				f, err := os.Create(backup)
				if err == nil {
					err = errors.Join(s.Backup(context.Background(), slowly{f, func() { once.Do(func() { close(begun) }) }, stop}, func(int64) {}), f.Close())
				}
				if err == nil {
					var v listing.Verdict
					if v, err = listing.Check(backup); len(v.Damage) > 0 {
						err = fmt.Errorf("%v", v.Damage)
					}
				}
				backedUp <- err
			})
			<-begun
		}
		return nil
	})
	told := int64(0)
	out, err := s.Compact(t.Context(), operator, func(done, _ int64) { told = done })
	if err != nil || out.After == 0 || out.After > out.Before || told == 0 {
		t.Errorf("%+v %v, told of %d", out, err, told)
	}
	close(stop)
	others.Wait()
	if err := <-backedUp; err != nil {
		t.Errorf("the backup: %v", err)
	}
	want := s.published()
	s.verify()
	audit, err := s.Audit(listing.AuditFilter{})
	if err != nil || !slices.ContainsFunc(audit, func(a listing.AuditEntry) bool {
		return a.Action == listing.ActionCompact && a.By == operator.By && a.Reason == operator.Reason && bytes.Contains(a.Detail, []byte("after"))
	}) {
		t.Errorf("the audit has no compaction: %v", err)
	}
	if left, _ := filepath.Glob(s.path + ".compacting*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	again := s.reopen(eager())
	again.verify()
	if diff := cmp.Diff(want, again.published()); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	last := int(taken.Load())
	if out := again.observe(bounce(last, source(last), time.Now())); !out.Duplicate {
		t.Error("the last that was taken in is lost")
	}
}

// slowly is a backup's reader who takes the first bytes, and the rest later.
type slowly struct {
	f     *os.File
	begun func()
	on    chan struct{}
}

func (s slowly) Write(p []byte) (int, error) {
	s.begun()
	<-s.on
	return s.f.Write(p)
}

// Whatever step is the last one, by a crash or by an error: the file of the
// store is whole and has all that was acknowledged, and the store goes on.
func TestCompactBrokenOff(t *testing.T) {
	t.Parallel()
	for _, last := range []string{"copied", "settled", "ready", "renamed"} {
		t.Run(last, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.list(time.Time{}, "192.0.2.1", "192.0.2.2")
			crashed := filepath.Join(t.TempDir(), "listing.db")
			var want []string
			s.OnCompactStep(func(step string) error {
				if step == "copied" {
					s.delist(0, "192.0.2.1")
					s.observe(bounce(1, "192.0.2.66", time.Now()))
					want = s.published()
				}
				if step != last {
					return nil
				}
				for _, name := range []string{"", ".made", ".compacting"} { // as it would be found after a crash
					if data, err := os.ReadFile(s.path + name); err == nil {
						if err := os.WriteFile(crashed+name, data, 0o600); err != nil {
							t.Error(err)
						}
					}
				}
				return errDisk
			})
			if _, err := s.Compact(t.Context(), operator, silent); !errors.Is(err, errDisk) && last != "renamed" {
				t.Errorf("the error is lost: %v", err)
			}
			if _, err := os.Stat(s.path + ".compacting"); err == nil {
				t.Error("the copy is left behind")
			}
			found := open(t, crashed, eager())
			found.verify()
			if diff := cmp.Diff(want, found.published()); diff != "" {
				t.Errorf("after a crash (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(crashed + ".compacting"); err == nil {
				t.Error("what a crash left is still there")
			}
			eventually(t, "the store goes on", func() bool {
				_, err := s.Observe(t.Context(), bounce(2, "192.0.2.67", time.Now()))
				return err == nil
			})
			s.OnCompactStep(func(string) error { return nil })
			if _, err := s.Compact(t.Context(), operator, silent); err != nil {
				t.Error(err)
			}
			again := s.reopen(eager())
			again.verify()
			again.want("192.0.2.2/32", "192.0.2.66/32", "192.0.2.67/32")
		})
	}
}

var errDisk = errors.New("the disk has failed")

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// What values that are written again and again leave free is used for the others.
func TestCompactLeavesLittleFree(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.stop()
	size := int64(0)
	edit(t, s.path, func(tx *bolt.Tx) error {
		put := func(name string, n, length int) (err error) {
			for i := range n {
				key := fmt.Appendf(nil, "j%08d", i)
				err = errors.Join(err, tx.Bucket([]byte(name)).Put(key, bytes.Repeat(key[8:], length)))
				size += int64(length) // keys and pages add a little
			}
			return err
		}
		return errors.Join(put("large", 3, 3<<20), put("observations", 16<<10, 480))
	})
	out, err := listing.Compact(t.Context(), s.path, operator, func(int64, int64) {})
	if err != nil || out.After > size+size/8 {
		t.Errorf("%d bytes are %d when compacted: %v", size, out.After, err)
	}
}
