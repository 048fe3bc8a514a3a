package dnsd_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"backscatter/dnsd"
	"backscatter/listing"
	"backscatter/zonefile"
)

// timed is the zone with timers that a test can wait for.
func timed() *zonefile.Zone {
	z := zoneBL()
	z.Refresh, z.Retry, z.Expire = 10*time.Minute, time.Minute, time.Hour
	return z
}

// What cannot be remembered is not put in force, is told, and is tried again when the
// SOA says so: not before, and then with success.
func TestCopierCannotRemember(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "copy")
	synctest.Test(t, func(t *testing.T) {
		z := timed()
		p := &scripted{answer: honest(z, lasting(1000))}
		c := copying(t, dir, func(o *dnsd.CopierOptions) { o.Dial = p.dial })
		stop := runCopier(t, c)
		synctest.Wait()
		memory := filepath.Join(dir, "newest")
		if err := os.Remove(memory); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(memory, 0o700); err != nil { // no file can take its place
			t.Fatal(err)
		}
		p.will(honest(z, lasting(1001)))
		before := len(p.questions())
		c.Look()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if s := c.State(); s.Err == nil || !strings.Contains(s.Err.Error(), "remember serial 1001") || s.Serial != 1000 || c.Snapshot().Serial() != 1000 {
			t.Errorf("with a disk that takes nothing: %+v", s)
		}
		if n := len(p.questions()) - before; n > 2*(30+1) {
			t.Errorf("asked %d questions in half an hour of retries each minute", n)
		}
		if err := os.Remove(memory); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if s := c.State(); s.Err != nil || s.Serial != 1001 || c.Snapshot().Serial() != 1001 {
			t.Errorf("with a disk that takes it again: %+v", s)
		}
		stop()
	})
}

// A copy on the disk that is older than what was in force is as old as it is: that
// something newer was confirmed later says nothing of it.
func TestCopierBeginsBehind(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "copy")
	synctest.Test(t, func(t *testing.T) {
		list := listing.NewSnapshot(listing.Build{Sequence: 1000, Time: time.Now(), Entries: slices.Values(entries)})
		p := &scripted{answer: honest(timed(), list)}
		begin := func() *dnsd.Copier {
			return copying(t, dir, func(o *dnsd.CopierOptions) { o.Dial = p.dial })
		}
		stop := runCopier(t, begin())
		synctest.Wait()
		stop()
		taken := time.Now()
		time.Sleep(30 * time.Minute)
		keeper, err := zonefile.NewKeeper(dir)
		if err != nil {
			t.Fatal(err)
		}
		// As after a crash before the next serial was written.
		if err := keeper.Remember(zonefile.Confirmation{Serial: 1001, Confirmed: time.Now()}); err != nil {
			t.Fatal(err)
		}
		c := begin()
		if s := c.State(); c.Snapshot() == nil || s.Checked.After(taken.Add(time.Minute)) {
			t.Errorf("taken at %s: %+v", taken, s)
		}
		time.Sleep(31 * time.Minute)
		if c := begin(); c.Snapshot() != nil || c.Zones() != nil {
			t.Errorf("it is answered from after its time: %+v", c.State())
		}
	})
}

// When it cannot be read which serial was the newest, an older one than that of the
// copy on the disk is refused all the same.
func TestCopierForgets(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(memory string) error{
		"damaged": func(memory string) error { return os.WriteFile(memory, []byte(`{"serial":`), 0o600) },
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "copy")
			synctest.Test(t, func(t *testing.T) {
				p := &scripted{answer: honest(timed(), lasting(1000))}
				begin := func() (*dnsd.Copier, func()) {
					c := copying(t, dir, func(o *dnsd.CopierOptions) { o.Dial = p.dial })
					return c, runCopier(t, c)
				}
				_, stop := begin()
				synctest.Wait()
				stop()
				if err := forget(filepath.Join(dir, "newest")); err != nil {
					t.Fatal(err)
				}
				p.will(honest(timed(), lasting(999)))
				c, stop := begin()
				time.Sleep(time.Second)
				synctest.Wait()
				if s := c.State(); s.Err == nil || !strings.Contains(s.Err.Error(), "serial 999 is older than serial 1000") || c.Snapshot().Serial() != 1000 {
					t.Errorf("%+v", s)
				}
				p.will(honest(timed(), lasting(1001)))
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if s := c.State(); s.Err != nil || s.Serial != 1001 {
					t.Errorf("%+v", s)
				}
				stop()
			})
		})
	}
}
