package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"backscatter/ops/config"
	"backscatter/ops/daemon"
)

func (a *app) configCheckCommand() *cobra.Command {
	var without bool
	var mirror string
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say everything that is wrong with the configuration",
		Long: `Read the configuration as serve would, and say everything that is wrong with it,
each with its line. Exit code 2 when something is.

The files with keys that it names are read, too, and have to be those of the
server's own user: with one that it cannot read, the server does not start.
--without-keys leaves them out, where they are on another machine.`,
		Example: "  backscatter config check",
		Args:    atMostOneFile,
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := a.configOf(args)
			if err != nil {
				return err
			}
			check := c.CheckKeys
			if mirror != "" {
				check = c.CheckMirrorKeys
				err = checkMirror(c, mirror)
			}
			if err == nil && !without {
				err = configErrors(c.File, check())
			}
			if err != nil {
				return err
			}
			for _, warning := range c.Warnings() {
				fmt.Fprintf(a.err, "backscatter: warning: %s\n", warning)
			}
			_, err = fmt.Fprintf(a.out, "%s: ok\n", cmp.Or(c.File, "no file; the defaults"))
			return err
		},
	}
	cmd.Flags().BoolVar(&without, "without-keys", false, "leave out the files with keys")
	cmd.Flags().StringVar(&mirror, "mirror", "", "check what 'serve --mirror' needs, with the same `DIR|PRIMARY:PORT`")
	return cmd
}

// configErrors makes what is wrong with the files that a configuration names
// errors of the configuration.
func configErrors(file string, err error) error {
	if err == nil {
		return nil
	}
	var all config.Errors
	for line := range strings.SplitSeq(err.Error(), "\n") {
		all = append(all, config.Problem{File: cmp.Or(file, "defaults"), Text: line})
	}
	return all
}

// checkMirror tells what a mirror of a folder, or of primaries, lacks.
func checkMirror(c *config.Config, from string) error {
	_, primaries := daemon.Primaries(from)
	switch {
	case primaries && c.Mirror.Zone == "":
		return usageError("serve --mirror: set mirror.zone to the zone that the primaries have")
	case !primaries && c.Mirror.Key == "" && !c.Mirror.Unsigned:
		return usageError("serve --mirror: set mirror.key to the publisher's public key, or mirror.unsigned where only you can write the folder")
	}
	return nil
}
