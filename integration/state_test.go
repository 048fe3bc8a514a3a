package integration_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// TestStoreSpoiltUnderDaemon cuts the store off under a daemon that runs, flips bits
// of it, and fills it with nothing: DNS answers on, what would write is refused, and the next start
// says what is wrong.
func TestStoreSpoiltUnderDaemon(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(f *os.File, size int64) error{
		"cut off": func(f *os.File, _ int64) error { return f.Truncate(int64(2 * os.Getpagesize())) },
		"emptied": func(f *os.File, _ int64) error { return f.Truncate(0) },
		"meta pages overwritten": func(f *os.File, _ int64) error {
			_, err := f.WriteAt(make([]byte, 2*os.Getpagesize()), 0)
			return err
		},
		"a bit of every page flipped": func(f *os.File, size int64) error {
			data := make([]byte, size)
			if _, err := f.ReadAt(data, 0); err != nil {
				return err
			}
			for page := int64(0); page < size; page += int64(os.Getpagesize()) {
				data[page+8] ^= 0x40 // of what kind it is
			}
			_, err := f.WriteAt(data, 0)
			return err
		},
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

// stateDisk is a small file system of its own for the state of a site.
type stateDisk struct {
	site *site
}

// newStateDisk makes a site whose state is on one of a size, such as 16m, in a
// network of addresses that list. The test must be isolated.
func newStateDisk(t *testing.T, size string) (*site, *stateDisk) {
	t.Helper()
	addresses(t)
	s := newSite(t, quick)
	if err := os.Mkdir(s.state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", s.state, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a file system of %s: %v", size, err)
	}
	return s, &stateDisk{s}
}

// readOnly says whether anything may be written to it.
func (d *stateDisk) readOnly(t *testing.T, only bool) {
	t.Helper()
	flags := uintptr(syscall.MS_REMOUNT)
	if only {
		flags |= syscall.MS_RDONLY
	}
	if err := syscall.Mount("", d.site.state, "", flags, ""); err != nil {
		t.Fatalf("read-only %t: %v", only, err)
	}
}

// fill leaves no room for another byte.
func (d *stateDisk) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(filepath.Join(d.site.state, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		n, err := f.Write(block)
		if errors.Is(err, syscall.ENOSPC) {
			return
		}
		if err != nil || n < len(block) {
			t.Fatalf("fill the disk: %v", err)
		}
	}
}

// free gives the room back.
func (d *stateDisk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.site.state, "filler")); err != nil {
		t.Fatal(err)
	}
}

// files are the names in the state folder.
func (d *stateDisk) files(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(d.site.state)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestReadOnlyState starts the daemon where the file system of its state is
// read-only: it says so, touches nothing, and works once it may write.
func TestReadOnlyState(t *testing.T) {
	t.Parallel()
	peer(t, "ip", "iproute2") // for addresses
	if !isolated(t) {
		return
	}
	s, disk := newStateDisk(t, "16m")
	d := s.start()
	d.mustDeliver(t, bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66"))
	d.stop()
	disk.readOnly(t, true)
	path := filepath.Join(s.state, "backscatter.db")
	whole := freeze(t, path)
	if line := complaint(t, s.run("serve"), 1); !strings.Contains(line, s.state) || !strings.Contains(line, "read-only file system") {
		t.Errorf("complaint: %s", line)
	}
	whole.wantUntouched(t)
	disk.readOnly(t, false)
	d = s.start()
	if got := newAsker(t, "udp", d.dns).data(t, "66.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
		t.Errorf("192.0.2.66 is answered with %s", got)
	}
	d.mustDeliver(t, bounceFrom("192.0.2.68"))
	d.stop()
}

// TestCareOnFullDisk takes care of a store where there is no room for it: nothing
// is done by half, and with room again all of it is done.
func TestCareOnFullDisk(t *testing.T) {
	t.Parallel()
	peer(t, "ip", "iproute2") // for addresses
	if !isolated(t) {
		return
	}
	s, disk := newStateDisk(t, "8m")
	d := s.start()
	d.mustDeliver(t, bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66"))
	good := filepath.Join(s.dir, "good.backup") // on another disk
	s.must("backup", "--output", good)
	s.must("list", "203.0.113.9", "--reason", "after the backup", "--for", "1h")
	path := filepath.Join(s.state, "backscatter.db")
	inState := filepath.Join(s.state, "full.backup")
	care := map[string][]string{
		"backup":  {"backup", "--output", inState},
		"compact": {"compact", "--reason", "no room"},
	}
	disk.fill(t)
	full := disk.files(t)
	wantRefused := func(name string, command []string) {
		t.Helper()
		if line := complaint(t, s.run(command...), 1); !strings.Contains(line, "no space left") && !strings.Contains(line, "make room") {
			t.Errorf("%s: %s", name, line)
		}
		if got := disk.files(t); !slices.Equal(got, full) {
			t.Errorf("%s left %q, there was %q", name, got, full)
		}
	}
	asker := newAsker(t, "udp", d.dns)
	for name, command := range care {
		wantRefused(name, command)
		if got := asker.data(t, "66.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
			t.Errorf("%s: 192.0.2.66 is answered with %s", name, got)
		}
		s.must("verify")
	}
	d.stop()

	full = disk.files(t) // without the socket
	whole := freeze(t, path)
	wantRefused("restore", []string{"restore", good, "--reason", "no room", "--yes"})
	wantRefused("compact without a daemon", care["compact"])
	whole.wantUntouched(t)
	s.must("verify", path)
	disk.free(t)
	s.must("restore", good, "--reason", "there is room", "--yes")
	d = s.start()
	asker = newAsker(t, "udp", d.dns)
	if got := asker.data(t, "66.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
		t.Errorf("restored: 192.0.2.66 is answered with %s", got)
	}
	if got := asker.data(t, "9.113.0.203.bl.example", dns.TypeA); got != "NXDOMAIN" {
		t.Errorf("restored: 203.0.113.9 is answered with %s", got)
	}
	for _, command := range care {
		s.must(command...)
	}
	s.must("verify", inState)
	s.must("verify")
	d.mustDeliver(t, bounceFrom("192.0.2.68"))
	d.stop()
}

// TestNewestMetaPageDamaged starts the daemon on a store whose last commit is out
// of reach since one bit flipped: it says so and what to do, and that does it.
func TestNewestMetaPageDamaged(t *testing.T) {
	t.Parallel()
	s := newSite(t, quick)
	d := s.start()
	d.mustDeliver(t, bounceFrom("192.0.2.66"), bounceFrom("192.0.2.66"))
	d.stop()
	path := filepath.Join(s.state, "backscatter.db")
	good := freeze(t, path)
	refused := 0
	for page := range 2 {
		data := bytes.Clone(good.data)
		data[page*os.Getpagesize()+16+60] ^= 4 // in its checksum
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if s.run("verify", path).code == 0 {
			continue // that is the older one, which the next commit writes over
		}
		refused++
		bad := freeze(t, path)
		if line := complaint(t, s.run("serve"), 1); !strings.Contains(line, "what was written last is lost") || !strings.Contains(line, "verify --repair") {
			t.Errorf("complaint: %s", line)
		}
		bad.wantUntouched(t)
		s.must("verify", "--repair", "--reason", "the disk lies")
		d := s.start()
		if got := newAsker(t, "udp", d.dns).data(t, "66.2.0.192.bl.example", dns.TypeA); got != code["bounce"] {
			t.Errorf("mended: 192.0.2.66 is answered with %s", got)
		}
		d.stop()
	}
	if refused != 1 {
		t.Errorf("%d of the two pages were missed, want that of the last commit", refused)
	}
}
