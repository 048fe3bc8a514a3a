package control

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"backscatter/listing"
)

// maxRuns is how many spam runs are told at a time.
const maxRuns = 10_000

// origins tells the spam runs that were answered to forged senders.
func (s *Server) origins(r *http.Request) (any, error) {
	since, err := time.Parse(time.RFC3339, r.FormValue("since"))
	most, errMost := strconv.Atoi(r.FormValue("most"))
	if err != nil || errMost != nil || most < 1 || most > maxRuns {
		return nil, badRequest("origins: want a time, and a number from 1 to %d", maxRuns)
	}
	return s.Store.SpamRuns(r.Context(), since, most)
}

// Origins returns the largest spam runs that were seen since a moment, at most so
// many.
func (c *Client) Origins(ctx context.Context, since time.Time, most int) (listing.SpamRuns, error) {
	var out listing.SpamRuns
	return out, c.get(ctx, "origins", url.Values{"since": {since.UTC().Format(time.RFC3339)}, "most": {strconv.Itoa(most)}}, &out)
}
