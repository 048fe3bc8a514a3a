package control

import (
	"context"
	"net/http"
	"net/url"

	"backscatter/listing"
)

// HeadersPage holds the headers that are kept of the newest reports of a key.
type HeadersPage struct {
	Key     listing.Key      `json:"key"`
	Keeping bool             `json:"keeping"` // whether the configuration has headers kept
	Headers []listing.Header `json:"headers"` // newest first
}

func (s *Server) headers(r *http.Request) (any, error) {
	text := r.FormValue("key")
	if text == "" {
		return nil, badRequest("show: no address is named")
	}
	key, err := listing.ParseKey(text)
	if err != nil {
		return nil, err
	}
	page := HeadersPage{Key: key, Keeping: s.Store.Settings().Headers.For > 0, Headers: []listing.Header{}}
	if page.Keeping { // else there may be some still, which the writer drops in its own time
		page.Headers, err = s.Store.Headers(key)
	}
	return page, err
}

// Headers asks for the headers that are kept of the reports of an address.
func (c *Client) Headers(ctx context.Context, key string) (HeadersPage, error) {
	var out HeadersPage
	return out, c.get(ctx, "headers", url.Values{"key": {key}}, &out)
}
