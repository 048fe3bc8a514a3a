package config

import (
	"fmt"
	"time"

	"aead.dev/minisign"

	"backscatter/dnsd"
	"backscatter/zonefile"
)

// Mirror says what a mirror takes for the list.
type Mirror struct {
	Key      string        `key:"key" restart:"yes" doc:"Public key of the publisher, the second line of the file that 'export keygen' makes. What it has not signed is refused."`
	Unsigned bool          `key:"unsigned" restart:"yes" doc:"Take what nobody signed, of a folder that only you can write."`
	Every    time.Duration `key:"every" restart:"yes" doc:"How often the folder is looked at."`

	Zone        string `key:"zone" restart:"yes" doc:"The zone, of a mirror that takes it from primaries."`
	TransferKey string `key:"transfer_key" restart:"yes" doc:"Which of dns.keys signs what primaries are asked, and must sign what they send, their NOTIFY too. Empty signs nothing."`
}

func defaultMirror() Mirror { return Mirror{Every: 10 * time.Second} }

func (m *Mirror) validate(p *problems, key string) {
	if m.Key != "" {
		if _, err := zonefile.ReadPublicKey(m.Key); err != nil {
			p.add(key+".key", "%s; write the second line of the file that 'export keygen' made", err)
		}
		if m.Unsigned {
			p.add(key+".unsigned", "is set, and so is key; keep one")
		}
	}
	validateDuration(p, key+".every", m.Every, time.Second, day)
	if m.Zone != "" && !isHostname(m.Zone) {
		p.add(key+".zone", "%s is no name of a zone; write one like bl.example.org", quote(m.Zone))
	}
}

// Signing returns the key that is shared with primaries, or nil when there is none.
// It reads its file.
func (c *Config) Signing() (*dnsd.Key, error) {
	for i, k := range c.DNS.Keys {
		if c.Mirror.TransferKey == "" || zoneName(k.Name) != zoneName(c.Mirror.TransferKey) {
			continue
		}
		secret, err := k.secret()
		if err != nil {
			return nil, fmt.Errorf("dns.keys[%d]: %w", i, err)
		}
		return &dnsd.Key{Name: k.Name, Algorithm: k.Algorithm, Secret: secret}, nil
	}
	if name := c.Mirror.TransferKey; name != "" {
		return nil, fmt.Errorf("mirror.transfer_key: %s is not defined; add it to dns.keys", quote(name))
	}
	return nil, nil //nolint:nilnil // no key is no error
}

// ZoneName returns the name of the zone as package zonefile has it; empty: none.
func (m *Mirror) ZoneName() string {
	if m.Zone == "" {
		return ""
	}
	return zoneName(m.Zone)
}

// PublicKey returns the key of the publisher, or nil when there is none.
func (m *Mirror) PublicKey() (*minisign.PublicKey, error) {
	if m.Key == "" {
		return nil, nil //nolint:nilnil // no key is no error
	}
	return zonefile.ReadPublicKey(m.Key)
}
