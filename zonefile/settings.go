package zonefile

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"backscatter/listing"
)

// Settings are the zone's in a manifest: with them a mirror answers for what no
// file says, and as the publisher does. Times are in seconds.
type Settings struct {
	NS          []string                `json:"ns"`
	Hostmaster  string                  `json:"hostmaster"`
	TTL         uint32                  `json:"ttl"`
	NegativeTTL uint32                  `json:"negative_ttl"`
	Refresh     uint32                  `json:"refresh"`
	Retry       uint32                  `json:"retry"`
	Expire      uint32                  `json:"expire"`
	Classes     listing.ClassSet        `json:"classes"`
	URL         string                  `json:"url,omitempty"`
	Addresses   []netip.Addr            `json:"addresses,omitempty"`
	Texts       []string                `json:"texts,omitempty"`
	Hosts       map[string][]netip.Addr `json:"hosts,omitempty"`
	Whole       int                     `json:"whole,omitempty"` // see [Zone]
}

func (z *Zone) settings() *Settings {
	return &Settings{
		NS: z.NS, Hostmaster: z.Hostmaster,
		TTL: z.TTLSeconds(), NegativeTTL: z.NegativeSeconds(),
		Refresh: seconds(z.Refresh, DefaultRefresh), Retry: seconds(z.Retry, DefaultRetry), Expire: seconds(z.Expire, DefaultExpire),
		Classes: z.Classes, URL: z.URL, Addresses: z.Addresses, Texts: z.Texts, Hosts: z.Hosts,
		Whole: z.Whole,
	}
}

// settingsOf is settings for a mirror of the list: of a zone that does not carry all of
// it, a mirror cannot count what the publisher tells in [Status].
func (z *Zone) settingsOf(snapshot *listing.Snapshot) *Settings {
	s := z.settings()
	for class := range snapshot.Counts() {
		if s.Whole == 0 && !z.Classes.Has(class) {
			s.Whole = snapshot.Len()
		}
	}
	return s
}

var errNoSettings = errors.New("has no settings of the zone; a mirror needs a manifest of this version of the program")

// zoneSet returns the zone that the manifest is of.
func (m Manifest) zoneSet() (*Set, error) {
	s := m.Settings
	if s == nil {
		return nil, errNoSettings
	}
	of := func(n uint32) time.Duration { return time.Duration(n) * time.Second }
	return NewSet(&Zone{
		Name: strings.TrimSuffix(m.Zone, ".") + ".", NS: s.NS, Hostmaster: s.Hostmaster,
		TTL: of(s.TTL), NegativeTTL: of(s.NegativeTTL), Refresh: of(s.Refresh), Retry: of(s.Retry), Expire: of(s.Expire),
		Classes: s.Classes, URL: s.URL, Addresses: s.Addresses, Texts: s.Texts, Hosts: s.Hosts,
		Whole: s.Whole, Copied: m.Created,
	})
}
