package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Progress is how far long work is.
type Progress struct {
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"`
}

// line is one line of the answer of long work, of which one field is set. The
// last line has the result or the error; without it the answer was broken off.
type line[Part, Result any] struct {
	Part     *Part     `json:"part,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	Result   *Result   `json:"result,omitempty"`
	Error    *Error    `json:"error,omitempty"`
}

// progressEvery is how often long work tells how far it is.
const progressEvery = 100 * time.Millisecond

// stream answers with what long work gives, one JSON object a line, as it comes,
// so that neither side holds all of it.
func stream[Part, Result any](s *Server, w http.ResponseWriter, r *http.Request, work func(tell func(Part) error, progress func(done, total uint64)) (Result, error)) {
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
	tell := func(one Part) error { return e.Encode(line[Part, Result]{Part: &one}) }
	progress := func(done, total uint64) {
		if time.Since(told) < progressEvery {
			return
		}
		told = time.Now()
		_ = e.Encode(line[Part, Result]{Progress: &Progress{done, total}}) // an error comes back at the next line
		_ = flush()
	}
	result, err := work(tell, progress)
	last := line[Part, Result]{Result: &result}
	if err != nil {
		_, code := statusOf(err)
		last = line[Part, Result]{Error: &Error{Code: code, Message: err.Error()}}
	}
	if err := errors.Join(e.Encode(last), flush()); err != nil {
		s.Logger.Debug("control answer not delivered", "path", r.URL.Path, "err", err)
	}
}

// follow reads such an answer. It calls visit with each part, and progress now
// and then.
func follow[Part, Result any](ctx context.Context, c *Client, name string, q any, visit func(Part) error, progress func(Progress)) (Result, error) {
	var none Result
	body, err := encode(name, q)
	if err != nil {
		return none, err
	}
	resp, err := c.do(ctx, http.MethodPost, name, nil, body)
	if err != nil {
		return none, err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var l line[Part, Result]
		err := d.Decode(&l)
		switch {
		case errors.Is(err, io.EOF):
			return none, fmt.Errorf("%s: the daemon broke off its answer; see its log", name)
		case err != nil:
			return none, fmt.Errorf("%s: read the daemon's answer: %w", name, err)
		case l.Error != nil:
			return none, l.Error
		case l.Result != nil:
			return *l.Result, nil
		case l.Progress != nil:
			progress(*l.Progress)
		case l.Part != nil:
			if err := visit(*l.Part); err != nil {
				return none, err
			}
		}
	}
}
