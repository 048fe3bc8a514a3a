package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"backscatter/listing"
)

// Origins tells the spam runs that were answered to forged senders, and whether it
// is for everybody.
type Origins func(ctx context.Context) (runs []listing.SpamRun, public bool, err error)

// feedAge is how long a feed is told again before the store is read anew.
const feedAge = time.Minute

// feed is the spam runs as lines of JSON. Whoever asks more often than they are
// read gets the same, and nothing at all when it knows the ETag (RFC 9110 §8.8.3).
type feed struct {
	origins Origins

	mu   sync.Mutex // guards all below; one reads the store at a time
	at   time.Time
	body []byte
	etag string
}

// fresh returns what is told now.
func (f *feed) fresh(ctx context.Context) (body []byte, etag string, public bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.etag != "" && time.Since(f.at) < feedAge {
		return f.body, f.etag, true, nil
	}
	runs, public, err := f.origins(ctx)
	if err != nil || !public {
		return nil, "", public, err
	}
	b := []byte{}
	for _, run := range runs {
		line, err := json.Marshal(run)
		if err != nil {
			return nil, "", true, err
		}
		b = append(append(b, line...), '\n')
	}
	sum := sha256.Sum256(b)
	f.at, f.body, f.etag = time.Now(), b, `"`+hex.EncodeToString(sum[:16])+`"`
	return f.body, f.etag, true, nil
}

// feed answers with the spam runs.
func (s *Server) feed(f *feed) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, etag, public, err := f.fresh(r.Context())
		switch {
		case err != nil:
			s.Logger.Error("feed of origins not made", "err", err)
			http.Error(w, "the feed cannot be made; please try again later", http.StatusInternalServerError)
			return
		case !public:
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/jsonl")
		h.Set("ETag", etag)
		h.Set("Cache-Control", "max-age=60")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}
