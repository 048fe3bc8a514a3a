package config

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"backscatter/dnsd"
)

// Key is a secret that is shared with another DNS server.
type Key struct {
	Name      string `key:"name" need:"yes" doc:"Name of the key, written as a domain name. Both servers must call it the same."`
	Algorithm string `key:"algorithm" default:"hmac-sha256" doc:"hmac-sha256, hmac-sha384 or hmac-sha512."`
	File      string `key:"file" need:"yes" doc:"File with the secret in base64, alone or as tsig-keygen and keymgr print it; only the server may read it. It is read at the start and at each reload."`
}

// Transfer lets somebody take a zone.
type Transfer struct {
	From []netip.Prefix `key:"from" doc:"Who may: addresses and prefixes. Empty is anybody who has the key."`
	Key  string         `key:"key" doc:"With which of dns.keys the request must be signed. Empty needs no key."`
}

// Notify is a secondary that is told of changes.
type Notify struct {
	To     string `key:"to" need:"yes" doc:"Address with port."`
	Key    string `key:"key" doc:"Which of dns.keys signs the message. Empty signs none."`
	Source string `key:"source" default:"the first of dns.listen that fits" doc:"Address of ours that the message comes from, by which the secondary knows us."`
}

const (
	maxSecondaries  = 64 // of one zone
	minSecretOctets = 16
)

// secretText finds the secret in what key generators print: BIND's key clause
// (secret "…";), NSD's and Knot's (secret: …).
var secretText = regexp.MustCompile(`(?m)\bsecret:?\s+"?([A-Za-z0-9+/=]+)"?`)

func (c *Config) completeKeys() {
	for i := range c.DNS.Keys {
		k := &c.DNS.Keys[i]
		k.Algorithm = cmp.Or(k.Algorithm, "hmac-sha256")
	}
}

