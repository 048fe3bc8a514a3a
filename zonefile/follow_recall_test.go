package zonefile_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
)

// lastGood is the folder of what is kept for the next start.
func (m *mirror) lastGood() string { return filepath.Join(m.options.Memory, "last-good") }

func (m *mirror) keptSerial(t *testing.T) uint32 {
	t.Helper()
	return must(zonefile.ReadManifest(m.lastGood()))(t).Serial
}

// keptMirror has a list in force that is kept.
func keptMirror(t *testing.T) (m *mirror, want []string) {
	t.Helper()
	m = newMirror(t)
	want = m.publish(t, made, listing.Next{Time: made})
	m.fetch(t)
	m.Begin(made)
	m.Turn(made)
	if got := m.keptSerial(t); got != m.State().Serial {
		t.Fatalf("serial %d is kept", got)
	}
	return m, want
}

// What could not be kept at once is kept when the cause is gone, and it is told once.
func TestFollowerKeepsLater(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, m *mirror) (mend func() error){
		"another file in the folder": func(t *testing.T, m *mirror) func() error {
			t.Helper()
			file := filepath.Join(m.dir, "bl.example.ip4set")
			text := must(os.ReadFile(file))(t)
			m.put(t, filepath.Base(file), string(text[:100]))
			return func() error { return os.WriteFile(file, text, 0o644) }
		},
		"nowhere to keep it": func(t *testing.T, m *mirror) func() error {
			t.Helper()
			if err := os.Rename(m.options.Memory, m.options.Memory+".away"); err != nil {
				t.Fatal(err)
			}
			return func() error { return os.Rename(m.options.Memory+".away", m.options.Memory) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log safeLog
			m, _ := keptMirror(t)
			m.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
			m.restart()
			m.publish(t, made, listing.Next{Time: made, Removed: sampleHosts()})
			m.fetch(t)
			must(m.Check(made))(t)
			mend := spoil(t, m)
			for range 3 {
				m.Turn(made)
			}
			if n := strings.Count(log.String(), "keep serial"); n != 1 {
				t.Errorf("it is told %d times:\n%s", n, log.String())
			}
			if err := mend(); err != nil {
				t.Fatal(err)
			}
			m.Turn(made)
			if got := m.keptSerial(t); got != sequence+2 {
				t.Errorf("serial %d is kept", got)
			}
		})
	}
}

// What is in force is kept also when the first turn finds that the next is arriving.
func TestFollowerKeepsWhileTheNextArrives(t *testing.T) {
	t.Parallel()
	m, _ := keptMirror(t)
	want := m.publish(t, made, listing.Next{Time: made, Removed: sampleHosts()})
	m.fetch(t)
	must(m.Check(made))(t) // as Begin does
	m.publish(t, made, listing.Next{Time: made, Added: []listing.Entry{entry("203.0.113.250", listing.Summary{}, listing.ClassManual)}})
	m.fetch(t, zonefile.ManifestName, zonefile.SignatureName)
	m.Turn(made)
	m.restart()
	m.Begin(made)
	if diff := cmp.Diff(want, m.answers()); diff != "" {
		t.Errorf("not as before (%v):\n%s", m.State().Err, diff)
	}
}

// A crash while one takes the place of the other loses neither, and what is kept has its
// place again.
func TestFollowerRecallsAfterACrash(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]func(m *mirror) error{
		"the former is gone": func(m *mirror) error { return os.Rename(m.lastGood(), m.lastGood()+".new") },
		"the former is half gone": func(m *mirror) error {
			if err := os.CopyFS(m.lastGood()+".new", os.DirFS(m.lastGood())); err != nil {
				return err
			}
			return os.Remove(filepath.Join(m.lastGood(), "bl.example.ip4set"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, want := keptMirror(t)
			if err := crash(m); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(m.dir); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				m.restart()
				m.Begin(made)
				if diff := cmp.Diff(want, m.answers()); diff != "" {
					t.Errorf("not as before (%v):\n%s", m.State().Err, diff)
				}
				if _, err := os.Stat(m.lastGood() + ".new"); !os.IsNotExist(err) {
					t.Error("it is left beside: ", err)
				}
			}
		})
	}
}

