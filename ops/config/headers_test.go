package config_test

import (
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/ops/config"
)

func TestHeaders(t *testing.T) {
	t.Parallel()
	env := []string{"HOME=/home/op"}
	for text, want := range map[string]listing.KeepHeaders{
		"":                                     {Bytes: 256 << 20},
		"headers: {keep: 720h}":                {For: 720 * time.Hour, Bytes: 256 << 20},
		"headers: {keep: 24h, size: 10000000}": {For: 24 * time.Hour, Bytes: 10_000_000},
	} {
		c, err := config.Parse("bl.yaml", []byte(text), env)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := c.ListingSettings(); err != nil || s.Headers != want || s.Validate() != nil {
			t.Errorf("%q: %+v, %v, want %+v", text, s.Headers, err, want)
		}
		judging, err := c.JudgeConfig([32]byte{})
		if err != nil || judging.Headers != (want.For > 0) {
			t.Errorf("%q: the judge keeps headers: %t, %v", text, judging.Headers, err)
		}
	}
	_, err := config.Parse("bl.yaml", []byte("headers: {keep: 8761h, size: 100}"), env)
	if err == nil || !strings.Contains(err.Error(), "headers.keep: 365d1h is out of range") && !strings.Contains(err.Error(), "headers.keep: 8761h is out of range") || !strings.Contains(err.Error(), "headers.size: 100 is out of range") {
		t.Errorf("bad: %v", err)
	}
}
