package control

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"backscatter/listing"
)

// stallLimit is how long a backup waits for who reads it. A backup keeps the
// store from using what was freed meanwhile.
const stallLimit = 30 * time.Second

// sizeHeader tells the size of a backup ahead also where there is no
// Content-Length.
const sizeHeader = "Backscatter-Size"

// backup streams the store. As in export, an error in the middle breaks the
// connection off.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	begun := &begunWriter{to: &patientWriter{w, http.NewResponseController(w)}}
	err := s.Store.Backup(r.Context(), begun, func(size int64) {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		w.Header().Set(sizeHeader, strconv.FormatInt(size, 10))
	})
	if err == nil {
		return
	}
	if !begun.begun {
		w.Header().Del("Content-Length")
		writeError(w, err)
		return
	}
	s.Logger.Warn("backup broken off", "err", err)
	panic(http.ErrAbortHandler)
}

// patientWriter gives up when a write takes too long.
type patientWriter struct {
	to      io.Writer
	control *http.ResponseController
}

func (w *patientWriter) Write(p []byte) (int, error) {
	// Not supported within the process, where nothing stalls but the command itself.
	_ = w.control.SetWriteDeadline(time.Now().Add(stallLimit))
	return w.to.Write(p)
}

func (s *Server) verify(*http.Request) (any, error) {
	v, err := s.Store.Examine()
	return v, err
}

// Backup writes the store to w as it is at one moment. progress is told how
// many of how many bytes have come; the first time, before any has. When Backup
// returns an error, what w got is no backup.
func (c *Client) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) error {
	resp, err := c.do(ctx, http.MethodGet, "backup", nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	total, err := strconv.ParseInt(resp.Header.Get(sizeHeader), 10, 64)
	if err != nil {
		return fmt.Errorf("backup: the daemon does not say how large it is: %w", err)
	}
	progress(0, total)
	counted := &countedWriter{to: w, total: total, told: progress}
	_, err = io.Copy(counted, resp.Body)
	if err = cmp.Or(counted.err, err); err != nil {
		return fmt.Errorf("backup: broken off after %d of %d bytes: %w", counted.done, total, err)
	}
	if counted.done != total {
		return fmt.Errorf("backup: broken off after %d of %d bytes", counted.done, total)
	}
	return nil
}

type countedWriter struct {
	to          io.Writer
	done, total int64
	told        func(done, total int64)
	err         error
}

func (w *countedWriter) Write(p []byte) (n int, err error) {
	n, w.err = w.to.Write(p)
	w.done += int64(n)
	w.told(w.done, w.total)
	return n, w.err
}

// Verify has the daemon read its whole store and say what is wrong with it.
func (c *Client) Verify(ctx context.Context) (listing.Verdict, error) {
	var out listing.Verdict
	return out, c.get(ctx, "verify", nil, &out)
}
