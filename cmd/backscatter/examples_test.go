package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

// commands returns every command that can be run.
func commands(t *testing.T) []*cobra.Command {
	t.Helper()
	var out []*cobra.Command
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.HasParent() && c.Runnable() {
			out = append(out, c)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk((&app{}).rootCommand())
	if len(out) < 15 {
		t.Fatalf("found only %d commands", len(out))
	}
	return out
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, c := range commands(t) {
		var out, errs bytes.Buffer
		args := append(strings.Fields(c.CommandPath())[1:], "--help")
		code := run(context.Background(), args, streams{in: strings.NewReader(""), out: &out, err: &errs})
		for _, want := range []string{"Usage:\n  backscatter", "Examples:\n  ", "--config FILE", "--socket PATH"} {
			if code != exitDone || errs.Len() > 0 || !strings.Contains(out.String(), want) {
				t.Errorf("%s: code %d, %s, wants %q:\n%s", args, code, errs.String(), want, out.String())
			}
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short text %q", args, c.Short)
		}
	}
}

// Every example of --help does what it shows, against a daemon that has what
// the examples are about.
func TestExamples(t *testing.T) {
	t.Parallel()
	var script, files strings.Builder
	script.WriteString("env BACKSCATTER_CONFIG=$WORK/daemon.yaml\nexec backscatter serve &daemon&\nready state/control.sock\n")
	n := 0
	for _, c := range commands(t) {
		for example := range strings.SplitSeq(strings.TrimRight(c.Example, "\n"), "\n") {
			example = strings.TrimSpace(example)
			if !strings.Contains(example, strings.TrimSpace(c.CommandPath())) {
				t.Errorf("%s: the example %q is of something else", c.CommandPath(), example)
			}
			n++
			name := fmt.Sprintf("example%d.sh", n)
			fmt.Fprintf(&files, "-- %s --\n", name)
			if c.Name() == "serve" {
				fmt.Fprintf(&files, serveExample, strings.ReplaceAll(example, "/etc/backscatter/backscatter.yaml", "other.yaml"))
			} else {
				script.WriteString("exec backscatter list 192.0.2.66 192.0.2.67 --reason 'to have it' --for 1h\n")
				fmt.Fprintln(&files, example)
			}
			if before := examplesNeed[c.CommandPath()]; before != "" {
				fmt.Fprintf(&script, "exec %s\n", before)
			}
			fmt.Fprintf(&script, "exits 0 sh -eu %s\n", name)
		}
	}
	script.WriteString("kill -INT daemon\nwait daemon\n")
	dir := t.TempDir()
	archive := script.String() + files.String() + exampleFiles
	if err := os.WriteFile(filepath.Join(dir, "examples.txtar"), []byte(archive), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: dir, Setup: setup, Cmds: scriptCommands(), RequireExplicitExec: true})
}

// examplesNeed is what has to be done before the examples of a command.
var examplesNeed = map[string]string{
	"backscatter revoke":              "backscatter report --client-ip 192.0.2.66 --mail-from '' --rcpt left-in-2009@example.org trapped.eml",
	"backscatter restore":             "backscatter backup --output store.backup",
	"backscatter verify":              "backscatter backup --output store.backup",
	"backscatter verify pages":        "backscatter backup --output store.backup",
	"backscatter compact":             "backscatter backup --output store.backup",
	"backscatter reporter key remove": "backscatter reporter key add friend rfc.pub --reason 'to have it'",
	"backscatter reporter resume":     "backscatter reporter suspend friend --reason 'to have it'",
}

// serveExample starts a server, waits until it says that it serves, and stops
// it.
const serveExample = `rm -f said # of the example before
%s > said 2>&1 &
server=$!
tries=600
until grep -sqE 'msg=ready|Ctrl-C' said; do
	tries=$((tries - 1))
	if [ $tries = 0 ] || ! kill -0 $server; then cat said >&2; exit 1; fi
	sleep 0.05
done
kill $server
wait $server
`

const exampleFiles = `-- daemon.yaml --
state: state
dns: {listen: ["127.0.0.1:0"]}
http: {listen: "127.0.0.1:0"}
intake: {smtp: {listen: "127.0.0.1:0"}}
traps: [{address: left-in-2009@example.org}]
policy: {profile: solo, listable: [192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, "2001:db8::/32"]}
-- mirrored/fetched --
-- other.yaml --
state: other
mirror: {unsigned: true, zone: bl.example}
dns: {listen: ["127.0.0.1:0"]}
http: {listen: "127.0.0.1:0"}
intake: {smtp: {listen: "127.0.0.1:0"}}
-- stricter.yaml --
policy: {profile: solo, originals: 10}
-- rfc.pub --
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----
-- friend.pub --
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
-- trapped.eml --
From: MAILER-DAEMON@out.example
To: left-in-2009@example.org
Subject: failure notice

Hi. This is the qmail-send program at out.example.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<sales@out.example>:
Sorry, no mailbox here by that name. (#5.1.1)
-- bounce.eml --
From: MAILER-DAEMON@out.example
To: left-in-2009@example.org
Subject: Undelivered Mail Returned to Sender

Not delivered.
`
