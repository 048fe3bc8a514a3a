package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"backscatter/listing"
	"backscatter/ops/daemon"
)

// pseudoterminal returns the end that a program writes to, and what reads all that
// it wrote until then and closes both.
func pseudoterminal(t *testing.T) (tty *os.File, read func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("there are no pseudoterminals here:", err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&got, master) // it ends with EIO, when the other end is closed
	}()
	return tty, func() string {
		tty.Close()
		<-done
		master.Close()
		return got.String()
	}
}

// Whoever looks at a terminal sees how far long work is; a file and a pipe get not
// a byte of it.
func TestProgressOnTerminalsOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "backscatter.yaml")
	text := "state: " + dir + "/state\npolicy: {profile: solo, listable: [192.0.2.0/24]}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o750); err != nil {
		t.Fatal(err)
	}
	store, err := listing.Open(filepath.Join(state, daemon.StoreName), listing.Options{Settings: listing.Settings{Policy: listing.Solo()}})
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	command := func(errs io.Writer, out io.Writer, args ...string) {
		t.Helper()
		if code := run(context.Background(), append(args, "--config", config), streams{in: strings.NewReader(""), out: out, err: errs}); code != exitDone {
			t.Fatalf("%s: code %d", args, code)
		}
	}
	command(io.Discard, io.Discard, "list", "192.0.2.66", "--reason", "to have one", "--permanent")
	tried := filepath.Join(dir, "tried.yaml")
	if err := os.WriteFile(tried, []byte("policy: {profile: solo}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	message := filepath.Join(dir, "message.eml")
	if err := os.WriteFile(message, []byte("From: a@b.example\nSubject: hello\n\nHello.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for bar, args := range map[string][]string{
		"backup":       {"backup", "--output", filepath.Join(dir, "store.backup")},
		"compact":      {"compact", "--reason", "to see the bar"},
		"observations": {"policy", "try", tried},
		"messages":     {"report", "--dry-run", "--mail-from", "", "--rcpt", "a@b.example", message},
	} {
		name := args[0]
		tty, read := pseudoterminal(t)
		command(tty, tty, args...)
		if drawn := read(); !strings.Contains(drawn, "\r| "+bar) || strings.Contains(drawn, "] /") {
			t.Errorf("%s draws no bar on a terminal: %q", name, drawn)
		}
		for which, redirected := range map[string]func(tty io.Writer) (out, errs io.Writer, other *bytes.Buffer){
			"standard output": func(tty io.Writer) (io.Writer, io.Writer, *bytes.Buffer) { b := &bytes.Buffer{}; return b, tty, b },
			"standard error":  func(tty io.Writer) (io.Writer, io.Writer, *bytes.Buffer) { b := &bytes.Buffer{}; return tty, b, b },
		} {
			tty, read := pseudoterminal(t)
			out, errs, other := redirected(tty)
			command(errs, out, args...)
			if drawn := read() + other.String(); strings.Contains(strings.ReplaceAll(drawn, "\r\n", ""), "\r") || strings.Contains(drawn, "%") {
				t.Errorf("%s with %s redirected draws %q", name, which, drawn)
			}
		}
	}
	// A backup to standard output is one, whatever is drawn beside it.
	tty, read := pseudoterminal(t)
	var out bytes.Buffer
	command(tty, &out, "backup", "--output", "-")
	if drawn := read(); !strings.Contains(drawn, "backup") {
		t.Errorf("backup to standard output draws no bar: %q", drawn)
	}
	copied := filepath.Join(dir, "piped.backup")
	if err := os.WriteFile(copied, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := listing.Check(copied); err != nil || len(v.Damage) > 0 {
		t.Errorf("what came out is no backup: %+v %v", v, err)
	}
}
