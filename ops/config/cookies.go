package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"backscatter/dnsd"
)

// CookieStage is what a secret of DNS cookies is used for (RFC 9018 §5).
type CookieStage string

// The stages, in the order in which a secret goes through them.
const (
	CookieStaged CookieStage = "staged" // cookies made with it are good: other servers may make them already
	CookieActive CookieStage = "active" // cookies are made with it
	CookieOld    CookieStage = "old"    // cookies made with it are good: clients have them still
)

// CookieSecret is a secret and its stage.
type CookieSecret struct {
	Stage  CookieStage
	Secret dnsd.CookieSecret
}

// cookieFile is the name of the file in the state folder.
const cookieFile = "cookie.secrets"

// CookieFile returns where the secrets of DNS cookies are, and whether the file is
// ours to make: one that the configuration names is not.
func (c *Config) CookieFile() (name string, ours bool) {
	if c.DNS.Cookies.File != "" {
		return c.DNS.Cookies.File, false
	}
	return filepath.Join(c.State, cookieFile), true
}

// ReadCookieSecrets reads a file of secrets: a line each, with the stage and 32
// hexadecimal digits. Lines without a stage are as other servers have them: the
// first is active, and cookies made with the others are good. The active one is
// the first of the result.
func ReadCookieSecrets(name string) ([]CookieSecret, error) {
	lines, err := readSecrets(name)
	if err != nil {
		return nil, fmt.Errorf("secrets of DNS cookies: %w", err)
	}
	var secrets []CookieSecret
	for i, line := range lines {
		s, err := parseCookieSecret(line)
		if err != nil {
			return nil, fmt.Errorf("secrets of DNS cookies: secret %d of %s: %w", i+1, quote(name), err)
		}
		if s.Stage == "" {
			s.Stage = CookieOld
			if i == 0 {
				s.Stage = CookieActive
			}
		}
		secrets = append(secrets, s)
	}
	active := slices.IndexFunc(secrets, func(s CookieSecret) bool { return s.Stage == CookieActive })
	if active < 0 || slices.ContainsFunc(secrets[active+1:], func(s CookieSecret) bool { return s.Stage == CookieActive }) {
		return nil, fmt.Errorf("secrets of DNS cookies: %s has not one active secret; write one line 'active' and 32 hexadecimal digits", quote(name))
	}
	secrets[0], secrets[active] = secrets[active], secrets[0]
	return secrets, nil
}

func parseCookieSecret(line string) (CookieSecret, error) {
	words := strings.Fields(line)
	var s CookieSecret
	if len(words) == 2 {
		s.Stage = CookieStage(words[0])
		if !slices.Contains([]CookieStage{CookieStaged, CookieActive, CookieOld}, s.Stage) {
			return s, fmt.Errorf("%s is no stage; write active, staged or old", quote(words[0]))
		}
		words = words[1:]
	}
	if len(words) != 1 || len(words[0]) != 2*len(s.Secret) {
		return s, errors.New("want a stage and 32 hexadecimal digits")
	}
	if _, err := hex.Decode(s.Secret[:], []byte(words[0])); err != nil {
		return s, errors.New("want 32 hexadecimal digits")
	}
	return s, nil
}

// WriteCookieSecrets returns the text of a file of secrets.
func WriteCookieSecrets(secrets []CookieSecret) string {
	var b strings.Builder
	for _, s := range secrets {
		fmt.Fprintf(&b, "%s %x\n", s.Stage, s.Secret[:])
	}
	return b.String()
}

// checkCookies reads the file of secrets as the server does. Only our own may be
// missing: the server makes it.
func (c *Config) checkCookies() error {
	if !c.DNS.Cookies.Enabled {
		return nil
	}
	name, ours := c.CookieFile()
	_, err := ReadCookieSecrets(name)
	if ours && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
