package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"backscatter/ops/config"
	"backscatter/ops/control"
)

func (a *app) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Print the listing rule in force",
		Long: `Print the listing rule in force, in words that can be published (RFC 6471 §2.1.1):
the thresholds, what is exempt, the brakes, what new reporters count for, and what is
kept for how long.`,
		Example: "  backscatter policy",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("policy: unknown command %q, want try or nothing", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(cmd.Context(), func(c *control.Client) error {
				p, err := c.Policy(cmd.Context())
				if err != nil {
					return err
				}
				if a.asJSON {
					return a.printJSON(p)
				}
				_, err = fmt.Fprintln(a.out, strings.Join(p.Text, "\n"))
				return err
			})
		},
	}
	a.jsonFlag(cmd)
	cmd.AddCommand(a.policyTryCommand())
	return cmd
}

func (a *app) reloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon read its configuration anew",
		Long: `Have the daemon read its configuration anew. Either all of the new configuration
is taken over, or, when something is wrong with it or a change needs a restart,
nothing is, and the error says what. Only exemptions by which half the list would go
or come wait for an operator; that is told, and 'status' shows it.`,
		Example: "  backscatter reload",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.loadSocketConfig()
			if err != nil {
				return err
			}
			client := control.Dial(c)
			defer client.Close()
			result, err := client.Reload(cmd.Context())
			if err != nil {
				return err
			}
			if a.asJSON {
				return a.printJSON(result)
			}
			if len(result.Changed) == 0 {
				_, err = fmt.Fprintln(a.out, "reloaded; nothing has changed")
				return err
			}
			fmt.Fprintf(a.out, "reloaded; changed: %s\n", strings.Join(result.Changed, ", "))
			for _, what := range result.Held {
				fmt.Fprintf(a.out, "! %s; see 'backscatter status'\n", what)
			}
			return nil
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

// loadSocketConfig returns the daemon's socket. A configuration that is being
// edited need not be right for that when the socket is named.
func (a *app) loadSocketConfig() (string, error) {
	if a.socket != "" {
		return a.socket, nil
	}
	c, err := a.loadConfig()
	if err != nil {
		return "", err
	}
	return a.socketPath(c), nil
}

func (a *app) configCommand() *cobra.Command {
	cmd := family(&cobra.Command{
		Use:     "config",
		Short:   "Check, print or explain the configuration",
		Example: "  backscatter config check",
	}, "check, print, example or reference")
	cmd.AddCommand(
		a.configCheckCommand(),
		&cobra.Command{
			Use:     "print [FILE]",
			Short:   "Print the configuration in force, defaults included",
			Example: "  backscatter config print",
			Args:    atMostOneFile,
			RunE: func(_ *cobra.Command, args []string) error {
				c, err := a.configOf(args)
				if err != nil {
					return err
				}
				return c.Print(a.out)
			},
		},
		&cobra.Command{
			Use:     "example",
			Short:   "Print an example configuration with every key explained",
			Example: "  backscatter config example",
			Args:    noArgs,
			RunE:    func(*cobra.Command, []string) error { return config.WriteExample(a.out) },
		},
		&cobra.Command{
			Use:     "reference",
			Short:   "Print the configuration reference as Markdown",
			Example: "  backscatter config reference",
			Args:    noArgs,
			RunE:    func(*cobra.Command, []string) error { return config.WriteReference(a.out) },
		},
	)
	return cmd
}

func atMostOneFile(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError("%s: want at most one file", commandName(cmd))
	}
	return nil
}

func (a *app) configOf(args []string) (*config.Config, error) {
	if len(args) == 1 {
		return config.Load(args[0])
	}
	return a.loadConfig()
}

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  backscatter version",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.asJSON {
				return a.printJSON(map[string]string{
					"version": version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintf(a.out, "backscatter %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	a.jsonFlag(cmd)
	return cmd
}
