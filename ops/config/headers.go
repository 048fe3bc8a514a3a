package config

import (
	"time"

	"backscatter/listing"
)

// Headers says whether the headers of reports are kept.
type Headers struct {
	Keep time.Duration `key:"keep" doc:"How long: 720h is 30 days, 8760h the most. 0s keeps none, and drops what there is."`
	Size int           `key:"size" doc:"Octets that they take at most, all together. With more, the oldest go."`
}

func defaultHeaders() Headers { return Headers{Size: 256 << 20} }

// mostHeaderSize is 64 GiB.
const mostHeaderSize = 64 << 30

func (h Headers) validate(p *problems, key string) {
	validateDuration(p, key+".keep", h.Keep, 0, 365*day)
	validateCount(p, key+".size", h.Size, 2*listing.MaxHeader, mostHeaderSize)
}

func (h Headers) listing() listing.KeepHeaders {
	return listing.KeepHeaders{For: h.Keep, Bytes: int64(h.Size)}
}
