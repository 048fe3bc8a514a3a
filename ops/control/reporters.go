package control

import (
	"context"
	"net/http"
	"net/netip"

	"backscatter/listing"
)

// ReportersPage holds all reporters, those of the configuration included.
type ReportersPage struct {
	Reporters []listing.Enrolment `json:"reporters"`
}

// ReporterRequest changes one reporter. What it is to be is in the path:
// enrol, suspend, reinstate, weigh, add-key, remove-key or relays.
type ReporterRequest struct {
	Order
	Name         string  `json:"name"`
	Organisation string  `json:"organisation,omitempty"`
	Weight       float64 `json:"weight,omitempty"`

	Key    []byte         `json:"key,omitempty"`    // public, of Ed25519: to add, or of one to enrol
	KeyID  listing.ID     `json:"key_id,omitzero"`  // of the key to remove
	Relays []netip.Prefix `json:"relays,omitempty"` // of one to enrol, or all that it has from then on
}

// reporterActions are the orders about a reporter.
var reporterActions = []string{
	listing.ActionEnrol, listing.ActionSuspend, listing.ActionReinstate, listing.ActionWeigh,
	listing.ActionAddKey, listing.ActionRemoveKey, listing.ActionRelays,
}

func (s *Server) handleReporters() {
	s.get("/v1/reporters", func(*http.Request) (any, error) {
		all, err := s.Store.Reporters()
		return ReportersPage{all}, err
	})
	for _, action := range reporterActions {
		s.post("/v1/reporter/"+action, func(r *http.Request) (any, error) {
			var q ReporterRequest
			if err := decode(r, &q); err != nil {
				return nil, err
			}
			o, err := s.order(r, q.Order, 1)
			if err != nil {
				return nil, err
			}
			return s.Store.Reporter(r.Context(), listing.ReporterOrder{
				Order: o, Action: action, Name: q.Name, Organisation: q.Organisation, Weight: q.Weight,
				Key: q.Key, KeyID: q.KeyID, Relays: q.Relays,
			})
		})
	}
}

// Reporters asks for all reporters.
func (c *Client) Reporters(ctx context.Context) (ReportersPage, error) {
	var out ReportersPage
	return out, c.get(ctx, "reporters", nil, &out)
}

// Reporter changes one reporter, by one of the actions of [listing.ReporterOrder],
// and returns how it is then.
func (c *Client) Reporter(ctx context.Context, action string, r ReporterRequest) (listing.Enrolment, error) {
	var out listing.Enrolment
	return out, c.send(ctx, "reporter/"+action, r, &out)
}
