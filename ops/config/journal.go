package config

import (
	"time"

	"backscatter/listing"
)

// Commit says how observations share commits.
type Commit struct {
	Wait time.Duration `key:"wait" doc:"How long the first of the reports that come at once waits for others to share its commit, at most; longer, for disks that are slow to sync; 0s: none waits. The histogram backscatter_store_wait_seconds tells how long reports wait in all."`
}

// Journal says how much of what was published is kept.
type Journal struct {
	Keep    time.Duration `key:"keep" doc:"How long each change is kept at least. Secondaries and mirrors that are further behind get the whole list, and the past of an answer is known from the journal so far back."`
	Serials int           `key:"serials" doc:"How many of the newest changes are kept beyond that, however old."`
}

func defaultJournal() Journal { return Journal{Keep: 30 * day} }

func (j Journal) validate(p *problems, key string) {
	validateDuration(p, key+".keep", j.Keep, time.Minute, 3650*day)
	validateCount(p, key+".serials", j.Serials, 0, 1_000_000)
}

func (j Journal) listing() listing.Keep { return listing.Keep{For: j.Keep, Serials: j.Serials} }
