package config

import (
	"net/netip"
	"time"

	"backscatter/dnsd"
	"backscatter/evidence/lookup"
	"backscatter/listing"
	"backscatter/zonefile"
)

// Defaults returns what is in force where no file and no variable says
// anything else: a server on loopback for the zone bl.example, without traps,
// so that it lists nothing by itself. The state folder comes from
// $STATE_DIRECTORY and the XDG variables in environ, a list of NAME=value.
func Defaults(environ []string) *Config {
	env := newEnvironment(environ)
	c := env.defaults(listing.Community())
	c.complete(env)
	return c
}

// defaults returns the defaults under a policy, before complete.
func (e environment) defaults(policy listing.Policy) *Config {
	zone := defaultZone()
	zone.Name = "bl.example"
	zone.NS = []string{"ns1.bl.example"}
	tcp := dnsd.DefaultLimits()
	return &Config{
		State: e.state(),
		DNS: DNS{
			Listen:          []string{"127.0.0.1:5300"},
			Cookies:         Cookies{Enabled: true},
			Limits:          defaultDNSLimits(),
			Access:          defaultAccess(),
			MaxTCP:          tcp.TCPClients,
			MaxTCPPerClient: tcp.TCPPerClient,
			MaxTransfers:    tcp.Transfers,
			TCPIdle:         tcp.TCPIdle,
			QueryLog:        defaultQueryLog(),
			Dnstap:          defaultDnstap(),
		},
		HTTP:   HTTP{Listen: "127.0.0.1:8053"},
		Zones:  []Zone{zone},
		Intake: defaultIntake(),
		Reporters: []Reporter{{
			Name:         "local",
			Organisation: "local",
			Relays:       []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
			Weight:       1,
		}},
		Lookups:         Lookups{Timeout: lookup.DefaultTimeout},
		Policy:          PolicyFrom(policy),
		Brakes:          Brakes(listing.DefaultBrakes()),
		Probation:       Probation(listing.DefaultProbation()),
		Retention:       Retention(listing.DefaultRetention()),
		Journal:         defaultJournal(),
		Commit:          Commit{Wait: listing.DefaultGroupWait},
		Headers:         defaultHeaders(),
		Mirror:          defaultMirror(),
		Log:             Log{Level: "info", Format: "text"},
		ShutdownTimeout: 20 * time.Second,
	}
}

// defaultZone is what a zone has that says nothing.
func defaultZone() Zone {
	return Zone{
		TTL:         5 * time.Minute,
		NegativeTTL: 5 * time.Minute,
		Classes: []listing.Class{
			listing.ClassBounce, listing.ClassNotice, listing.ClassAutoreply, listing.ClassChallenge, listing.ClassManual,
		},
		Refresh: time.Hour,
		Retry:   15 * time.Minute,
		Expire:  24 * time.Hour,
	}
}

// defaultExport is what an export has that says nothing.
func defaultExport() Export {
	return Export{Formats: []zonefile.Format{zonefile.IP4Set, zonefile.IP6Trie, zonefile.Master}, Brake: 0.5, Every: time.Minute}
}

// PolicyFrom writes a listing policy as configuration.
func PolicyFrom(p listing.Policy) Policy {
	return Policy{
		Profile:       p.Profile,
		Window:        p.Window,
		Score:         p.Score,
		Originals:     p.Originals,
		TrapDomains:   p.TrapDomains,
		Recipients:    p.Recipients,
		Organisations: p.Organisations,
		Direct:        p.Direct,
		Share:         p.Share,
		Span:          p.Span,
		Lifetime:      p.Lifetime,
		LifetimeMax:   p.LifetimeMax,
		Memory:        p.Memory,
		Relapse:       p.Relapse,
		RelapseFactor: p.RelapseFactor,
		AgedTo:        p.AgedTo,
		SPFFactor:     p.SPFFactor,

		DeliveredFactor: p.DeliveredFactor,
		Weights:         Weights(p.Weights),
	}
}

// ListingPolicy returns the listing rule that the configuration asks for.
func (c *Config) ListingPolicy() listing.Policy {
	p := c.Policy
	return listing.Policy{
		Profile:       p.Profile,
		Window:        p.Window,
		Score:         p.Score,
		Originals:     p.Originals,
		TrapDomains:   p.TrapDomains,
		Recipients:    p.Recipients,
		Organisations: p.Organisations,
		Direct:        p.Direct,
		Share:         p.Share,
		Span:          p.Span,
		Lifetime:      p.Lifetime,
		LifetimeMax:   p.LifetimeMax,
		Memory:        p.Memory,
		Relapse:       p.Relapse,
		RelapseFactor: p.RelapseFactor,
		AgedTo:        p.AgedTo,
		SPFFactor:     p.SPFFactor,

		DeliveredFactor: p.DeliveredFactor,
		Weights:         listing.Weights(p.Weights),
	}
}