// What a crash left beside is not thrown away for a copy that may not come about.
func TestFollowerKeepsWhatACrashLeft(t *testing.T) {
	t.Parallel()
	m, want := keptMirror(t)
	if err := os.Rename(m.lastGood(), m.lastGood()+".new"); err != nil {
		t.Fatal(err)
	}
	m.restart()
	m.Begin(made) // the folder is right
	m.put(t, "bl.example.ip4set", "")
	m.Turn(made)
	m.restart()
	m.Begin(made)
	if diff := cmp.Diff(want, m.answers()); diff != "" {
		t.Errorf("not as before (%v):\n%s", m.State().Err, diff)
	}
}

// A mirror that was pointed at another zone answers from the former one, which was kept,
// until the other is there.
func TestFollowerLeavesAKeptZone(t *testing.T) {
	t.Parallel()
	m, former := keptMirror(t)
	z := testZone()
	z.Name = "other.example."
	d := m.publisher
	d.zone.Store(z)
	d.dir = filepath.Join(t.TempDir(), "other")
	d.options.Dir = d.dir
	d.Publisher = must(zonefile.NewPublisher(d.options))(t)
	m.dir = t.TempDir()
	m.options.Dir = m.dir
	m.restart()
	m.Begin(made)
	if diff := cmp.Diff(former, m.answers()); diff != "" {
		t.Error(diff)
	}
	m.publish(t, made, listing.Next{Time: made})
	m.fetch(t)
	m.Turn(made)
	if s := m.State(); s.Zone != "other.example" || s.Err != nil {
		t.Errorf("%+v", s)
	}
	if kept := must(zonefile.ReadManifest(m.lastGood()))(t); kept.Zone != "other.example" {
		t.Errorf("%s is kept", kept.Zone)
	}
}

// Whether the folder has all of what was recalled is looked at, though its manifest is
// the same.
func TestFollowerTellsOfADamagedFolder(t *testing.T) {
	t.Parallel()
	m, want := keptMirror(t)
	name := filepath.Join(m.dir, "bl.example.ip4set")
	text := must(os.ReadFile(name))(t)
	m.put(t, filepath.Base(name), strings.Replace(string(text), "192.0.2.66", "192.0.2.99", 1))
	m.restart()
	m.Begin(made)
	for range 2 {
		if changed, err := m.Check(made); changed || err == nil || !strings.Contains(err.Error(), "has other bytes") {
			t.Errorf("changed: %t, error %v", changed, err)
		}
		if s := m.State(); s.Err == nil || !s.Checked.IsZero() {
			t.Errorf("%+v", s)
		}
	}
	// A time of its own, since the former may be just as old.
	m.put(t, filepath.Base(name), string(text))
	if err := os.Chtimes(name, made, made); err != nil {
		t.Fatal(err)
	}
	must(m.Check(made))(t)
	if s := m.State(); s.Err != nil || s.Checked != made {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff(want, m.answers()); diff != "" {
		t.Error(diff)
	}
}

// Who is told that something is too old is told what.
func TestFollowerNamesWhatIsTooOld(t *testing.T) {
	t.Parallel()
	m, _ := keptMirror(t)
	newer := fmt.Sprintf("%d %s\n", sequence+9, made.Format(time.RFC3339))
	if err := os.WriteFile(filepath.Join(m.options.Memory, "mirror.bl.example"), []byte(newer), 0o644); err != nil {
		t.Fatal(err)
	}
	m.restart()
	m.Begin(made)
	for _, dir := range []string{m.dir, m.lastGood()} {
		if err := m.State().Err; err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s: serial %d ", dir, sequence+1)) {
			t.Errorf("does not name %s: %v", dir, err)
		}
	}
}

// A recalled list takes as much memory to read as any other, and that is given back.
func TestFollowerGivesBackTheMemoryOfARecall(t *testing.T) {
	t.Parallel()
	m, _ := keptMirror(t)
	if err := os.Remove(filepath.Join(m.dir, zonefile.ManifestName)); err != nil {
		t.Fatal(err)
	}
	m.restart()
	m.Begin(made)
	if !m.HoldsMemory() || m.Snapshot() == nil {
		t.Errorf("nothing is to be given back: %+v", m.State())
	}
	m.Turn(made)
	if m.HoldsMemory() {
		t.Error("it is not given back")
	}
}
