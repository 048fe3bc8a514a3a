package config

import (
	"errors"
	"fmt"
	"strings"

	"backscatter/zonefile"
)

// checkSigningKeys reads the keys of all exports.
func (c *Config) checkSigningKeys() error {
	var errs []error
	for i := range c.Exports {
		_, err := c.Exports[i].SigningKey()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// SigningKey reads the key that signs the manifests of the export; nil when
// there is none. With a passphrase this takes seconds.
func (e *Export) SigningKey() (*zonefile.SigningKey, error) {
	if e.Key == "" {
		return nil, nil //nolint:nilnil // no key is no error
	}
	secret, err := readSecrets(e.Key)
	if err != nil {
		return nil, fmt.Errorf("exports of %s: key: %w", e.Zone, err)
	}
	passphrase, err := readSecrets(e.PassphraseFile)
	if err != nil {
		return nil, fmt.Errorf("exports of %s: passphrase_file: %w", e.Zone, err)
	}
	key, err := zonefile.ReadKey([]byte(strings.Join(secret, "\n")), strings.Join(passphrase, "\n"))
	if err != nil {
		return nil, fmt.Errorf("exports of %s: key %s: %w", e.Zone, quote(e.Key), err)
	}
	return key, nil
}
