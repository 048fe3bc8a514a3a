package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

// unexplained are the commands that may change what is kept without a reason by
// whoever calls them: they bring evidence, or what the configuration says, which
// the audit tells of itself.
var unexplained = []string{"backscatter report", "backscatter reload", "backscatter serve"}

// reasonGiven is how the examples give a reason.
var reasonGiven = regexp.MustCompile(` --reason ("[^"]*"|'[^']*'|\S+)`)

// No command changes anything without a reason, and each that would says why it
// wants one. Whether a command changes anything is not asked of a list, but of the
// audit: the examples of all are run without their reasons, and leave it as it was.
func TestEveryChangeNeedsAReason(t *testing.T) {
	t.Parallel()
	var script, files strings.Builder
	script.WriteString(`env BACKSCATTER_CONFIG=$WORK/daemon.yaml
exec backscatter serve &daemon&
ready state/control.sock
exec backscatter list 192.0.2.66 192.0.2.67 --reason 'to have it' --for 1h
exec backscatter reporter add friend --reason 'to have it'
exec backscatter backup --output store.backup
exec backscatter audit --json
cp stdout before
`)
	changing, n := 0, 0
	for _, c := range commands(t) {
		if slices.Contains(unexplained, c.CommandPath()) {
			continue
		}
		refused := c.Flags().Lookup("reason") != nil
		if refused {
			changing++
		}
		for example := range strings.SplitSeq(strings.TrimSpace(c.Example), "\n") {
			example = strings.TrimSpace(example)
			bare := reasonGiven.ReplaceAllString(example, "")
			switch {
			case slices.ContainsFunc(c.Commands(), func(sub *cobra.Command) bool { return strings.HasPrefix(example, sub.CommandPath()) }):
				continue // of a command below, which shows it, too
			case !refused && bare != example:
				t.Errorf("%s: an example gives a reason, and there is no flag for one", c.CommandPath())
			case refused && bare == example:
				continue // one of reading: 'exempt' without arguments
			}
			n++
			name := fmt.Sprintf("bare%d.sh", n)
			fmt.Fprintf(&files, "-- %s --\n%s\n", name, bare)
			fmt.Fprintf(&script, "# %s\n", bare)
			if refused {
				fmt.Fprintf(&script, "exits 2 sh -eu %s\nstderr '--reason is required: every change is explained in the audit'\n! stdout .\n", name)
			} else {
				fmt.Fprintf(&script, "exits 0 sh -eu %s\n", name)
			}
		}
	}
	for _, other := range []string{"verify --repair", "verify --repair --drop"} { // reading else
		fmt.Fprintf(&script, "exits 2 backscatter %s\nstderr '--reason is required'\n", other)
	}
	if changing < 12 {
		t.Fatalf("only %d commands take a reason", changing)
	}
	script.WriteString("exec backscatter audit --json\ncmp stdout before\nkill -INT daemon\nwait daemon\n")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "reasons.txtar"), []byte(script.String()+files.String()+exampleFiles), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Dir: dir, Setup: setup, Cmds: scriptCommands(), RequireExplicitExec: true})
}
