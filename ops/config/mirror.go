package config

import (
	"time"

	"aead.dev/minisign"

	"backscatter/zonefile"
)

// Mirror says what a mirror takes for the list.
type Mirror struct {
	Key      string        `key:"key" restart:"yes" doc:"Public key of the publisher, the second line of the file that 'export keygen' makes. What it has not signed is refused."`
	Unsigned bool          `key:"unsigned" restart:"yes" doc:"Take what nobody signed, of a folder that only you can write."`
	Every    time.Duration `key:"every" restart:"yes" doc:"How often the folder is looked at."`
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
}

// PublicKey returns the key of the publisher, or nil when there is none.
func (m *Mirror) PublicKey() (*minisign.PublicKey, error) {
	if m.Key == "" {
		return nil, nil //nolint:nilnil // no key is no error
	}
	return zonefile.ReadPublicKey(m.Key)
}
