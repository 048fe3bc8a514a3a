package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"backscatter/listing"
)

// Origins tells of the mail that was answered to forged senders what everybody may
// know, if anybody may.
type Origins struct {
	Public func() bool
	Runs   func(context.Context) ([]listing.PublicRun, error)
}

const (
	feedAge  = 10 * time.Minute // how long a feed is told again; it tells of whole days
	feedTime = 5 * time.Minute  // the longest that the store is read for one
)

// feed is the spam runs as lines of JSON. Whoever asks more often than they are
// read gets the same, and nothing at all when it knows the ETag (RFC 9110 §8.8.3).
type feed struct {
	Origins

	turn chan struct{} // holds one token; who has it reads the store
	made atomic.Pointer[madeFeed]
}

// madeFeed is a feed at a moment.
type madeFeed struct {
	at   time.Time
	body []byte
	etag string
}

func newFeed(o Origins) *feed {
	f := &feed{Origins: o, turn: make(chan struct{}, 1)}
	f.turn <- struct{}{}
	return f
}

// known returns the feed if it need not be made.
func (f *feed) known() *madeFeed {
	if m := f.made.Load(); m != nil && time.Since(m.at) < feedAge {
		return m
	}
	return nil
}

// fresh returns what is told now. One client reads the store, for all who wait for
// it, and goes on when he does not want it any more himself: they do.
func (f *feed) fresh(ctx context.Context) (*madeFeed, error) {
	if m := f.known(); m != nil {
		return m, nil
	}
	select {
	case <-f.turn:
		defer func() { f.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if m := f.known(); m != nil {
		return m, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), feedTime)
	defer cancel()
	runs, err := f.Runs(ctx)
	if err != nil {
		return nil, err
	}
	b := []byte{}
	for _, run := range runs {
		line, err := json.Marshal(run)
		if err != nil {
			return nil, err
		}
		b = append(append(b, line...), '\n')
	}
	sum := sha256.Sum256(b)
	m := &madeFeed{at: time.Now(), body: b, etag: `"` + hex.EncodeToString(sum[:16]) + `"`}
	f.made.Store(m)
	return m, nil
}

// feed answers with the spam runs.
func (s *Server) feed(f *feed) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !f.Public() { // before what was made when it was
			http.NotFound(w, r)
			return
		}
		m, err := f.fresh(r.Context())
		switch {
		case r.Context().Err() != nil:
			return // nobody waits
		case err != nil:
			s.Logger.Error("feed of origins not made", "err", err)
			http.Error(w, "the feed cannot be made; please try again later", http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/jsonl")
		h.Set("ETag", m.etag)
		h.Set("Cache-Control", "max-age="+strconv.Itoa(int(feedAge.Seconds())))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(m.body))
	}
}
