package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// letter is the beginning of a message that looks like any other, with a
// trusted line and a trap in it, so that all of it is read and judged.
const letter = `Received: from mail.sender.example (mail.sender.example [198.51.100.200])
	by mx.trap.example (Postfix) with ESMTP id 1; Sun, 22 Nov 2026 10:00:00 +0000
From: somebody@sender.example
To: someone@trap.example
`

// hostile are messages made to be expensive or confusing, none of which is
// backscatter. Each writes itself, so that the largest needs no memory here.
var hostile = map[string]func(w io.Writer){
	"empty":       func(io.Writer) {},
	"one byte":    repeat("", "x", 1),
	"nul bytes":   repeat("", "\x00", 1<<20),
	"nul header":  repeat(letter+"Subject: a\x00b\x00\r\n\x00: \x00\n\n", "\x00text\x00\n", 10_000),
	"no header":   repeat("", "some text that has no header at all, and goes on\n", 10_000),
	"no colon":    repeat(letter, "field without a colon\n", 10_000),
	"empty lines": repeat("", "\n", 1<<20),
	"returns":     repeat(letter+"\n", "\r", 1<<20),
	"50 MB":       repeat(letter+"Subject: large\n\n", strings.Repeat("0123456789abcde", 5)+"text\n", 50<<20/80),
	"50 MB line":  repeat(letter+"Subject: ", strings.Repeat("x", 1<<10), 50<<10),
	"many fields": repeat(letter, "X-Field: value\n", 200_000),
	"many traces": repeat("", "Received: from a ([198.51.100.200]) by b; Sun, 22 Nov 2026 10:00:00 +0000\n", 50_000),
	"folding":     repeat(letter+"Subject: a\n", " \n", 500_000),
	"comments":    repeat(letter+"Content-Type: text/plain ", "(", 1<<20),
	"quotes":      repeat(letter+`Content-Type: multipart/mixed; boundary="`, `\"`, 1<<19),
	"parameters":  repeat(letter+"Content-Type: multipart/mixed", ";\n boundary*0*=utf-8''a", 40_000),
	"words":       repeat(letter+"Subject: ", "=?utf-8?q?=?=\n ", 60_000),
	"charset":     repeat(letter+"Content-Type: text/plain; charset=\"x-no-such\"\nSubject: =?x-no-such?b?/////w==?=\n\n", "\xff\xfe\x80", 100_000),
	"utf-16":      repeat(letter+"Content-Type: text/plain; charset=utf-16\n\n", "\x00a\xd8\x00", 200_000),
	"base64":      repeat(letter+"Content-Transfer-Encoding: base64\n\n", "====!!!!AAA", 90_000),
	"quoted":      repeat(letter+"Content-Transfer-Encoding: quoted-printable\n\n", "=XX=\n", 200_000),
	"nested":      nested(10_000, false),
	"closed":      nested(10_000, true),
	"messages":    repeat(letter, "Content-Type: message/rfc822\n\n", 10_000),
	"parts":       repeat(letter+"Content-Type: multipart/mixed; boundary=b\n\n", "--b\n\nx\n", 100_000),
	"cut":         repeat(letter+"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: mess", "", 0),
	"no boundary": repeat(letter+"Content-Type: multipart/mixed\n\n", "--\n--\n", 100_000),
	"boundary":    repeat(letter+"Content-Type: multipart/mixed; boundary="+strings.Repeat("b", 60_000)+"\n\n", "--"+strings.Repeat("b", 59_999)+"\n", 15),
	"noise":       noise,
}

// repeat writes a beginning and then a text many times.
func repeat(begin, text string, times int) func(io.Writer) {
	return func(w io.Writer) {
		_, _ = io.WriteString(w, begin) // the writers here cannot fail, or tell it at their end
		for range times {
			_, _ = io.WriteString(w, text)
		}
	}
}

// nested writes multiparts within multiparts.
func nested(depth int, closed bool) func(io.Writer) {
	return func(w io.Writer) {
		_, _ = io.WriteString(w, letter)
		for n := range depth {
			fmt.Fprintf(w, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%[1]d\n", n)
		}
		fmt.Fprint(w, "\ntext\n")
		for n := range depth {
			if closed {
				fmt.Fprintf(w, "--b%d--\n", depth-1-n)
			}
		}
	}
}

func noise(w io.Writer) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1 << 20 {
		_, _ = w.Write([]byte{byte(rng.Uint32())})
	}
}

// writeMail writes a message into a file.
func writeMail(t *testing.T, path string, write func(io.Writer)) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	write(w)
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// memory reads a figure in KiB from /proc/PID/status, as bytes. It is 0 when
// the process has ended.
func memory(pid int, field string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// peak watches a process to its end and returns the most memory that it had.
func peak(p *process) (most int64) {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for {
		most = max(most, memory(p.Process.Pid, "VmHWM"))
		select {
		case <-p.ended:
			return most
		case <-ticker.C:
		}
	}
}

// allowance is how much more memory hostile mail may make a process take.
const allowance = 64 << 20

// finding is a line that `report --json` prints.
type finding struct {
	Path    string
	Index   int
	Class   string
	Verdict string
	Reason  string
}

// TestHostileReports hands in what is made to harm, by the command and by
// SMTP: each gets a verdict, the mail around it counts, and the memory of the
// daemon and of the command stays within bounds.
func TestHostileReports(t *testing.T) {
	t.Parallel()
	program, err := programs.undisturbed()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, quick)
	s.program = program // memory is measured
	d := s.start()
	before, after := bounceFrom("192.0.2.1"), bounceFrom("192.0.2.2")
	d.mustDeliver(t, before)
	idle := memory(d.Process.Pid, "VmRSS")
	good, mailbox := hostileMailbox(t, s.dir)

	for _, dry := range []string{"--dry-run=true", "--dry-run=false"} {
		wantVerdicts(t, s, good, mailbox, dry)
	}
	hostileSMTP(t, d)
	d.mustDeliver(t, after)
	wantStored(t, d, append(good, before, after))
	most := memory(d.Process.Pid, "VmHWM")
	t.Logf("daemon: %d MiB when idle, at most %d MiB", idle>>20, most>>20)
	if idle == 0 || most-idle > allowance {
		t.Errorf("the daemon took %d MiB more than when idle", (most-idle)>>20)
	}
	if got := newAsker(t, "udp", d.dns).data(t, "2.0.0.127.bl.example", dns.TypeA); got != code["bounce"] {
		t.Errorf("127.0.0.2 is answered with %s", got)
	}
	d.stop()
}

