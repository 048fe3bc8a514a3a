package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"backscatter/ops/control"
)

// TestDaemonsAtOnce starts several daemons at once on a state that none has made
// yet: one has it, and each of the others says so and ends.
func TestDaemonsAtOnce(t *testing.T) {
	t.Parallel()
	const daemons = 5
	s := newSite(t, quick)
	said := make([]logBuffer, daemons)
	all := make([]*process, daemons)
	for n := range all {
		cmd := exec.Command(s.program, "serve", "--config", s.config)
		cmd.Stderr = &said[n]
		all[n] = launch(t, cmd)
	}
	ended := func() (n int) {
		for _, p := range all {
			select {
			case <-p.ended:
				n++
			default:
			}
		}
		return n
	}
	client := control.Dial(filepath.Join(s.state, control.SocketName))
	t.Cleanup(client.Close)
	eventually(t, "one has the state", func(ctx context.Context) error {
		if n := ended(); n != daemons-1 {
			return fmt.Errorf("%d have ended", n)
		}
		status, err := client.Status(ctx)
		if err == nil && !status.Ready {
			err = fmt.Errorf("it is not ready: %q", status.NotReady)
		}
		return err
	})
	for n, p := range all {
		select {
		case <-p.ended:
			r := result{stderr: said[n].String(), code: p.ProcessState.ExitCode()}
			if line := complaint(t, r, 1); !strings.Contains(line, "in use by another process") {
				t.Errorf("complaint: %s", line)
			}
		default:
		}
	}
}

// frozen is what must not change of a file.
type frozen struct {
	path string
	data []byte
	info os.FileInfo
}

func freeze(t *testing.T, path string) frozen {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return frozen{path, data, info}
}

// wantUntouched wants the file as it was, to the moment of its last change.
func (f frozen) wantUntouched(t *testing.T) {
	t.Helper()
	now := freeze(t, f.path)
	if !bytes.Equal(now.data, f.data) || !now.info.ModTime().Equal(f.info.ModTime()) || !os.SameFile(now.info, f.info) {
		t.Errorf("%s was changed", f.path)
	}
}

// TestBadStores starts the daemon on files that are no store, or not a whole one:
// it says what is wrong on one line, and leaves the file as it is.
func TestBadStores(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick)
	d := s.start()
	d.mustDeliver(t, bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66"))
	d.stop()
	path := filepath.Join(s.state, "backscatter.db")
	good := freeze(t, path)
	page := os.Getpagesize()
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"empty":         {nil, "the file is empty"},
		"foreign":       {[]byte("127.0.0.2 is listed\n"), "not even a bbolt database"},
		"cut off":       {good.data[:3*page], "cut off"},
		"no meta pages": {append(make([]byte, 2*page), good.data[2*page:]...), "not even a bbolt database"},
		"pages spoilt":  {append(bytes.Clone(good.data[:2*page]), make([]byte, len(good.data)-2*page)...), "page "},
	} {
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		bad := freeze(t, path)
		if line := complaint(t, s.run("serve"), 1); !strings.Contains(line, c.want) || !strings.Contains(line, path) {
			t.Errorf("%s: %s", name, line)
		}
		bad.wantUntouched(t)
	}
	if err := os.WriteFile(path, good.data, 0o600); err != nil {
		t.Fatal(err)
	}
	d = s.start()
	if got := newAsker(t, "udp", d.dns).data(t, "66.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
		t.Errorf("192.0.2.66 is answered with %s", got)
	}
	d.stop()
}

// TestStoreSpoiltUnderDaemon cuts the store off under a daemon that runs, and fills
// it with nothing: DNS answers on, what would write is refused, and the next start
// says what is wrong.
func TestStoreSpoiltUnderDaemon(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(f *os.File, size int64) error{
		"cut off": func(f *os.File, _ int64) error { return f.Truncate(int64(2 * os.Getpagesize())) },
		"overwritten": func(f *os.File, size int64) error {
			_, err := f.WriteAt(make([]byte, size-int64(2*os.Getpagesize())), int64(2*os.Getpagesize()))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, quick)
			s.damaged = true
			d := s.start()
			d.mustDeliver(t, bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66"))
			path := filepath.Join(s.state, "backscatter.db")
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if err := spoil(f, info.Size()); err != nil {
				t.Fatal(err)
			}
			asker := newAsker(t, "udp", d.dns)
			for range 5 {
				if err := d.deliver(within(t), bounceFrom("192.0.2.67")); replyCode(err) != 451 {
					t.Errorf("a report: %v, want it refused for now", err)
				}
				if got := asker.data(t, "66.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
					t.Errorf("192.0.2.66 is answered with %s", got)
				}
			}
			d.kill()
			if strings.Contains(s.log.String(), "\npanic: ") {
				t.Error("the daemon panicked")
			}
			bad := freeze(t, path)
			complaint(t, s.run("serve"), 1)
			bad.wantUntouched(t)
		})
	}
}

// TestReadOnlyState starts the daemon where the file system of its state is
// read-only: it says so, touches nothing, and works once it may write.
func TestReadOnlyState(t *testing.T) {
	t.Parallel()
	peer(t, "ip", "iproute2") // for addresses
	if !isolated(t) {
		return
	}
	addresses(t)
	s := newSite(t, quick)
	if err := os.Mkdir(s.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", s.state, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatalf("mount a file system: %v", err)
	}
	remount := func(flags uintptr) error { return syscall.Mount("", s.state, "", syscall.MS_REMOUNT|flags, "") }
	d := s.start()
	d.mustDeliver(t, bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66"))
	d.stop()
	if err := remount(syscall.MS_RDONLY); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.state, "backscatter.db")
	whole := freeze(t, path)
	if line := complaint(t, s.run("serve"), 1); !strings.Contains(line, s.state) || !strings.Contains(line, "read-only file system") {
		t.Errorf("complaint: %s", line)
	}
	whole.wantUntouched(t)
	if err := remount(0); err != nil {
		t.Fatal(err)
	}
	d = s.start()
	if got := newAsker(t, "udp", d.dns).data(t, "66.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
		t.Errorf("192.0.2.66 is answered with %s", got)
	}
	d.mustDeliver(t, bounceFrom("192.0.2.68"))
	d.stop()
}
