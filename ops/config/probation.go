package config

import (
	"time"

	"backscatter/listing"
)

// Probation is what a reporter that is enrolled by command counts for at first.
type Probation struct {
	Factor        float64       `key:"factor" doc:"What its weight is multiplied by meanwhile."`
	For           time.Duration `key:"for" doc:"How long it lasts at most. 0s is no probation."`
	Organisations int           `key:"organisations" doc:"How many organisations that are past theirs, beside its own, must report a source for that to be confirmed."`
	Sources       int           `key:"sources" doc:"How many of the sources that it reported, before they were listed, must be confirmed so that it ends sooner."`
}

func (b Probation) validate(p *problems, key string) {
	blame(p, key, &b, listing.Probation(b).Validate())
}
