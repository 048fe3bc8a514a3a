package zonefile_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
)

// runOnce has a follower take its turns until what is in force is kept.
func (m *mirror) runOnce(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		kept, err := zonefile.ReadManifest(filepath.Join(m.options.Memory, "last-good"))
		if err == nil && kept.Serial == m.State().Serial {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is not kept: ", err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Whatever becomes of its folder, a mirror that starts again answers as it did before.
func TestFollowerKeepsTheLastGood(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, spoil := range map[string]func(t *testing.T, m *mirror, old map[string]string){
		"half of a new one": func(t *testing.T, m *mirror, _ map[string]string) {
			t.Helper()
			m.publish(t, now, listing.Next{Time: now, Added: []listing.Entry{entry("203.0.113.250", listing.Summary{}, listing.ClassManual)}})
			m.fetch(t, "bl.example.ip4set")
		},
		"an old one": func(t *testing.T, m *mirror, old map[string]string) {
			t.Helper()
			for name, text := range old {
				m.put(t, name, text)
			}
		},
		"nothing": func(t *testing.T, m *mirror, _ map[string]string) {
			t.Helper()
			if err := os.RemoveAll(m.dir); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMirror(t)
			m.publish(t, now, listing.Next{Time: now})
			m.fetch(t)
			old := m.publisher.files(t)
			m.Begin(now)
			m.runOnce(t)
			want := m.publish(t, now, listing.Next{Time: now, Removed: sampleHosts()})
			m.fetch(t)
			m.runOnce(t)
			spoil(t, m, old)
			for range 2 { // and it is still kept
				m.restart()
				m.Begin(now.Add(72 * time.Hour))
				if diff := cmp.Diff(want, m.answers()); diff != "" {
					t.Errorf("not as before:\n%s", diff)
				}
				if s := m.State(); s.Err == nil || s.Serial != sequence+2 || s.Expires.IsZero() || !s.Checked.IsZero() {
					t.Errorf("%+v", s)
				}
			}
			// What is kept must be signed, and is as good as any other.
			_, stranger := newKey(t)
			ours := m.options.Key
			m.options.Key = &stranger
			m.restart()
			m.Begin(now)
			if m.Snapshot() != nil || !strings.Contains(m.State().Err.Error(), "signature") {
				t.Errorf("%+v", m.State())
			}
			m.options.Key = ours
			m.restart()
			if err := os.Truncate(filepath.Join(m.options.Memory, "last-good", "bl.example.ip4set"), 100); err != nil {
				t.Fatal(err)
			}
			m.Begin(now)
			if m.Snapshot() != nil || !strings.Contains(m.State().Err.Error(), "has not the") {
				t.Errorf("%+v", m.State())
			}
		})
	}
}

// A mirror whose disk is full says so in the same words each time, keeps what it has,
// and goes on when there is room.
func TestFollowerOnFullDisk(t *testing.T) {
	t.Parallel()
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skip(err)
	}
	m := newMirror(t)
	must(m.publisher.Publish(made))(t)
	m.fetch(t)
	must(m.Check(made))(t)
	former := m.answers()
	want := m.publish(t, made, listing.Next{Time: made, Removed: sampleHosts()})
	m.fetch(t)
	said := map[string]bool{}
	for range 2 {
		if err := os.Symlink(full, filepath.Join(m.options.Memory, ".mirror.bl.example.new")); err != nil {
			t.Fatal(err)
		}
		_, err := m.Check(made)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		said[err.Error()] = true
		if diff := cmp.Diff(former, m.answers()); diff != "" {
			t.Error(diff)
		}
	}
	if len(said) != 1 {
		t.Errorf("it says %v", said)
	}
	must(m.Check(made))(t)
	if diff := cmp.Diff(want, m.answers()); diff != "" {
		t.Error(diff)
	}
}

// What cannot be kept whole leaves nothing behind, and what was kept.
func TestFollowerCannotKeep(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var log safeLog
	m := newMirror(t)
	m.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
	m.restart()
	m.publish(t, now, listing.Next{Time: now})
	m.fetch(t)
	m.Begin(now)
	m.runOnce(t)
	m.publish(t, now, listing.Next{Time: now, Removed: sampleHosts()})
	m.fetch(t)
	must(m.Check(now))(t)
	if err := os.Remove(filepath.Join(m.dir, "bl.example.ip6trie")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(log.String(), "keep serial"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is said")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var names []string
	for _, f := range must(os.ReadDir(m.options.Memory))(t) {
		names = append(names, f.Name())
	}
	if diff := cmp.Diff([]string{"last-good", "mirror.bl.example"}, names); diff != "" {
		t.Error(diff)
	}
	if kept := must(zonefile.ReadManifest(filepath.Join(m.options.Memory, "last-good")))(t); kept.Serial != sequence+1 {
		t.Errorf("serial %d is kept", kept.Serial)
	}
}

// safeLog is a log that is read while it is written.
type safeLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
