package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"backscatter/listing"
)

// TryRequest is a configuration to be tried. What is null is as in force.
type TryRequest struct {
	Policy    *listing.Policy     `json:"policy"`
	Listable  []netip.Prefix      `json:"listable"`
	BuiltIn   []listing.Exemption `json:"built_in"`
	Reporters []listing.Reporter  `json:"reporters"`
}

// over returns the settings with what the request puts in their place.
func (q TryRequest) over(s listing.Settings) listing.Settings {
	if q.Policy != nil {
		s.Policy = *q.Policy
	}
	if q.Listable != nil {
		s.Listable = q.Listable
	}
	if q.BuiltIn != nil {
		s.BuiltIn = q.BuiltIn
	}
	if q.Reporters != nil {
		s.Reporters = q.Reporters
	}
	return s
}

// Progress is how far long work is.
type Progress struct {
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"`
}

// tryLine is one line of the answer to a trial, of which one field is set. The
// last line has the summary or the error; without it the answer was broken off.
type tryLine struct {
	Trial    *listing.Trial        `json:"trial,omitempty"`
	Progress *Progress             `json:"progress,omitempty"`
	Summary  *listing.TrialSummary `json:"summary,omitempty"`
	Error    *Error                `json:"error,omitempty"`
}

// progressEvery is how often a trial tells how far it is.
const progressEvery = 100 * time.Millisecond

// try streams the fates of all keys, one JSON object a line, so that neither side
// holds them all.
func (s *Server) try(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxOrderBytes)
	var q TryRequest
	if err := decode(r, &q); err != nil {
		writeError(w, err)
		return
	}
	settings := q.over(s.Store.Settings())
	if err := settings.Validate(); err != nil {
		writeError(w, badRequest("try a policy: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	buffer := bufio.NewWriterSize(w, 64<<10)
	e := json.NewEncoder(buffer)
	flush := func() error {
		err := buffer.Flush()
		if f, ok := w.(http.Flusher); ok && err == nil {
			f.Flush()
		}
		return err
	}
	told := time.Now()
	visit := func(one listing.Trial) error { return e.Encode(tryLine{Trial: &one}) }
	progress := func(done, total uint64) {
		if time.Since(told) < progressEvery {
			return
		}
		told = time.Now()
		_ = e.Encode(tryLine{Progress: &Progress{done, total}}) // an error comes back at the next line
		_ = flush()
	}
	sum, err := s.Store.Try(r.Context(), settings, visit, progress)
	last := tryLine{Summary: &sum}
	if err != nil {
		_, code := statusOf(err)
		last = tryLine{Error: &Error{Code: code, Message: err.Error()}}
	}
	if err := errors.Join(e.Encode(last), flush()); err != nil {
		s.Logger.Debug("control answer not delivered", "path", r.URL.Path, "err", err)
	}
}

// Try asks who would come, go and stay under another configuration. It calls visit
// with each, and progress now and then.
func (c *Client) Try(ctx context.Context, q TryRequest, visit func(listing.Trial) error, progress func(Progress)) (listing.TrialSummary, error) {
	var none listing.TrialSummary
	body, err := json.Marshal(q)
	if err != nil {
		return none, fmt.Errorf("try a policy: %w", err)
	}
	resp, err := c.do(ctx, http.MethodPost, "policy/try", nil, bytes.NewReader(body))
	if err != nil {
		return none, err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var line tryLine
		err := d.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return none, errors.New("try a policy: the daemon broke off its answer")
		case err != nil:
			return none, fmt.Errorf("try a policy: read the daemon's answer: %w", err)
		case line.Error != nil:
			return none, line.Error
		case line.Summary != nil:
			return *line.Summary, nil
		case line.Progress != nil:
			progress(*line.Progress)
		case line.Trial != nil:
			if err := visit(*line.Trial); err != nil {
				return none, err
			}
		}
	}
}
