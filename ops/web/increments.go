package web

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
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
	Proxies  []netip.Prefix // who is believed for whom they ask
	Zones    func() *zonefile.Set
	Snapshot func() *listing.Snapshot
	Compare  func(from, to uint64, most int) (listing.Comparison, error)
	Changes  func() iter.Seq2[listing.Change, error]
}

// Bounds of what is kept of answers, which many ask for.
const (
	maxKept  = 64
	maxSize  = 512 << 10   // of changes; larger ones are made anew
	keptFor  = time.Minute // of what left the list: a day's bytes are the same
	freshFor = "max-age=30"
)

// poll answers who polls. One answer is made at a time, and kept while the list is
// the same.
type poll struct {
	*List

	mu   sync.Mutex // guards what follows, and is held while an answer is made
	list *listing.Snapshot
	set  *zonefile.Set
	kept map[question]*kept
}

// question is what an answer is kept for.
type question struct {
	zone  string
	since string // a serial; empty: what left the zone lately
}

type kept struct {
	plain, packed []byte
	etag          string
	serial        uint32
	until         time.Time
}

// answer returns what a question about the zone of this name is answered with.
func (p *poll) answer(name, since string, now time.Time, body func(*zonefile.Zone, *listing.Snapshot, io.Writer) error) (*kept, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	snapshot := p.Snapshot() // before the zones: who changes both changes the zones first
	set := p.Zones()
	if snapshot != p.list || set != p.set {
		p.list, p.set, p.kept = snapshot, set, map[question]*kept{}
	}
	z := set.Named(name)
	if z == nil {
		return nil, fmt.Errorf("zone %.255q: %w: it is not one of ours", name, errAsked)
	}
	asked := question{zone: z.Name, since: since}
	if k := p.kept[asked]; k != nil && now.Before(k.until) {
		return k, nil
	}
	var plain, packed bytes.Buffer
	if err := body(z, snapshot, &plain); err != nil {
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
		until: now.Add(keptFor),
	}
	p.keep(asked, k)
	return k, nil
}

// keep keeps what left a zone, which is long and the same for all, and of the changes
// since so many serials those that are short.
func (p *poll) keep(asked question, k *kept) {
	if asked.since != "" {
		if len(k.plain) > maxSize {
			return
		}
		if len(p.kept) >= maxKept {
			maps.DeleteFunc(p.kept, func(other question, _ *kept) bool { return other.since != "" })
		}
	}
	p.kept[asked] = k
}

// errAsked is a question that cannot be answered.
var errAsked = errors.New("asked wrongly")

// changes answers /changes?since=SERIAL.
func (p *poll) changes(w http.ResponseWriter, r *http.Request) {
	since, err := strconv.ParseUint(r.FormValue("since"), 10, 32)
	if err != nil {
		p.refuse(w, fmt.Errorf("since: %w: want a serial", errAsked))
		return
	}
	k, err := p.answer(r.FormValue("zone"), strconv.FormatUint(since, 10), time.Now(), func(z *zonefile.Zone, s *listing.Snapshot, to io.Writer) error {
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
	now := time.Now()
	k, err := p.answer(r.FormValue("zone"), "", now, func(z *zonefile.Zone, s *listing.Snapshot, to io.Writer) (err error) {
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
	client, ok := clientOf(r, p.Proxies)
	return ok && within(p.To, client)
}

func within(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// clientOf returns who asks. Each proxy appends to X-Forwarded-For whom it was asked
// by, so the last address there that is no proxy of ours is the client; what stands
// before it is his own word. A proxy that does not tell asks for nobody.
func clientOf(r *http.Request, proxies []netip.Prefix) (netip.Addr, bool) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	client := remote.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for within(proxies, client) {
		if len(hops) == 0 {
			return netip.Addr{}, false
		}
		last := strings.TrimSpace(hops[len(hops)-1])
		hops = hops[:len(hops)-1]
		addr, err := netip.ParseAddr(strings.Trim(last, "[]"))
		if err != nil {
			return netip.Addr{}, false
		}
		client = addr.Unmap().WithZone("")
	}
	return client, true
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
	// It compares the ETag with what the client has, and answers ranges. No date is told:
	// the list can change twice in a second, and what left it lately changes by itself.
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
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
