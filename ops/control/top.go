package control

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Bounds of what a watch over the questions may take.
const (
	topDefault = 10 * time.Second
	topLongest = 10 * time.Minute
	topMost    = 1000
)

// Frequent is how often an address was seen.
type Frequent struct {
	Address string `json:"address"`
	Count   uint64 `json:"count"`          // at least so often as that it was seen
	Over    uint64 `json:"over,omitempty"` // by how much count may be too high
}

// Top is who asked most over DNS, and for what, while it was watched.
type Top struct {
	For     Duration          `json:"for"`
	Answers uint64            `json:"answers"`
	Kinds   map[string]uint64 `json:"kinds"`   // what was asked about
	Clients []Frequent        `json:"clients"` // who asked
	Listed  []Frequent        `json:"listed"`  // listed addresses that were asked for
}

// top watches what is asked, for the time that the request says.
func (s *Server) top(r *http.Request) (any, error) {
	if s.Top == nil {
		return nil, badRequest("top: this server answers no DNS")
	}
	length, most := topDefault, 20
	var err, errMost error
	if v := r.URL.Query().Get("for"); v != "" {
		length, err = time.ParseDuration(v)
	}
	if v := r.URL.Query().Get("most"); v != "" {
		most, errMost = strconv.Atoi(v)
	}
	if errors.Join(err, errMost) != nil || length <= 0 || length > topLongest || most < 1 || most > topMost {
		return nil, badRequest("top: want a time up to %s, and a number from 1 to %d", topLongest, topMost)
	}
	return s.Top(r.Context(), length, most)
}

// Top watches what is asked over DNS for a time, and returns the most frequent.
func (c *Client) Top(ctx context.Context, length time.Duration, most int) (Top, error) {
	var out Top
	return out, c.get(ctx, "top", url.Values{"for": {length.String()}, "most": {strconv.Itoa(most)}}, &out)
}
