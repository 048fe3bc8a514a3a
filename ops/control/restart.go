package control

import (
	"context"
	"net/http"
)

// restart begins a restart in place. Its answer comes before the end of this life.
func (s *Server) restart(r *http.Request) (any, error) {
	if s.Restart == nil {
		return nil, badRequest("restart: no daemon is running, so there is nothing to restart")
	}
	return struct{}{}, s.Restart(r.Context(), actorOf(r.Context()))
}

// Restart asks the daemon to be executed anew, with its DNS sockets. It has only
// begun when this returns.
func (c *Client) Restart(ctx context.Context) error {
	return c.post(ctx, "restart", nil, http.NoBody, &struct{}{})
}
