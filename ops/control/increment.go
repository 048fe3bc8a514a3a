package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"backscatter/zonefile"
)

// exportSince writes what changed since a serial.
func (s *Server) exportSince(w http.ResponseWriter, r *http.Request) {
	snapshot := s.Store.Snapshot() // before the zone: a reload changes the zone first
	zone, err := s.zone(r.FormValue("zone"))
	if err != nil {
		writeError(w, err)
		return
	}
	since, err := strconv.ParseUint(r.FormValue("since"), 10, 32)
	if err != nil {
		writeError(w, badRequest("since %q: want a serial, a number of 32 bits", r.FormValue("since")))
		return
	}
	increment, err := zonefile.Since(zone, snapshot, uint32(since), s.Store.Compare)
	if errors.Is(err, zonefile.ErrTooOld) {
		err = &Error{Code: CodeNotFound, Status: http.StatusGone, Message: err.Error()}
	}
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/jsonl")
	if err := increment.Write(w); err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
}

// ExportSince writes what changed in a zone, by default the first, since a serial to
// w. When it returns an error, what w got is not whole.
func (c *Client) ExportSince(ctx context.Context, zone string, serial uint32, w io.Writer) error {
	q := url.Values{"since": {strconv.FormatUint(uint64(serial), 10)}}
	setIf(q, "zone", zone, zone != "")
	resp, err := c.do(ctx, http.MethodGet, "export/since", q, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("export: broken off: %w", err)
	}
	return nil
}
