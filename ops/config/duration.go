package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// longDuration matches whole weeks and days before Go's own form: 1w2d3h. What
// it takes cannot overflow.
var longDuration = regexp.MustCompile(`^(?:(\d{1,3})w)?(?:(\d{1,4})d)?(.*)$`)

// ParseDuration reads a duration as the configuration writes it: Go's form
// (1h30m), with whole weeks and days before it if there are any (7d, 1w12h). A
// number alone is refused: nobody can know what its writer meant.
func ParseDuration(text string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("%s has no unit; write a duration like %s", quote(text), durationExamples)
	}
	var long time.Duration
	short := text
	if m := longDuration.FindStringSubmatch(text); m != nil && m[1]+m[2] != "" {
		long = units(m[1], week) + units(m[2], day)
		if short = m[3]; short == "" {
			return long, nil
		}
	}
	rest, err := time.ParseDuration(short)
	if err != nil || rest > 1<<62 || long > 0 && strings.ContainsAny(short, "+-") {
		return 0, fmt.Errorf("%s is no duration; write one like %s", quote(text), durationExamples)
	}
	return long + rest, nil
}

const durationExamples = "90s, 10m, 24h or 7d"

// units returns as many of a unit as the digits say.
func units(digits string, unit time.Duration) time.Duration {
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0 // none were written
	}
	return time.Duration(n) * unit
}

// formatDuration writes what ParseDuration reads, without the zeros of Go's
// own form: 168h rather than 168h0m0s.
func formatDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
