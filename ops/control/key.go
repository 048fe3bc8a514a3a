package control

import (
	"context"
	"net/http"
)

// rotateKey makes a new key under which recipients are hashed.
func (s *Server) rotateKey(r *http.Request) (any, error) {
	if s.RotateKey == nil {
		return nil, badRequest("rotate key: this server has no key")
	}
	var q Order
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	o, err := s.order(r, q, 1)
	if err != nil {
		return nil, err
	}
	return struct{}{}, s.RotateKey(r.Context(), o)
}

// RotateKey has a new key made under which recipients are hashed.
func (c *Client) RotateKey(ctx context.Context, o Order) error {
	var out struct{}
	return c.send(ctx, "key/rotate", o, &out)
}
