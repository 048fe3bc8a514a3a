package web

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"
)

// List is what who polls gets: what changed in a zone since a serial, and what left
// it lately.
type List struct {
	To       []netip.Prefix // who may
	Zones    func() *zonefile.Set
	Snapshot func() *listing.Snapshot
	Compare  func(from, to uint64, most int) (listing.Comparison, error)
	Changes  func() iter.Seq2[listing.Change, error]
}

// Bounds of what is kept of answers, which many ask for.
const (
	maxKept  = 64
	keptFor  = time.Minute // of what left the list: a day's bytes are the same
	maxBody  = 32 << 20
	freshFor = "max-age=30"
)

// poll answers who polls. One answer is made at a time, and kept while the list is
// the same.
type poll struct {
	*List

	mu   sync.Mutex // guards what follows, and is held while an answer is made
	list *listing.Snapshot
	set  *zonefile.Set
	kept map[string]*kept
}

type kept struct {
	plain, packed []byte
	etag          string
	serial        uint32
	modified      time.Time
	until         time.Time
}

// answer returns what a question with this name is answered with.
func (p *poll) answer(name string, now time.Time, body func(*zonefile.Set, *listing.Snapshot, *bytes.Buffer) error) (*kept, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	snapshot := p.Snapshot() // before the zones: who changes both changes the zones first
	set := p.Zones()
	if snapshot != p.list || set != p.set || len(p.kept) >= maxKept {
		p.list, p.set, p.kept = snapshot, set, map[string]*kept{}
	}
	if k := p.kept[name]; k != nil && now.Before(k.until) {
		return k, nil
	}
	var plain, packed bytes.Buffer
	if err := body(set, snapshot, &plain); err != nil {
		return nil, err
	}
	gz := gzip.NewWriter(&packed)
	if _, err := gz.Write(plain.Bytes()); err != nil {
		return nil, err
	}
	if err := gz.Close(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(plain.Bytes())
	k := &kept{
		plain: plain.Bytes(), packed: packed.Bytes(), etag: hex.EncodeToString(sum[:12]), serial: snapshot.Serial(),
		modified: snapshot.Time(), until: now.Add(keptFor),
	}
	if len(k.plain) <= maxBody/maxKept { // larger ones are made anew
		p.kept[name] = k
	}
	return k, nil
}

// errAsked is a question that cannot be answered.
var errAsked = errors.New("asked wrongly")

func zoneNamed(set *zonefile.Set, name string) (*zonefile.Zone, error) {
	for _, z := range set.All() {
		if name == "" || strings.EqualFold(strings.TrimSuffix(name, ".")+".", z.Name) {
			return z, nil
		}
	}
	return nil, fmt.Errorf("zone %q: %w: it is not one of ours", name, errAsked)
}

// changes answers /changes?since=SERIAL.
func (p *poll) changes(w http.ResponseWriter, r *http.Request) {
	since, err := strconv.ParseUint(r.FormValue("since"), 10, 32)
	if err != nil {
		p.refuse(w, fmt.Errorf("since: %w: want a serial", errAsked))
		return
	}
	name := r.FormValue("zone")
	k, err := p.answer(fmt.Sprintf("changes %d %.255s", since, name), time.Now(), func(set *zonefile.Set, s *listing.Snapshot, to *bytes.Buffer) error {
		z, err := zoneNamed(set, name)
		if err != nil {
			return err
		}
		increment, err := zonefile.Since(z, s, uint32(since), p.Compare)
		if err != nil {
			return err
		}
		return increment.Write(to)
	})
	p.send(w, r, "application/jsonl", k, err)
}

// removals answers /removals.
func (p *poll) removals(w http.ResponseWriter, r *http.Request) {
	now, name := time.Now(), r.FormValue("zone")
	k, err := p.answer(fmt.Sprintf("removals %.255s", name), now, func(set *zonefile.Set, s *listing.Snapshot, to *bytes.Buffer) error {
		z, err := zoneNamed(set, name)
		if err != nil {
			return err
		}
		list := zonefile.List{Zone: z, Snapshot: s, Now: now}
		if list.Departed, err = zonefile.Departures(z, s, now, p.Changes()); err != nil {
			return err
		}
		_, err = list.Write(to, zonefile.Removals)
		return err
	})
	p.send(w, r, "text/plain; charset=utf-8", k, err)
}

// allowed reports whether a client may poll.
func (p *poll) allowed(r *http.Request) bool {
	client, err := netip.ParseAddrPort(r.RemoteAddr)
	within := func(to netip.Prefix) bool { return to.Contains(client.Addr().Unmap()) }
	return err == nil && slices.ContainsFunc(p.To, within)
}

// guarded lets only those in who may poll.
func (p *poll) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !p.allowed(r) {
			http.Error(w, "you are not among those who may poll the list (http.poll)", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

func (p *poll) refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	switch {
	case errors.Is(err, errAsked):
		status = http.StatusBadRequest
	case errors.Is(err, zonefile.ErrTooOld): // and it will not come back
		status = http.StatusGone
	}
	http.Error(w, err.Error(), status)
}

// send answers, or says that who asks has it already (RFC 9110 §13.1.2).
func (p *poll) send(w http.ResponseWriter, r *http.Request, kind string, k *kept, err error) {
	if err != nil {
		p.refuse(w, err)
		return
	}
	body, etag := k.plain, `"`+k.etag+`"`
	h := w.Header()
	h.Set("Vary", "Accept-Encoding")
	if takesGzip(r) {
		body, etag = k.packed, `"`+k.etag+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", freshFor)
	h.Set("ETag", etag)
	h.Set("X-Serial", strconv.FormatUint(uint64(k.serial), 10))
	// It compares ETag and date with what the client has, and answers ranges.
	http.ServeContent(w, r, "", k.modified.UTC().Truncate(time.Second), bytes.NewReader(body))
}

// takesGzip reports whether a client wants that (RFC 9110 §12.5.3).
func takesGzip(r *http.Request) bool {
	for text := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(text), ";")
		weight = cmp.Or(strings.TrimPrefix(strings.TrimSpace(weight), "q="), "1")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			q, err := strconv.ParseFloat(weight, 64)
			return err == nil && q > 0
		}
	}
	return false
}
