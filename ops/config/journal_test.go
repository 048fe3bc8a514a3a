package config_test

import (
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/ops/config"
)

func TestJournal(t *testing.T) {
	t.Parallel()
	env := []string{"HOME=/home/op"}
	for text, want := range map[string]listing.Keep{
		"":                                  {For: 720 * time.Hour},
		"journal: {keep: 48h}":              {For: 48 * time.Hour},
		"journal: {keep: 1h, serials: 500}": {For: time.Hour, Serials: 500},
	} {
		c, err := config.Parse("bl.yaml", []byte(text), env)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := c.ListingSettings(); err != nil || s.Journal != want {
			t.Errorf("%q: %+v, %v, want %+v", text, s.Journal, err, want)
		}
	}
	_, err := config.Parse("bl.yaml", []byte("journal: {keep: 1s, serials: -1}"), env)
	if err == nil || !strings.Contains(err.Error(), "journal.keep: 1s is out of range") || !strings.Contains(err.Error(), "journal.serials: -1 is out of range") {
		t.Errorf("bad: %v", err)
	}
}

func TestCommitWait(t *testing.T) {
	t.Parallel()
	env := []string{"HOME=/home/op"}
	for text, want := range map[string]time.Duration{"": 2 * time.Millisecond, "commit: {wait: 50ms}": 50 * time.Millisecond, "commit: {wait: 0s}": 0} {
		c, err := config.Parse("bl.yaml", []byte(text), env)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := c.ListingSettings(); err != nil || s.GroupWait != want {
			t.Errorf("%q: %s, %v, want %s", text, s.GroupWait, err, want)
		}
	}
	if _, err := config.Parse("bl.yaml", []byte("commit: {wait: 2s}"), env); err == nil || !strings.Contains(err.Error(), "commit.wait: 2s is out of range; write 0s to 1s") {
		t.Errorf("bad: %v", err)
	}
}
