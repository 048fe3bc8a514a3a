package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"backscatter/listing"
	"backscatter/ops/control"
	"backscatter/ops/remote"
)

// remoteFlags are what a reporter has that sends over the network.
type remoteFlags struct {
	key    string
	relays []string
}

func (f *remoteFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.key, "key", "", "`FILE` with the public key by which it signs what it sends, or the key itself in base64")
	flags.StringArrayVar(&f.relays, "relay", nil, "`PREFIX` of a host of its whose Received lines are believed; can be given more than once")
}

func (f *remoteFlags) fill(r *control.ReporterRequest) (err error) {
	if f.key != "" {
		if r.Key, err = readPublicKey(f.key); err != nil {
			return err
		}
	}
	r.Relays, err = parseRelays(f.relays)
	return err
}

// readPublicKey reads a public key from a file, or takes the text for one.
func readPublicKey(text string) (ed25519.PublicKey, error) {
	if key, err := remote.ParsePublicKey(text); err == nil {
		return key, nil
	}
	data, err := os.ReadFile(text)
	if err != nil {
		return nil, fmt.Errorf("read the public key: %w", err)
	}
	key, err := remote.ParsePublicKey(string(data))
	if err != nil {
		return nil, fmt.Errorf("read the public key %s: %w", text, err)
	}
	return key, nil
}

func parseRelays(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	var wrong faults
	for _, text := range texts {
		p, err := listing.ParsePrefix(text)
		if err != nil {
			wrong.add("", fmt.Errorf("relay %q: %w", text, err))
			continue
		}
		out = append(out, p)
	}
	return out, wrong.err()
}

func (a *app) reporterKeygen() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make the key by which a reporter signs what it sends",
		Long: `Make a key, on the reporter's host: the secret half in FILE, for its owner alone
(mode 0600), and the public half in FILE.pub, for the operator of the list, who
enrols it with 'reporter add NAME --key FILE.pub' or 'reporter key add'. Neither
file may exist. 'report --to URL --key FILE' signs by it.

Both are PEM, Ed25519 (RFC 8410); openssl and others make and read such keys.`,
		Example: `  backscatter reporter keygen reporter.key`,
		Args:    exactArgs(1, "one file for the secret half"),
		RunE: func(_ *cobra.Command, args []string) error {
			secret, public, err := remote.NewKey()
			if err != nil {
				return err
			}
			if err := writeKeyPair(args[0], secret, public); err != nil {
				return fmt.Errorf("make a key: %w", err)
			}
			key, err := remote.ParsePublicKey(string(public))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "secret key %s, public key %s.pub, named %s:\n%s", args[0], args[0], listing.KeyID(key), public)
			return err
		},
	}
}

func (a *app) reporterKey() *cobra.Command {
	cmd := family(&cobra.Command{
		Use:   "key",
		Short: "Change the keys by which a reporter signs",
		Long: `Add and remove public keys of reporters, those of the configuration included.
To go over to a new key: the reporter makes it, the list's operator adds it, the
reporter signs by it, and the operator removes the old one. Both are good
meanwhile. 'reporter show NAME' names the keys.`,
		Example: `  backscatter reporter key`,
	}, "add or remove")
	cmd.AddCommand(
		a.reporterChange(&cobra.Command{
			Use:     "add NAME FILE --reason WHY",
			Short:   "Let a reporter sign by one more key",
			Example: `  backscatter reporter key add friend friend.pub --reason "its new key, read to me on the phone"`,
			Args:    exactArgs(2, "the reporter's name, and a file with its public key"),
		}, listing.ActionAddKey, func(r *control.ReporterRequest, args []string) (err error) {
			r.Key, err = readPublicKey(args[1])
			return err
		}),
		a.reporterChange(&cobra.Command{
			Use:     "remove NAME KEY --reason WHY",
			Short:   "Refuse what a reporter signs by one of its keys from now on",
			Example: `  backscatter reporter key remove friend ` + exampleKeyID + ` --reason "replaced"`,
			Args:    exactArgs(2, "the reporter's name, and the name of a key as 'reporter show' tells it"),
		}, listing.ActionRemoveKey, func(r *control.ReporterRequest, args []string) error {
			if err := r.KeyID.UnmarshalText([]byte(args[1])); err != nil || r.KeyID.IsZero() {
				return usageError("key %q: want its name, of 32 hexadecimal digits, as 'reporter show' tells it", args[1])
			}
			return nil
		}),
	)
	return cmd
}

// exampleKeyID names the public key of RFC 9421, appendix B.1.4.
const exampleKeyID = "b16c2d1bead1262639764fdb0ee4d377"

func (a *app) reporterRelays() *cobra.Command {
	return a.reporterChange(&cobra.Command{
		Use:   "relays NAME [PREFIX]... --reason WHY",
		Short: "Set the hosts of a reporter whose Received lines are believed",
		Long: `Set all relays of a reporter that was enrolled by command; none are left when
none are named. What these hosts wrote into a message is believed, and they are
exempt from listing as long as they are relays. Those of a reporter of the
configuration are changed there.`,
		Example: `  backscatter reporter relays friend 192.0.2.25 --reason "its mail server moved"`,
		Args:    atLeastArgs(1, "the reporter's name"),
	}, listing.ActionRelays, func(r *control.ReporterRequest, args []string) (err error) {
		r.Relays, err = parseRelays(args[1:])
		return err
	})
}

// printReporterKeys tells the keys and relays of those that have any.
func (a *app) printReporterKeys(all []listing.Enrolment) error {
	var errs []error
	for _, e := range all {
		for _, k := range e.Keys {
			_, err := fmt.Fprintf(a.out, "%s: key %s since %s by %s: %s\n", e.Name, k.ID, stamp(k.Added), printable(k.By), printable(k.Reason))
			errs = append(errs, err)
		}
		if len(e.Relays) > 0 {
			relays := make([]string, len(e.Relays))
			for i, p := range e.Relays {
				relays[i] = p.String()
			}
			_, err := fmt.Fprintf(a.out, "%s: relays %s\n", e.Name, strings.Join(relays, " "))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