// exampleSecondary puts a secondary into the example.
func (c *Config) exampleSecondary() {
	const name = "transfer.bl.example"
	c.DNS.Keys = []Key{{Name: name, Algorithm: "hmac-sha256", File: "/etc/backscatter/transfer.key"}}
	c.Zones[0].Transfer = []Transfer{{From: []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32")}, Key: name}}
	c.Zones[0].Notify = []Notify{{To: "192.0.2.53:53", Key: name, Source: "192.0.2.1"}}
}

func (c *Config) validateSecondaries(p *problems) {
	known := map[string]bool{}
	for i, k := range c.DNS.Keys {
		key := fmt.Sprintf("dns.keys[%d]", i)
		switch {
		case !isHostname(k.Name):
			p.add(key+".name", "%s is no name for a key; write one like transfer.example.org", quote(k.Name))
		case known[zoneName(k.Name)]:
			p.add(key+".name", "%s is there twice; keep one", quote(k.Name))
		}
		known[zoneName(k.Name)] = true
		if _, err := dnsd.NewSecondaries([]dnsd.Key{{Name: "a", Algorithm: k.Algorithm, Secret: []byte("a")}}); err != nil {
			p.add(key+".algorithm", "%s is not known; write one of %s", quote(k.Algorithm), strings.Join(dnsd.Algorithms(), ", "))
		}
		if strings.TrimSpace(k.File) == "" {
			p.add(key+".file", "is empty; write the name of the file with the secret")
		}
	}
	for i := range c.Zones {
		c.Zones[i].validateSharing(p, fmt.Sprintf("zones[%d]", i), known)
	}
}

func (z *Zone) validateSharing(p *problems, key string, known map[string]bool) {
	validateCount(p, key+".transfer", len(z.Transfer), 0, maxSecondaries)
	validateCount(p, key+".notify", len(z.Notify), 0, maxSecondaries)
	knownKey := func(at, name string) {
		if name != "" && !known[zoneName(name)] {
			p.add(at+".key", "%s is not defined; add it to dns.keys", quote(name))
		}
	}
	for i, t := range z.Transfer {
		at := fmt.Sprintf("%s.transfer[%d]", key, i)
		knownKey(at, t.Key)
		if len(t.From) == 0 && t.Key == "" && p.sound(at) {
			p.add(at, "lets everybody take the zone; set from or key, or write from: [0.0.0.0/0, '::/0'] if that is meant")
		}
		validateApart(p, at+".from", t.From, "")
	}
	seen := map[netip.AddrPort]bool{}
	for i, n := range z.Notify {
		at := fmt.Sprintf("%s.notify[%d]", key, i)
		knownKey(at, n.Key)
		to, err := netip.ParseAddrPort(n.To)
		switch {
		case err != nil || to.Port() == 0:
			p.add(at+".to", "%s is no address with a port; write one like 192.0.2.53:53 or [2001:db8::53]:53", quote(n.To))
		case seen[to]:
			p.add(at+".to", "%s is there twice; keep one", n.To)
		case n.Source != "" && !sameFamily(n.Source, to.Addr()):
			p.add(at+".source", "%s is no address of the family of %s", quote(n.Source), to.Addr())
		}
		seen[to] = true
	}
}

func sameFamily(text string, other netip.Addr) bool {
	addr, err := netip.ParseAddr(text)
	return err == nil && addr.Unmap().Is4() == other.Unmap().Is4()
}

func (c *Config) checkTransferKeys() error {
	_, err := c.Secondaries()
	_, ours := c.Signing()
	return errors.Join(err, ours)
}

// Secondaries returns who may take the zones and who is told of changes. It
// reads the files of the keys.
func (c *Config) Secondaries() (*dnsd.Secondaries, error) {
	keys := make([]dnsd.Key, len(c.DNS.Keys))
	var errs []error
	for i, k := range c.DNS.Keys {
		secret, err := k.secret()
		if err != nil {
			errs = append(errs, fmt.Errorf("dns.keys[%d]: %w", i, err))
		}
		keys[i] = dnsd.Key{Name: k.Name, Algorithm: k.Algorithm, Secret: secret}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	zones := make([]dnsd.Sharing, len(c.Zones))
	for i, z := range c.Zones {
		zones[i] = dnsd.Sharing{Zone: z.Name}
		for _, t := range z.Transfer {
			zones[i].Allow = append(zones[i].Allow, dnsd.TransferRule{From: t.From, Key: t.Key})
		}
		for _, n := range z.Notify {
			to, err := netip.ParseAddrPort(n.To)
			if err != nil {
				return nil, fmt.Errorf("notify %s: %w", n.To, err)
			}
			to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
			zones[i].Notify = append(zones[i].Notify, dnsd.Target{To: to, Key: n.Key, From: c.source(n, to.Addr().Is4())})
		}
	}
	return dnsd.NewSecondaries(keys, zones...)
}

// source returns where messages to a secondary come from: the first address of
// the family that the server listens on, and not a valid one when it listens on all.
func (c *Config) source(n Notify, v4 bool) netip.Addr {
	if addr, err := netip.ParseAddr(n.Source); err == nil {
		return addr.Unmap()
	}
	for _, text := range c.DNS.Listen {
		if l, err := parseListen(text); err == nil && l.Addr().IsValid() && !l.Addr().IsUnspecified() && l.Addr().Is4() == v4 {
			return l.Addr()
		}
	}
	return netip.Addr{}
}

// secret reads the file of a key.
func (k Key) secret() ([]byte, error) {
	lines, err := readSecrets(k.File)
	if err != nil {
		return nil, err
	}
	text := strings.Join(lines, " ") // of which base64 has none
	if m := secretText.FindStringSubmatch(text); m != nil {
		text = m[1]
	}
	secret, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(secret) < minSecretOctets {
		return nil, fmt.Errorf("%s has no secret of %d octets or more in base64; make one with tsig-keygen -a %s %s", quote(k.File), minSecretOctets, k.Algorithm, k.Name)
	}
	return secret, nil
}
