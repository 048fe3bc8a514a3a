package config

import (
	"fmt"
	"strings"
)

// Warnings tells what is allowed and most likely not wanted, for `config
// check`, `status` and the log at the start.
func (c *Config) Warnings() []string {
	var out []string
	warn := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, p := range c.Policy.Listable {
		warn("policy.listable opens special-purpose space: %s can be listed; for labs only", p)
	}
	c.warnEvidence(warn)
	for _, z := range c.Zones {
		if name := zoneName(z.Name); name == "example." || strings.HasSuffix(name, ".example.") {
			warn("zones: %s is a name for examples and cannot be reached by delegation; set the name of your own", z.Name)
		}
		if z.NegativeTTL > day || z.TTL > day {
			warn("zones: %s lets resolvers keep answers for more than a day, so listings and removals are seen late", z.Name)
		}
	}
	if zones, err := c.ZoneSet(); err == nil {
		for _, z := range zones.All() {
			for _, ns := range z.Unreachable() {
				warn("zones: name server %s lies in the zone and has no address, so no resolver can find it; set apex.addresses of %s", ns, strings.TrimSuffix(z.Name, "."))
			}
		}
	}
	for _, name := range c.strangers {
		warn("%s in the environment names no key of the configuration and is ignored", name)
	}
	return out
}

// warnEvidence warns of a policy that what is configured can never satisfy.
func (c *Config) warnEvidence(warn func(format string, args ...any)) {
	if len(c.Traps) == 0 && len(c.Guarded) == 0 {
		warn("traps: none are configured, so nothing will be listed but by an operator")
		return
	}
	domains, organisations := map[string]bool{}, map[string]bool{}
	for _, t := range c.Traps {
		domain := t.Domain
		if domain == "" {
			domain = t.Address[strings.LastIndexByte(t.Address, '@')+1:]
		}
		domains[zoneName(domain)] = true
	}
	for _, g := range c.Guarded { // what is proven by their marks counts as a trap domain
		for _, domain := range g.Domains {
			domains[zoneName(domain)] = true
		}
	}
	for _, r := range c.Reporters {
		organisations[r.Organisation] = true
	}
	if need := c.Policy.TrapDomains; len(domains) < need {
		warn("policy.trap_domains wants %d and traps has %d, so evidence lists nothing; add traps, or set policy.profile to solo", need, len(domains))
	}
	// One organisation alone suffices with level A on two trap domains.
	if need := c.Policy.Organisations; len(organisations) < need && (len(domains) < 2 || c.Intake.SMTP.Listen == "") {
		warn("policy.organisations wants %d and reporters has %d, so evidence lists nothing; add reporters, or set policy.profile to solo", need, len(organisations))
	}
}
