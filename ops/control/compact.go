package control

import (
	"context"
	"net/http"

	"backscatter/listing"
)

// compact writes the store anew while it is in use, and tells how far it is.
// Whoever goes away breaks it off.
func (s *Server) compact(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxOrderBytes)
	var q Order
	err := decode(r, &q)
	var o listing.Order
	if err == nil {
		o, err = s.order(r, q, 1)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	stream(s, w, r, func(_ func(struct{}) error, progress func(done, total uint64)) (listing.Compacted, error) {
		return s.Store.Compact(r.Context(), o, func(done, total int64) { progress(uint64(done), uint64(total)) })
	})
}

// Compact has the store written anew, without the space that is free in it.
func (c *Client) Compact(ctx context.Context, o Order, progress func(Progress)) (listing.Compacted, error) {
	return follow[struct{}, listing.Compacted](ctx, c, "compact", o, nil, progress)
}
