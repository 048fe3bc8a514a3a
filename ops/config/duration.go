package config

import (
	"errors"
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

// longDuration matches whole weeks and days before Go's own form: 1w2d3h.
var longDuration = regexp.MustCompile(`^(?:(\d{1,3})w)?(?:(\d{1,4})d)?(.*)$`)

var errNoUnit = errors.New("no unit")

// parseDuration reads Go's form (1h30m), with whole weeks and days before it
// if there are any (7d, 1w12h). A number alone is refused: nobody can know what
// its writer meant.
func parseDuration(text string) (time.Duration, error) {
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, errNoUnit
	}
	m := longDuration.FindStringSubmatch(text)
	if m == nil || m[1] == "" && m[2] == "" {
		return time.ParseDuration(text)
	}
	var total time.Duration
	for i, unit := range []time.Duration{week, day} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return 0, err
		}
		total += time.Duration(n) * unit
	}
	if m[3] == "" {
		return total, nil
	}
	if strings.ContainsAny(m[3], "+-") {
		return 0, fmt.Errorf("sign inside %q", text)
	}
	rest, err := time.ParseDuration(m[3])
	if err != nil || rest > 1<<62 {
		return 0, fmt.Errorf("no duration: %q", text)
	}
	return total + rest, nil
}

// formatDuration writes what parseDuration reads, without the zeros of Go's
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
