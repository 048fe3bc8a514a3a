package config

import (
	"reflect"
	"slices"
	"time"

	"backscatter/listing"
)

// Changed names the keys that differ between two configurations, in the order
// of the reference.
func Changed(before, after *Config) []string {
	var keys []string
	compare(schema(), reflect.ValueOf(*before), reflect.ValueOf(*after), func(f *field) {
		keys = append(keys, f.path)
	})
	return slices.Clip(keys)
}

// FirstReporter names the reporter of reports that name none; nothing when
// there is none.
func (c *Config) FirstReporter() string {
	if len(c.Reporters) == 0 {
		return ""
	}
	return c.Reporters[0].Name
}

// PolicyFrom writes a listing policy as configuration.
func PolicyFrom(p listing.Policy) Policy { return policyFrom(p) }

// ParseDuration reads a duration as the configuration writes it: Go's form,
// with whole weeks and days before it if there are any (7d, 1w12h). A number
// without a unit is refused.
func ParseDuration(text string) (time.Duration, error) { return parseDuration(text) }
