package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"backscatter/ops/config"
	"backscatter/ops/control"
)

// The exit codes. Scripts and mail servers depend on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2  // wrong usage or configuration
	exitUnreachable = 3  // no daemon, and no store to read without one
	exitNotListed   = 4  // show: the address is not listed
	exitTryAgain    = 75 // report: EX_TEMPFAIL of sysexits.h, so that a mail server keeps the message
)

// streams are where a command reads and writes. Nothing but the result goes to
// out.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// app is what all commands share: the streams and the flags of every command.
type app struct {
	streams
	configFile string
	socket     string
	asJSON     bool
}

// codeError is an error that ends the program with a code of its own.
type codeError struct {
	code int
	err  error // nil: the code says it all, and nothing is printed
}

func (e *codeError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *codeError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &codeError{exitUsage, fmt.Errorf(format, args...)}
}

// run is the program: it runs one command and returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	a := &app{streams: s}
	root := a.rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	var coded *codeError
	if errors.As(err, &coded) && coded.err == nil {
		return code
	}
	fmt.Fprintf(s.err, "backscatter: %v\n", err)
	if code == exitUsage && !isConfigError(err) {
		fmt.Fprintln(s.err, "backscatter: try 'backscatter --help', or --help after a command")
	}
	return code
}

func exitCode(err error) int {
	var coded *codeError
	var refused *control.Error
	switch {
	case errors.As(err, &coded):
		return coded.code
	case isConfigError(err):
		return exitUsage
	case errors.Is(err, control.ErrUnreachable):
		return exitUnreachable
	case errors.As(err, &refused) && refused.Code == control.CodeBadRequest:
		return exitUsage
	default:
		return exitFailed
	}
}

func isConfigError(err error) bool {
	var problems config.Errors
	return errors.As(err, &problems)
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "backscatter",
		Short: "A DNS blocklist server of hosts that send backscatter",
		Long: `backscatter lists hosts that are proven to send misdirected bounces, virus and
spam notices, auto-replies and challenges, and answers DNSBL queries about them.

One program: 'serve' is the daemon, all other commands speak to it over its
control socket. Without a daemon they work on its store directly.

The list is for mail with a null sender (MAIL FROM:<>) only.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 the daemon is
not reachable, 4 not listed (show), 75 try again (report).`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError("%w", err) })
	flags := root.PersistentFlags()
	flags.StringVar(&a.configFile, "config", "", "configuration `FILE` (also BACKSCATTER_CONFIG)")
	flags.StringVar(&a.socket, "socket", "", "control socket `PATH` of the daemon (default: control.sock in the state folder)")
	root.AddCommand(
		a.serveCommand(), a.reportCommand(),
		a.showCommand(), a.listingsCommand(), a.auditCommand(), a.policyCommand(), a.statusCommand(), a.topCommand(), a.originsCommand(),
		a.listCommand(), a.delistCommand(), a.exemptCommand(), a.revokeCommand(), a.resumeCommand(), a.decommissionCommand(), a.reporterCommand(),
		a.exportCommand(), a.importCommand(),
		a.backupCommand(), a.restoreCommand(), a.verifyCommand(), a.compactCommand(), a.keyCommand(), a.cookieCommand(),
		a.reloadCommand(), a.restartCommand(), a.configCommand(), a.versionCommand(),
	)
	return root
}

// jsonFlag gives a command the flag --json.
func (a *app) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.asJSON, "json", false, "print JSON")
}

// exactArgs is cobra's check with an exit code of its own, and words that say
// what is wanted.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError("%s: want %s, got %d arguments", commandName(cmd), what, len(args))
		}
		return nil
	}
}

func atLeastArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return usageError("%s: want %s", commandName(cmd), what)
		}
		return nil
	}
}

// commandName is the command without the program's name, which begins every
// line on standard error anyway.
func commandName(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("%s: takes no arguments, got %q", commandName(cmd), args[0])
	}
	return nil
}

func (a *app) loadConfig() (*config.Config, error) { return config.Load(a.configFile) }

func (a *app) socketPath(c *config.Config) string {
	if a.socket != "" {
		return a.socket
	}
	return filepath.Join(c.State, control.SocketName)
}

// isTerminal reports whether a stream is one that a person looks at.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// family makes a command that does nothing itself but help to find those below
// it, which are named in want.
func family(cmd *cobra.Command, want string) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError("%s: unknown command %q, want %s", cmd.Name(), args[0], want)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}
