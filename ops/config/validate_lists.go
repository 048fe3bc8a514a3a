package config

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/zonefile"
)

// reporterName is what a reporter may be called: its name goes into orders,
// log lines and file names.
var reporterName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Relays wider than these are a slip: whoever is in them is believed, and
// never accused.
const (
	minRelayBits4 = 8
	minRelayBits6 = 7
)

func (c *Config) validateZones(p *problems) {
	if len(c.Zones) == 0 {
		p.add("zones", "is empty; name at least one zone")
	}
	known := map[string]int{}
	for i := range c.Zones {
		z, key := &c.Zones[i], fmt.Sprintf("zones[%d]", i)
		if z.Name == "" {
			p.add(key+".name", "is empty; write the name of the zone")
			continue
		}
		z.validate(p, key)
		if first, twice := known[zoneName(z.Name)]; twice {
			p.add(key+".name", "%s is the zone of zones[%d]%s too; keep one", quote(z.Name), first,
				p.origin(fmt.Sprintf("zones[%d].name", first)).inLine())
			continue
		}
		known[zoneName(z.Name)] = i
	}
	for i := range c.Zones {
		key := fmt.Sprintf("zones[%d]", i)
		outer, ok := outerZone(known, zoneName(c.Zones[i].Name))
		if !ok || !p.sound(key) || !p.sound(fmt.Sprintf("zones[%d]", outer)) {
			continue
		}
		if _, err := zonefile.NewSet(c.Zones[outer].zone(), c.Zones[i].zone()); err != nil {
			p.add(key+".name", "%s", strings.TrimPrefix(err.Error(), "zone "))
		}
	}
}

// outerZone returns the index of the nearest zone that the name lies in.
func outerZone(known map[string]int, name string) (int, bool) {
	for {
		_, parent, ok := strings.Cut(name, ".")
		if !ok || parent == "" {
			return 0, false
		}
		if i, ok := known[parent]; ok {
			return i, true
		}
		name = parent
	}
}

func (z *Zone) validate(p *problems, key string) {
	// Zero means the default to package zonefile; here it was written.
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"ttl", z.TTL}, {"negative_ttl", z.NegativeTTL}, {"refresh", z.Refresh}, {"retry", z.Retry}, {"expire", z.Expire}} {
		if d.value <= 0 {
			p.add(key+"."+d.key, "%s is no time to keep anything; write one like 5m", formatDuration(d.value))
		}
	}
	for i, class := range z.Classes {
		if slices.Contains(z.Classes[:i], class) {
			p.add(fmt.Sprintf("%s.classes[%d]", key, i), "%s is there twice; keep one", class)
		}
	}
	blame(p, key, z, z.zone().Validate())
}

func (c *Config) validateReporters(p *problems) {
	known := map[string]int{}
	for i := range c.Reporters {
		r, key := &c.Reporters[i], fmt.Sprintf("reporters[%d]", i)
		r.validate(p, key)
		if first, twice := known[r.Name]; twice {
			p.add(key+".name", "%s is the name of reporters[%d]%s too; choose another", quote(r.Name), first,
				p.origin(fmt.Sprintf("reporters[%d].name", first)).inLine())
			continue
		}
		known[r.Name] = i
	}
	if len(known) == 0 && c.Intake.SMTP.Listen != "" && p.sound("reporters") {
		p.add("reporters", "is empty, and the SMTP trap needs one; define a reporter")
		return
	}
	c.Intake.validateSensors(p, known, c.reporterNames())
}

func (c *Config) reporterNames() string {
	names := make([]string, len(c.Reporters))
	for i, r := range c.Reporters {
		names[i] = r.Name
	}
	return cut(strings.Join(names, ", "))
}

func (r *Reporter) validate(p *problems, key string) {
	if !reporterName.MatchString(r.Name) {
		p.add(key+".name", "%s is no name for a reporter; write at most 63 lower-case letters, digits, dots and hyphens, like example-org", quote(r.Name))
	}
	validateText(p, key+".organisation", r.Organisation, 255)
	if r.Weight <= 0 || r.Weight > listing.MaxReporterWeight || math.IsNaN(r.Weight) {
		p.add(key+".weight", "%v is out of range; write more than 0, and %d at most", r.Weight, listing.MaxReporterWeight)
	}
	for i, relay := range r.Relays {
		least := minRelayBits6
		if relay.Addr().Is4() {
			least = minRelayBits4
		}
		if relay.IsValid() && relay.Bits() < least {
			p.add(fmt.Sprintf("%s.relays[%d]", key, i), "%s is wider than /%d, and all hosts in it would be believed; write the relays alone", relay, least)
		}
	}
	validateApart(p, key+".relays", r.Relays, "")
}

