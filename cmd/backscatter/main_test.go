package main

import (
	"context"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"backscatter/ops/control"
)

// The scripts run the real main, as a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"backscatter": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Cmds:                scriptCommands(),
		Setup:               setup,
		RequireExplicitExec: true,
	})
}

// setup keeps a script away from whatever the machine has configured.
func setup(env *testscript.Env) error {
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "xdg-config"))
	env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "xdg-state"))
	env.Setenv("BACKSCATTER_CONFIG", "")
	// The race detector's second of sleep at the end of each process adds up.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	return nil
}

func scriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"ready":   scriptReady,
		"ask":     scriptAsk,
		"deliver": scriptDeliver,
		"exits":   scriptExits,
		"stamp":   scriptStamp,
		"pause":   scriptPause,
	}
}

// deadline bounds every wait of a script.
const deadline = 30 * time.Second

// ready SOCKET waits until the daemon at the socket is ready, and sets DNS,
// SMTP and HTTP to the addresses that it listens on.
func scriptReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready SOCKET")
	}
	client := control.Dial(ts.MkAbs(args[0]))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		status, err := client.Status(ctx)
		if err == nil && status.Ready {
			for _, l := range status.Listen {
				ts.Setenv(strings.ToUpper(l.Service), l.Address)
			}
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("not ready: %v %v", status.NotReady, err)
		case <-ticker.C:
		}
	}
}

// stamp FILE puts the time of now where @NOW@ stands: old mail is stale.
func scriptStamp(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stamp FILE")
	}
	text := strings.ReplaceAll(ts.ReadFile(args[0]), "@NOW@", time.Now().UTC().Format(time.RFC1123Z))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// pause DURATION NAME lets time pass and sets the variable to a moment in its
// midst: what is stored knows whole seconds.
func scriptPause(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pause DURATION NAME")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	<-time.After(d / 2)
	ts.Setenv(args[1], time.Now().UTC().Format(time.RFC3339))
	<-time.After(d / 2)
}

// ask SERVER NAME TYPE [tcp] prints the rcode, then the answer's records.
func scriptAsk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: ask SERVER NAME TYPE [tcp]")
	}
	c := dns.Client{Timeout: 5 * time.Second}
	if len(args) == 4 {
		c.Net = args[3]
	}
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(args[1]), dns.StringToType[args[2]])
	r, _, err := c.Exchange(q, args[0])
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), dns.RcodeToString[r.Rcode])
	for _, rr := range r.Answer {
		fmt.Fprintln(ts.Stdout(), rr)
	}
}

// deliver SERVER RCPT FILE sends a message with a null sender; with ! the
// server must refuse it.
func scriptDeliver(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: deliver SERVER RCPT FILE")
	}
	err := deliver(args[0], args[1], ts.ReadFile(args[2]))
	if neg {
		if err == nil {
			ts.Fatalf("accepted")
		}
		fmt.Fprintln(ts.Stdout(), err)
		return
	}
	ts.Check(err)
}

func deliver(server, rcpt, message string) error {
	conn, err := net.DialTimeout("tcp", server, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "test")
	if err != nil {
		return err
	}
	if err := c.Mail(""); err != nil {
		return err
	}
	if err := c.Rcpt(rcpt); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(strings.ReplaceAll(message, "\n", "\r\n"))); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// exits CODE COMMAND... runs the program and wants the exit code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit interface{ ExitCode() int }
	if err != nil {
		if e, ok := err.(interface{ ExitCode() int }); ok {
			exit = e
			code = exit.ExitCode()
		} else {
			ts.Fatalf("run %s: %v", args[1], err)
		}
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
