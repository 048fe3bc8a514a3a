package control

import (
	"context"
	"fmt"
	"net/http"

	"backscatter/listing"
	"backscatter/zonefile"
)

// AcceptRequest publishes what the brake of an export holds.
type AcceptRequest struct {
	Order
	Zone string `json:"zone,omitempty"` // empty: of all
}

// AcceptResult tells what was published, or would be.
type AcceptResult struct {
	DryRun       bool                   `json:"dry_run,omitempty"`
	Held         []Export               `json:"held"` // before
	Publications []zonefile.Publication `json:"publications"`
}

func (s *Server) acceptExport(r *http.Request) (any, error) {
	var q AcceptRequest
	if err := decode(r, &q); err != nil {
		return nil, err
	}
	if s.Accept == nil {
		return nil, badRequest("export accept: no daemon is running, so there is nothing that it holds")
	}
	if q.Zone != "" {
		if _, err := s.zone(q.Zone); err != nil {
			return nil, err
		}
	}
	o, err := s.order(r, q.Order, 1)
	if err != nil {
		return nil, err
	}
	out := AcceptResult{DryRun: q.DryRun, Held: []Export{}, Publications: []zonefile.Publication{}}
	for _, e := range s.Status().Exports {
		if e.Held && (q.Zone == "" || sameName(e.Zone, q.Zone)) {
			out.Held = append(out.Held, e)
		}
	}
	if q.DryRun || len(out.Held) == 0 {
		return out, nil
	}
	if err := s.Store.Note(r.Context(), o, listing.ActionAccept, map[string][]Export{"held": out.Held}); err != nil {
		return nil, err
	}
	out.Publications, err = s.Accept(q.Zone)
	if err != nil {
		return nil, fmt.Errorf("publish what was held: %w", err)
	}
	return out, nil
}

// AcceptExport publishes what the brake of an export holds.
func (c *Client) AcceptExport(ctx context.Context, r AcceptRequest) (AcceptResult, error) {
	var out AcceptResult
	return out, c.send(ctx, "export/accept", r, &out)
}
