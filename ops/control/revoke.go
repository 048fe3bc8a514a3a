package control

import (
	"context"
	"net/http"

	"backscatter/listing"
)

// RevokeRequest withdraws observations.
type RevokeRequest struct {
	Order
	listing.Revocation
}

// Withdrawn is what a revocation did beside what it changed in the list.
type Withdrawn struct {
	Observations int `json:"observations"`
	Keys         int `json:"keys"`  // that they were about
	Ended        int `json:"ended"` // listings
}

func (s *Server) revoke(r *http.Request) (any, error) {
	var q RevokeRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if err := q.Validate(); err != nil {
		return nil, badRequest("revoke: %w", err)
	}
	o, err := s.order(r, q.Order, 1)
	if err != nil {
		return nil, err
	}
	w, err := s.Store.Revoke(r.Context(), o, q.Revocation)
	if err != nil {
		return nil, err
	}
	out := orderResult(w.Keys, w.Result)
	out.Withdrawn = &Withdrawn{Observations: w.Observations, Keys: w.Keys, Ended: w.Ended}
	return out, nil
}

// Revoke withdraws observations.
func (c *Client) Revoke(ctx context.Context, r RevokeRequest) (OrderResult, error) {
	return c.order(ctx, "revoke", r)
}