// hostileMailbox writes a folder of mail, hostile and not, and an mbox of the
// same kind. It returns the good messages in it.
func hostileMailbox(t *testing.T, dir string) (good []message, mailbox string) {
	t.Helper()
	mailbox = filepath.Join(dir, "mail")
	if err := os.Mkdir(mailbox, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(n int, name string) message {
		m := bounceFrom(fmt.Sprintf("192.0.2.%d", 10+n))
		writeMail(t, filepath.Join(mailbox, name), repeat(m.text(), "", 0))
		return m
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range hostile {
			if !yield(name) {
				return
			}
		}
	})
	writeMail(t, filepath.Join(mailbox, "mbox"), func(w io.Writer) {
		for n, name := range names {
			m := bounceFrom(fmt.Sprintf("192.0.2.%d", 100+n))
			good = append(good, m)
			fmt.Fprintf(w, "From MAILER-DAEMON Sun Nov 22 10:00:00 2026\n%s\nFrom somebody Sun Nov 22 10:00:00 2026\n", m.text())
			hostile[name](w)
			fmt.Fprint(w, "\n\n")
		}
	})
	for n, name := range names {
		file := strings.ReplaceAll(name, " ", "-")
		good = append(good, write(n, file+".1.eml"))
		writeMail(t, filepath.Join(mailbox, file+".2.eml"), hostile[name])
	}
	return good, mailbox
}

// wantVerdicts hands the mailbox in and wants the good messages proven, and all
// others in error or other.
func wantVerdicts(t *testing.T, s *site, good []message, mailbox, dry string) {
	t.Helper()
	cmd := exec.Command(s.program, "report", "--json", dry, "--config", s.config, mailbox)
	var out, complaints logBuffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	p := launch(t, cmd)
	most := peak(p)
	if code := p.wait(t); code != 0 || complaints.String() != "" {
		t.Fatalf("report: exit code %d\n%s", code, complaints.String())
	}
	proven, others := 0, 0
	for line := range strings.Lines(out.String()) {
		var f finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("report prints %q: %v", line, err)
		}
		switch {
		case f.Verdict == "proven":
			proven++
		case f.Class == "other" && f.Reason != "" && !strings.Contains(f.Reason, "internal"):
			others++
		default:
			t.Errorf("%s, message %d: class %s, verdict %s (%s)", f.Path, f.Index, f.Class, f.Verdict, f.Reason)
		}
	}
	// In the mbox the empty one is no message at all.
	if want := 2*len(hostile) - 1; proven != len(good) || others != want {
		t.Errorf("%d messages proven, want %d; %d others, want %d", proven, len(good), others, want)
	}
	t.Logf("report %s: %d proven, %d others, at most %d MiB", dry, proven, others, most>>20)
	plain := peak(launch(t, exec.Command(s.program, "report", dry, "--config", s.config, filepath.Join(mailbox, "empty.1.eml"))))
	if most-plain > allowance {
		t.Errorf("report took %d MiB more than for an ordinary message", (most-plain)>>20)
	}
}

// hostileSMTP sends hostile mail in as many sessions as one client may have.
// Whatever the trap says to each, it says it.
func hostileSMTP(t *testing.T, d *daemon) {
	t.Helper()
	queue := make(chan string, 3*len(hostile))
	for range 3 {
		for name := range hostile {
			queue <- name
		}
	}
	close(queue)
	var senders sync.WaitGroup
	for range 16 {
		senders.Go(func() {
			for name := range queue {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				err := d.deliverHostile(ctx, hostile[name])
				if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: no answer within %s: %v", name, patience, err)
				}
				cancel()
			}
		})
	}
	senders.Wait()
}

// deliverHostile sends one message, its line ends made right on the way, and
// nothing else of it.
func (d *daemon) deliverHostile(ctx context.Context, write func(io.Writer)) error {
	c, err := dialSMTP(ctx, d.smtp)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := errors.Join(c.Mail(""), c.Rcpt("someone@trap.example")); err != nil {
		return err
	}
	id, err := c.Text.Cmd("DATA")
	if err != nil {
		return err
	}
	c.Text.StartResponse(id)
	defer c.Text.EndResponse(id)
	if _, _, err := c.Text.ReadResponse(354); err != nil {
		return err
	}
	w := bufio.NewWriterSize(crlf{c.Text.W}, 64<<10)
	write(w)
	if _, err := io.WriteString(w, "\n.\n"); err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), c.Text.W.Flush()); err != nil {
		return err
	}
	_, _, err = c.Text.ReadResponse(250)
	return err
}

// crlf ends lines as SMTP wants them.
type crlf struct{ w io.Writer }

func (c crlf) Write(p []byte) (int, error) {
	if _, err := c.w.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}
