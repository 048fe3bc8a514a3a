package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"

	"backscatter/dnsd"
	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/zonefile"
)

// zone returns the zone as package zonefile takes it.
func (z *Zone) zone() *zonefile.Zone {
	absolute := func(name string) string { return strings.TrimSuffix(name, ".") + "." }
	ns := make([]string, len(z.NS))
	for i, name := range z.NS {
		ns[i] = absolute(name)
	}
	return &zonefile.Zone{
		Name:        zoneName(z.Name),
		NS:          ns,
		Hostmaster:  absolute(z.Hostmaster),
		TTL:         z.TTL,
		NegativeTTL: z.NegativeTTL,
		Refresh:     z.Refresh,
		Retry:       z.Retry,
		Expire:      z.Expire,
		Classes:     listing.ClassSetOf(z.Classes...),
		URL:         z.URL,
		Addresses:   slices.Clone(z.Apex.Addresses),
		Texts:       slices.Clone(z.Apex.TXT),
	}
}

// ZoneSet returns the zones that are answered for.
func (c *Config) ZoneSet() (*zonefile.Set, error) {
	zones := make([]*zonefile.Zone, len(c.Zones))
	for i := range c.Zones {
		zones[i] = c.Zones[i].zone()
		c.addHosts(zones[i])
	}
	return zonefile.NewSet(zones...)
}

// addHosts gives name servers of the zone's own the addresses that the server
// listens on, where the configuration tells none: without an address nobody
// could find them. A server that listens on all addresses does not know which
// of them are its public ones; see Warnings.
func (c *Config) addHosts(z *zonefile.Zone) {
	var addrs []netip.Addr
	for _, text := range c.DNS.Listen {
		if listen, err := parseListen(text); err == nil && listen.Addr().IsValid() && !listen.Addr().IsUnspecified() {
			addrs = append(addrs, listen.Addr().WithZone(""))
		}
	}
	for _, ns := range z.Unreachable() {
		if len(addrs) > 0 {
			if z.Hosts == nil {
				z.Hosts = map[string][]netip.Addr{}
			}
			z.Hosts[ns] = addrs
		}
	}
}

// ListingSettings returns what the store needs. The built-in exemptions are
// those of the configuration, the reporters' relays, and the addresses that
// the server listens on; for a server that listens on all, these are the
// machine's at the time of the call.
func (c *Config) ListingSettings() (listing.Settings, error) {
	zones, err := c.ZoneSet()
	if err != nil {
		return listing.Settings{}, err
	}
	own, err := c.ownAddresses()
	if err != nil {
		return listing.Settings{}, err
	}
	settings := listing.Settings{
		Policy:    c.ListingPolicy(),
		Listable:  slices.Clone(c.Policy.Listable),
		Published: zones.Digest(),
		Brakes:    listing.Brakes(c.Brakes),
		Probation: listing.Probation(c.Probation),
		Retention: c.Retention.listing(),
		Journal:   c.Journal.listing(),
		GroupWait: c.Commit.Wait,
		Headers:   c.Headers.listing(),
	}
	for _, z := range c.Zones {
		settings.Horizon = max(settings.Horizon, z.TTL)
	}
	for _, r := range c.Reporters {
		settings.Reporters = append(settings.Reporters, listing.Reporter{Name: r.Name, Organisation: r.Organisation, Weight: r.Weight})
	}
	for _, t := range c.Traps {
		settings.Traps = append(settings.Traps, cmp.Or(t.Domain, t.Address))
	}
	settings.BuiltIn = c.builtIn(own)
	return settings, nil
}

// builtIn returns the exemptions that no command can lift. Where a prefix has
// several reasons the first is told.
func (c *Config) builtIn(own []netip.Prefix) []listing.Exemption {
	var out []listing.Exemption
	seen := map[netip.Prefix]bool{}
	add := func(p netip.Prefix, reason string) {
		if !seen[p] {
			seen[p] = true
			out = append(out, listing.Exemption{Prefix: p, Reason: reason, BuiltIn: true, By: "configuration"})
		}
	}
	for _, e := range c.Exempt {
		add(e.Prefix, e.Reason)
	}
	for _, r := range c.Reporters {
		for _, p := range r.Relays {
			add(p, "relay of a reporter")
		}
	}
	for _, p := range own {
		add(p, "address of this server")
	}
	return out
}

