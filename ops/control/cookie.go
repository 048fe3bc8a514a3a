package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// CookieStep is a step of a change of the secret of DNS cookies (RFC 9018 §5).
type CookieStep string

// The steps, in their order.
const (
	CookieStaged    CookieStep = "staged"    // cookies made with the new secret are good
	CookieActivated CookieStep = "activated" // cookies are made with it
	CookieDropped   CookieStep = "dropped"   // those made with the old one are good no more
)

// CookieResult says which step was taken.
type CookieResult struct {
	Step   CookieStep `json:"step"`
	File   string     `json:"file"`
	DryRun bool       `json:"dry_run,omitempty"`
	// Early is until when the step is too early, if it is.
	Early time.Time `json:"early,omitzero"`
}

// rollCookies takes the next step of a change of the secret.
func (s *Server) rollCookies(r *http.Request) (any, error) {
	if s.RollCookies == nil {
		return nil, badRequest("roll cookies: this server answers no DNS")
	}
	var q Order
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	o, err := s.order(r, q, 1)
	if err != nil {
		return nil, err
	}
	return s.RollCookies(r.Context(), o, time.Now())
}

// RollCookies has the next step of a change of the secret of DNS cookies taken.
func (c *Client) RollCookies(ctx context.Context, o Order) (CookieResult, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return CookieResult{}, fmt.Errorf("roll cookies: %w", err)
	}
	var out CookieResult
	return out, c.post(ctx, "cookie/roll", nil, bytes.NewReader(body), &out)
}
