package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"aead.dev/minisign"
	"github.com/spf13/pflag"

	"backscatter/ops/config"
	"backscatter/zonefile"
)

// checkFlags are what verify is told about an export or a live server.
type checkFlags struct {
	zone, key, against string
	maxAge             time.Duration

	flags *pflag.FlagSet
}

func (f *checkFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.zone, "zone", "", "`ZONE` to ask a server about (default: that of --against, mirror.zone, or the first of the configuration)")
	flags.StringVar(&f.key, "key", "", "public `KEY` that must have signed the export (default: mirror.key)")
	flags.StringVar(&f.against, "against", "", "compare a server with the export in `DIR`: serial, entries, test points, and samples of listed and unlisted addresses")
	flags.DurationVar(&f.maxAge, "max-age", 48*time.Hour, "the oldest that the list may be")
	f.flags = flags
}

// What is known of the signature of an export.
const (
	signed     = "signed"
	notSigned  = "not signed"
	notChecked = "signature not checked" // there is one, and no key
)

// checkup is what was found of an export or a server.
type checkup struct {
	What      string    `json:"what"`
	OK        bool      `json:"ok"`
	Zone      string    `json:"zone,omitempty"`
	Serial    uint32    `json:"serial"`
	Time      time.Time `json:"time,omitzero"`         // of which the list is, as far as it is told
	Age       *int      `json:"age_seconds,omitempty"` // nil: it is not told
	Entries   *int      `json:"entries,omitempty"`     // nil: it is not told
	Files     int       `json:"files,omitempty"`
	Signed    bool      `json:"signed"`
	Signature string    `json:"signature,omitempty"` // of an export
	Compared  int       `json:"compared,omitempty"`  // addresses asked for
	Problems  []string  `json:"problems,omitempty"`
}

// problem notes what is wrong, on one line.
func (c *checkup) problem(format string, args ...any) {
	c.Problems = append(c.Problems, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

// judgeAge tells how old the list is, and whether that is too old. A server that does
// not tell, as rbldnsd and those that serve a zone file, is good unless a bound was
// asked for.
func (c *checkup) judgeAge(now time.Time, f checkFlags) {
	if c.Time.IsZero() {
		if f.flags.Changed("max-age") {
			c.problem("it does not tell how old it is, so nobody knows whether that is more than %s; compare it with a fetched export (--against DIR)", f.maxAge)
		}
		return
	}
	age := max(0, now.Sub(c.Time))
	seconds := int(age / time.Second)
	c.Age = &seconds
	if age > f.maxAge {
		c.problem("it is %s old, and may be %s", age.Truncate(time.Second), f.maxAge)
	}
}

// print prints one line, fit for a monitor, or JSON.
func (a *app) printCheckup(c *checkup) error {
	c.OK = len(c.Problems) == 0
	if a.asJSON {
		if err := a.printJSON(c); err != nil {
			return err
		}
	}
	if !c.OK {
		return &codeError{exitFailed, fmt.Errorf("%s: %s", c.What, printable(strings.Join(c.Problems, "; ")))}
	}
	if a.asJSON {
		return nil
	}
	told := []string{c.Zone, fmt.Sprintf("serial %d", c.Serial)}
	if c.Age == nil {
		told = append(told, "age not told")
	} else {
		told[1] += " of " + stamp(c.Time)
		told = append(told, fmt.Sprintf("%d s old", *c.Age))
	}
	if c.Entries != nil {
		told = append(told, fmt.Sprintf("%d entries", *c.Entries))
	}
	told = append(told, cmp.Or(c.Signature, fmt.Sprintf("%d addresses compared", c.Compared)))
	_, err := fmt.Fprintf(a.out, "%s is good: %s\n", c.What, strings.Join(told, ", "))
	return err
}

// verifyExport checks what a mirror would: signature, expiry, every file against
// the manifest, and that what a mirror answers from can be read.
func (a *app) verifyExport(dir string, f checkFlags, now time.Time) error {
	key, err := a.publisherKey(f)
	if err != nil {
		return err
	}
	c := &checkup{What: dir}
	copied, err := openExport(dir, key, c)
	if err != nil {
		c.problem("%v", err)
		return a.printCheckup(c)
	}
	m, entries := copied.Manifest, copied.Snapshot.Len()
	c.Zone, c.Serial, c.Time, c.Files, c.Entries = m.Zone, m.Serial, m.Created, len(m.Files), &entries
	if err := m.Verify(dir); err != nil {
		c.problem("%v", err)
	}
	if !now.Before(m.Expires) {
		c.problem("it expired on %s", stamp(m.Expires))
	}
	c.judgeAge(now, f)
	return a.printCheckup(c)
}

// publisherKey returns the key that must have signed an export; nil: anybody may.
func (a *app) publisherKey(f checkFlags) (*minisign.PublicKey, error) {
	if f.key == "" {
		c, err := a.loadConfig()
		if err != nil {
			return nil, err
		}
		return c.Mirror.PublicKey()
	}
	key, err := zonefile.ReadPublicKey(f.key)
	if err != nil {
		return nil, usageError("--key: %w", err)
	}
	return key, nil
}

// openExport reads an export as a mirror does.
func openExport(dir string, key *minisign.PublicKey, c *checkup) (*zonefile.Copy, error) {
	var m zonefile.Manifest
	var err error
	if key == nil {
		m, err = zonefile.ReadManifest(dir)
		c.Signature = notChecked
		if _, none := os.Lstat(filepath.Join(dir, zonefile.SignatureName)); errors.Is(none, fs.ErrNotExist) {
			c.Signature = notSigned
		}
	} else if m, err = zonefile.OpenManifest(dir, *key); err == nil {
		c.Signed, c.Signature = true, signed
	}
	if err != nil {
		return nil, err
	}
	return m.Load(dir)
}

// zoneToAsk returns the zone to ask a server about, when nothing else says it.
func zoneToAsk(c *config.Config) (string, error) {
	switch {
	case c.Mirror.Zone != "":
		return c.Mirror.Zone, nil
	case c.Has("mirror") && !c.Has("zones"):
		return "", usageError("verify: say with --zone which zone the server has; %s names none", c.File)
	}
	return c.Zones[0].Name, nil
}

// isFolder and isServer tell the arguments of verify apart.
func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func isServer(name string) bool {
	if _, err := os.Stat(name); err == nil {
		return false
	}
	i := strings.LastIndexByte(name, ':')
	return i > 0 && i < len(name)-1 && strings.Trim(name[i+1:], "0123456789") == ""
}