// ownAddresses returns the addresses that the server listens on. What
// policy.listable opens is left out: a lab has all its hosts on one machine.
func (c *Config) ownAddresses() ([]netip.Prefix, error) {
	var addrs []netip.Addr
	all := false
	listens := append(slices.Clone(c.DNS.Listen), c.HTTP.Listen)
	for _, text := range c.Intake.listens() {
		listens = append(listens, text)
	}
	for _, text := range listens {
		if text == "" {
			continue
		}
		listen, err := parseListen(text)
		if err != nil {
			return nil, err
		}
		if addr := listen.Addr(); addr.IsValid() && !addr.IsUnspecified() {
			addrs = append(addrs, addr.WithZone(""))
		} else {
			all = true
		}
	}
	if all {
		machine, err := machineAddresses()
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, machine...)
	}
	var own []netip.Prefix
	for _, addr := range addrs {
		open := slices.ContainsFunc(c.Policy.Listable, func(p netip.Prefix) bool { return p.Contains(addr) })
		if p := netip.PrefixFrom(addr, addr.BitLen()); !open && !slices.Contains(own, p) {
			own = append(own, p)
		}
	}
	return own, nil
}

func machineAddresses() ([]netip.Addr, error) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of this machine, to exempt them: %w", err)
	}
	var addrs []netip.Addr
	for _, a := range interfaces {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, p.Addr().Unmap().WithZone(""))
		}
	}
	return addrs, nil
}

// TrapTable returns the traps.
func (c *Config) TrapTable() (*evidence.Traps, error) {
	traps := make([]evidence.Trap, len(c.Traps))
	for i, t := range c.Traps {
		traps[i] = evidence.Trap(t)
	}
	return evidence.NewTraps(traps)
}

// JudgeConfig returns what judgements depend on. The key is for the hashes of
// recipients; it is kept with the state, not in the configuration.
func (c *Config) JudgeConfig(key [32]byte) (evidence.Config, error) {
	traps, err := c.TrapTable()
	if err != nil {
		return evidence.Config{}, err
	}
	own, err := c.ownAddresses()
	if err != nil {
		return evidence.Config{}, err
	}
	out := evidence.Config{
		Traps:    traps,
		Listable: slices.Clone(c.Policy.Listable),
		Exempt:   own,
		Window:   c.Policy.Window,
		Key:      key,
		Headers:  c.Headers.Keep > 0,
	}
	if out.Guarded, err = c.guarded(); err != nil {
		return evidence.Config{}, err
	}
	for _, e := range c.Exempt {
		out.Exempt = append(out.Exempt, e.Prefix)
	}
	for _, r := range c.Reporters {
		out.Reporters = append(out.Reporters, evidence.Reporter{
			Name: r.Name, Organisation: r.Organisation, Relays: slices.Clone(r.Relays), Weight: r.Weight,
		})
	}
	return out, nil
}

// DNSOptions returns the options of the DNS server that are configuration;
// what it serves, the logger and the metrics are for the caller to add.
func (c *Config) DNSOptions() dnsd.Options {
	return dnsd.Options{
		Listen:   slices.Clone(c.DNS.Listen),
		Version:  c.DNS.Version,
		Hostname: c.DNS.Hostname,
		Limits: dnsd.Limits{
			UDPWorkers:   c.DNS.UDPSockets,
			TCPClients:   c.DNS.MaxTCP,
			TCPPerClient: c.DNS.MaxTCPPerClient,
			TCPIdle:      c.DNS.TCPIdle,
			Transfers:    c.DNS.MaxTransfers,
		},
	}
}

// FirstReporter names the reporter of reports that name none; nothing when
// there is none.
func (c *Config) FirstReporter() string {
	if len(c.Reporters) == 0 {
		return ""
	}
	return c.Reporters[0].Name
}

// LogLevel returns the least level that is logged.
func (c *Config) LogLevel() slog.Level {
	level, _ := c.Log.level()
	return level
}

func (l *Log) level() (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[l.Level]
	if !ok {
		return slog.LevelInfo, fmt.Errorf("%s is no level; write debug, info, warn or error", quote(l.Level))
	}
	return level, nil
}
