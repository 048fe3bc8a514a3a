package config_test

import (
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/ops/config"
)

func TestRetention(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]listing.Retention{
		"":                               {Observations: 365 * day, Audit: 730 * day},
		"retention: {observations: 30d}": {Observations: 30 * day, Audit: 730 * day},
		"retention: {observations: 720h, audit: 720h}": {Observations: 30 * day, Audit: 30 * day},
	} {
		c, err := config.Parse("bl.yaml", []byte(text), home)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := c.ListingSettings(); err != nil || s.Retention != want {
			t.Errorf("%q: %+v, %v, want %+v", text, s.Retention, err, want)
		}
	}
	checkBad(t, []badCase{
		{"too short", "retention: {observations: 5s, audit: 99999h}\n", []string{
			`bl.yaml:1: retention.observations: 5s is out of range; write 1m to 87600h`,
			`bl.yaml:1: retention.audit: 99999h is out of range; write 1m to 87600h`,
		}},
		{"shorter than what counts", "policy: {window: 720h}\nretention: {observations: 168h}\n", []string{
			`bl.yaml:2: retention.observations: 168h is shorter than policy.window (720h) or headers.keep (0s); what counts or is kept of an observation goes with it`,
		}},
		{"shorter than headers", "headers: {keep: 720h}\nretention: {observations: 168h}\n", []string{
			`bl.yaml:2: retention.observations: 168h is shorter than policy.window (168h) or headers.keep (720h); what counts or is kept of an observation goes with it`,
		}},
		{"an audit shorter than what it explains", "retention: {audit: 720h}\n", []string{
			`bl.yaml:1: retention.audit: 720h is shorter than retention.observations (8760h); the audit tells why they listed`,
		}},
		{"factors", "policy: {direct: -1, relapse_factor: 0, delivered_factor: 1.5}\n", []string{
			`bl.yaml:1: policy.direct: -1: want 0 to 1000000`,
			`bl.yaml:1: policy.relapse_factor: 0: want 0.01 to 1`,
			`bl.yaml:1: policy.delivered_factor: 1.5: want 0 to 1`,
		}},
	})
}
