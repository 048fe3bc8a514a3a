package control

import (
	"context"
	"net/http"
	"net/netip"

	"backscatter/listing"
)

// TryRequest is a configuration to be tried. What is null is as in force.
type TryRequest struct {
	Policy    *listing.Policy     `json:"policy"`
	Listable  []netip.Prefix      `json:"listable"`
	BuiltIn   []listing.Exemption `json:"built_in"`
	Reporters []listing.Reporter  `json:"reporters"`
	Probation *listing.Probation  `json:"probation"`
}

// over returns the settings with what the request puts in their place.
func (q TryRequest) over(s listing.Settings) listing.Settings {
	if q.Policy != nil {
		s.Policy = *q.Policy
	}
	if q.Listable != nil {
		s.Listable = q.Listable
	}
	if q.BuiltIn != nil {
		s.BuiltIn = q.BuiltIn
	}
	if q.Reporters != nil {
		s.Reporters = q.Reporters
	}
	if q.Probation != nil {
		s.Probation = *q.Probation
	}
	return s
}

// try streams the fates of all keys.
func (s *Server) try(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxOrderBytes)
	var q TryRequest
	if err := decode(r, &q); err != nil {
		writeError(w, err)
		return
	}
	settings := q.over(s.Store.Settings())
	if err := settings.Validate(); err != nil {
		writeError(w, badRequest("try a policy: %w", err))
		return
	}
	stream(s, w, r, func(tell func(listing.Trial) error, progress func(done, total uint64)) (listing.TrialSummary, error) {
		return s.Store.Try(r.Context(), settings, tell, progress)
	})
}

// Try asks who would come, go and stay under another configuration. It calls visit
// with each, and progress now and then.
func (c *Client) Try(ctx context.Context, q TryRequest, visit func(listing.Trial) error, progress func(Progress)) (listing.TrialSummary, error) {
	return follow[listing.Trial, listing.TrialSummary](ctx, c, "policy/try", q, visit, progress)
}