func (c *Config) validateTraps(p *problems) {
	known := map[string]int{}
	for i := range c.Traps {
		t, key := &c.Traps[i], fmt.Sprintf("traps[%d]", i)
		t.validate(p, key)
		name := strings.ToLower(strings.TrimSuffix(t.Domain+t.Address, "."))
		if first, twice := known[name]; twice {
			p.add(key, "%s is traps[%d]%s too; keep one", quote(name), first, p.origin(fmt.Sprintf("traps[%d]", first)).inLine())
			continue
		}
		known[name] = i
	}
}

func (t *Trap) validate(p *problems, key string) {
	if !p.sound(key) {
		return
	}
	if _, err := evidence.NewTraps([]evidence.Trap{evidence.Trap(*t)}); err != nil {
		text := strings.TrimPrefix(leavesOf(err)[0].Error(), "trap 1: ")
		p.add(key, "%s", strings.TrimSuffix(text, ": "+evidence.ErrTrap.Error()))
		return
	}
	domain := t.Domain
	if t.Address != "" {
		domain = t.Address[strings.LastIndexByte(t.Address, '@')+1:]
	}
	if !isHostname(domain) {
		p.add(key, "%s is no domain name; write one like trap.example (other scripts in their xn-- form)", quote(domain))
	}
}

func (c *Config) validateExempt(p *problems) {
	prefixes := make([]netip.Prefix, len(c.Exempt))
	for i, e := range c.Exempt {
		prefixes[i] = e.Prefix
		if strings.TrimSpace(e.Reason) == "" {
			p.add(fmt.Sprintf("exempt[%d].reason", i), "is empty; write why, for the next operator")
		}
		validateText(p, fmt.Sprintf("exempt[%d].reason", i), e.Reason, 1000)
	}
	validateApart(p, "exempt", prefixes, ".prefix")
}

func (c *Config) validateExports(p *problems) {
	zones := map[string]bool{}
	for _, z := range c.Zones {
		zones[zoneName(z.Name)] = true
	}
	known := map[string]int{}
	for i := range c.Exports {
		e, key := &c.Exports[i], fmt.Sprintf("exports[%d]", i)
		e.validate(p, key)
		if !zones[zoneName(e.Zone)] && p.sound("zones") {
			p.add(key+".zone", "%s is not defined; add it to zones, or write one of them", quote(e.Zone))
		}
		place := filepath.Clean(e.Dir)
		if first, twice := known[place]; twice {
			p.add(key, "writes the folder of exports[%d]%s too; give each one of its own, for its MANIFEST", first, p.origin(fmt.Sprintf("exports[%d]", first)).inLine())
			continue
		}
		known[place] = i
	}
}

func (e *Export) validate(p *problems, key string) {
	if strings.TrimSpace(e.Dir) == "" {
		p.add(key+".dir", "is empty; write a folder")
	}
	if len(e.Formats) == 0 {
		p.add(key+".formats", "is empty; write at least one format")
	}
	for i, name := range e.Formats {
		at := fmt.Sprintf("%s.formats[%d]", key, i)
		if _, err := zonefile.ParseFormat(string(name)); err != nil {
			p.add(at, "%s", strings.TrimPrefix(err.Error(), "format "))
		}
		if slices.Contains(e.Formats[:i], name) {
			p.add(at, "%s is there twice; keep one", name)
		}
	}
	if e.Brake < 0 || e.Brake > 100 {
		p.add(key+".brake", "%v is out of range; write 0 to 100", e.Brake)
	}
	if e.PassphraseFile != "" && e.Key == "" {
		p.add(key+".passphrase_file", "is for no key; set key too")
	}
	validateDuration(p, key+".every", e.Every, time.Second, day)
}
