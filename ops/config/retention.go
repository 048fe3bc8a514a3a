package config

import (
	"time"

	"backscatter/listing"
)

// Retention says how long the store remembers.
type Retention struct {
	Observations time.Duration `key:"observations" doc:"How long an observation is kept after it came, and after the last listing of its address ended; no shorter than policy.window and headers.keep. When it was listed is known as long as policy.memory and policy.relapse ask, and what identifies a report for a year at least."`
	Audit        time.Duration `key:"audit" doc:"How long it is kept who did what, and why: no shorter than observations."`
}

func (r Retention) listing() listing.Retention { return listing.Retention(r) }

func (c *Config) validateRetention(p *problems) {
	r, least := c.Retention, max(c.Policy.Window, c.Headers.Keep)
	validateDuration(p, "retention.observations", r.Observations, time.Minute, 3650*day)
	validateDuration(p, "retention.audit", r.Audit, time.Minute, 3650*day)
	if p.sound("retention") && p.sound("policy.window") && p.sound("headers.keep") && r.Observations < least {
		p.add("retention.observations", "%s is shorter than policy.window (%s) or headers.keep (%s); what counts or is kept of an observation goes with it",
			formatDuration(r.Observations), formatDuration(c.Policy.Window), formatDuration(c.Headers.Keep))
	}
	if p.sound("retention") && r.Audit < r.Observations {
		p.add("retention.audit", "%s is shorter than retention.observations (%s); the audit tells why they listed",
			formatDuration(r.Audit), formatDuration(r.Observations))
	}
}
