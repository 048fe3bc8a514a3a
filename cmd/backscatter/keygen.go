package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"backscatter/evidence/durable"
	"backscatter/zonefile"
)

func (a *app) keygenCommand() *cobra.Command {
	var passphraseFile string
	cmd := &cobra.Command{
		Use:   "keygen [--passphrase-file FILE] FILE",
		Short: "Make the key that signs the files for mirrors",
		Long: `Make a key of minisign's format: the secret half in FILE, for its owner alone, and
the public half in FILE.pub, for the mirrors. Neither may exist. Name FILE as 'key'
of the export in the configuration; mirrors verify with 'minisign -V -p FILE.pub -m
MANIFEST'. A passphrase makes the server's start take a gigabyte of memory and some
seconds.`,
		Example: `  backscatter export keygen export.key`,
		Args:    exactArgs(1, "one file for the secret half"),
		RunE: func(_ *cobra.Command, args []string) error {
			var passphrase string
			if passphraseFile != "" {
				text, err := os.ReadFile(passphraseFile)
				if err != nil {
					return fmt.Errorf("read the passphrase: %w", err)
				}
				if passphrase = strings.TrimSpace(string(text)); passphrase == "" || strings.ContainsAny(passphrase, "\r\n") {
					return usageError("--passphrase-file %s: want one line", passphraseFile)
				}
			}
			secret, public, err := zonefile.NewKey(passphrase)
			if err != nil {
				return err
			}
			if err := writeKeyPair(args[0], secret, public); err != nil {
				return fmt.Errorf("make a key: %w", err)
			}
			_, err = fmt.Fprintf(a.out, "secret key %s, public key %s.pub:\n%s", args[0], args[0], public)
			return err
		},
	}
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "protect the key by the passphrase in `FILE`")
	return cmd
}

// writeKeyPair writes both files, durably, or leaves none of its own behind.
func writeKeyPair(name string, secret, public []byte) error {
	if err := writeKeyFile(name, 0o600, secret); err != nil {
		return err
	}
	err := writeKeyFile(name+".pub", 0o644, public)
	if err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return durable.Sync(filepath.Dir(name))
}

func writeKeyFile(name string, mode os.FileMode, text []byte) error {
	err := durable.Write(name, mode, text)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		_ = os.Remove(name) // what there is of it
	}
	return err
}
