package control

import (
	"context"
	"net/http"
)

// ResumeRequest lifts the brakes.
type ResumeRequest struct {
	Order
}

func (s *Server) resume(r *http.Request) (any, error) {
	var q ResumeRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	o, err := s.order(r, q.Order, 1)
	if err != nil {
		return nil, err
	}
	result, err := s.Store.Resume(r.Context(), o)
	return orderResult(len(result.Added), result), err
}

// Resume lifts the brakes, and lists what evidence says now.
func (c *Client) Resume(ctx context.Context, r ResumeRequest) (OrderResult, error) {
	return c.order(ctx, "resume", r)
}

// DecommissionRequest ends the list, or with Undo brings it back.
type DecommissionRequest struct {
	Order
	Undo bool `json:"undo,omitempty"`
}

func (s *Server) decommission(r *http.Request) (any, error) {
	var q DecommissionRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	o, err := s.order(r, q.Order, 1)
	if err != nil {
		return nil, err
	}
	result, err := s.Store.Decommission(r.Context(), o, q.Undo)
	return orderResult(len(result.Added)+len(result.Removed), result), err
}

// Decommission ends the list, or brings it back.
func (c *Client) Decommission(ctx context.Context, r DecommissionRequest) (OrderResult, error) {
	return c.order(ctx, "decommission", r)
}
