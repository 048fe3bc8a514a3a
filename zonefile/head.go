package zonefile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"backscatter/listing"

	"github.com/miekg/dns"
)

// maxHead is how many records a zone may have beside those of its entries.
const maxHead = 4096

// head is what a transfer has beside the records of entries: what [Zone.Head]
// returns.
type head struct {
	zone    string
	records map[string]headRecord // by what they are in wire format
	came    int                   // how many, those that have gone again included
}

type headRecord struct {
	dns.RR

	number int // in the order in which they came
}

func newHead(zone string) *head { return &head{zone: zone, records: map[string]headRecord{}} }

// sorted returns the records as they came.
func (h *head) sorted() []dns.RR {
	var out []dns.RR
	for _, r := range slices.SortedFunc(maps.Values(h.records), func(a, b headRecord) int { return a.number - b.number }) {
		out = append(out, r.RR)
	}
	return out
}

// headKey is a record in wire format, its owner in lower case.
func headKey(rr dns.RR) (string, error) {
	rr.Header().Name = strings.ToLower(rr.Header().Name)
	wire := make([]byte, dns.Len(rr)+maxWire)
	n, err := dns.PackRR(rr, wire, 0, nil, false)
	return string(wire[:n]), err
}

func (h *head) fill(records []dns.RR) error {
	for _, rr := range records {
		if err := h.put(rr); err != nil {
			return err
		}
	}
	return nil
}

func (h *head) put(rr dns.RR) error {
	key, err := headKey(rr)
	_, twice := h.records[key]
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", rr.Header().Name, err)
	case twice:
		return fmt.Errorf("%w: %q is there twice", ErrMismatch, rr)
	case len(h.records) >= maxHead:
		return fmt.Errorf("more than %d records are of no entry", maxHead)
	}
	h.came++
	h.records[key] = headRecord{rr, h.came}
	return nil
}

func (h *head) add(r *Record) error {
	rr, err := r.rr()
	if err != nil {
		return err
	}
	return h.put(rr)
}

func (h *head) remove(r *Record) error {
	rr, err := r.rr()
	if err != nil {
		return err
	}
	key, err := headKey(rr)
	if _, there := h.records[key]; err != nil || !there {
		return fmt.Errorf("%w: %q goes and is not there", ErrMismatch, rr)
	}
	delete(h.records, key)
	return nil
}

// copy makes the copy, if what this has is just what a copy with these entries
// would have.
func (h *head) copy(snapshot *listing.Snapshot, w *wording, ttl uint32) (*Copy, error) {
	z, state, err := h.settings()
	if err != nil {
		return nil, err
	}
	if snapshot.Len() > 0 && (ttl != z.TTLSeconds() || w.known && w.url != z.URL) {
		return nil, fmt.Errorf("the entries have a TTL of %d and a URL of %q, and the zone %d and %q", ttl, w.url, z.TTLSeconds(), z.URL)
	}
	if state.entries != snapshot.Len() {
		z.Whole = state.entries
	}
	for class := range snapshot.Counts() {
		if !z.Classes.Has(class) {
			return nil, fmt.Errorf("entries are of class %s, which has no test point", class)
		}
	}
	zones, err := NewSet(z)
	if err != nil {
		return nil, err
	}
	snapshot = snapshot.Next(listing.Next{Sequence: uint64(state.serial), Time: state.published, Decommissioned: state.ended})
	if !state.ended.IsZero() && snapshot.Len() > 0 {
		return nil, fmt.Errorf("the list has ended, and has %d entries", snapshot.Len())
	}
	want := newHead(z.Name)
	if err := want.fill(z.head(snapshot)); err != nil {
		return nil, err
	}
	for key, rr := range want.records {
		if _, there := h.records[key]; !there {
			return nil, fmt.Errorf("%q is missing", rr.RR)
		}
	}
	for key, rr := range h.records {
		if _, wanted := want.records[key]; !wanted {
			return nil, fmt.Errorf("%q has no place in this list", rr.RR)
		}
	}
	return &Copy{Zones: zones, Snapshot: snapshot}, nil
}

// status is what _status says.
type status struct {
	serial    uint32
	published time.Time
	entries   int
	ended     time.Time
}

// settings reads the zone's settings from its records. What is wrong with them
// shows when the records are compared with those that it would have.
func (h *head) settings() (*Zone, status, error) {
	z := &Zone{Name: h.zone, Hosts: map[string][]netip.Addr{}}
	var state status
	var soa *dns.SOA
	records := h.sorted()
	for _, rr := range records {
		switch rr := rr.(type) {
		case *dns.SOA:
			soa = rr
		case *dns.NS:
			z.NS = append(z.NS, rr.Ns)
		case *dns.TXT:
			if err := h.text(z, &state, rr); err != nil {
				return nil, status{}, err
			}
		}
	}
	if soa == nil {
		return nil, status{}, fmt.Errorf("%s: the zone has no SOA", h.zone)
	}
	if state.published.IsZero() {
		return nil, status{}, fmt.Errorf("%s: the zone does not tell its state, as those of this program do: %s is missing", h.zone, statusLabel)
	}
	of := func(n uint32) time.Duration { return time.Duration(n) * time.Second }
	z.Hostmaster, z.NegativeTTL = soa.Mbox, of(soa.Minttl)
	z.Refresh, z.Retry, z.Expire = of(soa.Refresh), of(soa.Retry), of(soa.Expire)
	// The first name server is that of the SOA.
	if i := slices.Index(z.NS, soa.Ns); i > 0 {
		z.NS = slices.Concat(z.NS[i:i+1], z.NS[:i], z.NS[i+1:])
	}
	for _, ns := range z.NS {
		if z.holds(ns) && !sameName(ns, z.Name) {
			z.Hosts[ns] = nil // and not the addresses of the zone
		}
	}
	for _, rr := range records {
		h.address(z, rr)
	}
	if !state.ended.IsZero() {
		z.Classes = listing.AllClasses // it has no test points to tell
		z.Texts = slices.DeleteFunc(z.Texts, func(text string) bool { return text == endedText(state.ended) })
	}
	if len(z.Hosts) == 0 {
		z.Hosts = nil
	}
	return z, state, nil
}

// text takes in a TXT record: one of the zone's own, the state, or that of the
// test point, which tells the URL.
func (h *head) text(z *Zone, state *status, rr *dns.TXT) (err error) {
	switch kind, addr := z.Parse(rr.Hdr.Name); {
	case kind == Apex && len(rr.Txt) == 1:
		z.Texts = append(z.Texts, unescapeText(rr.Txt[0]))
	case kind == Status:
		z.TTL = time.Duration(rr.Hdr.Ttl) * time.Second
		*state, err = readStatus(rr.Txt)
	case kind.IsAddress() && addr == Code(listing.ClassBounce) && len(rr.Txt) == 1:
		z.URL, _, _ = strings.Cut(rr.Txt[0], addr.String()+" backscatter: ")
	}
	return err
}

// address takes in an address record: of the zone, of a name server, or of a test
// point, which tells that its class is in use.
func (h *head) address(z *Zone, rr dns.RR) {
	var addr netip.Addr
	switch rr := rr.(type) {
	case *dns.A:
		addr, _ = netip.AddrFromSlice(rr.A)
		addr = addr.Unmap()
	case *dns.AAAA:
		addr, _ = netip.AddrFromSlice(rr.AAAA)
	default:
		return
	}
	name := rr.Header().Name
	switch kind, point := z.Parse(name); {
	case kind == Apex:
		z.Addresses = append(z.Addresses, addr)
	case kind.IsAddress() && testNet.Contains(point):
		z.Classes |= listing.ClassSetOf(listing.Class(point.As4()[3])) & listing.AllClasses
	default:
		for ns := range maps.Keys(z.Hosts) {
			if sameName(ns, name) {
				z.Hosts[ns] = append(z.Hosts[ns], addr)
			}
		}
	}
}

// readStatus reads the strings of _status.
func readStatus(texts []string) (s status, err error) {
	for _, text := range texts {
		name, value, _ := strings.Cut(text, "=")
		switch name {
		case "serial":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			s.serial = uint32(n)
		case "time":
			s.published, err = time.Parse(time.RFC3339, value)
		case "entries":
			s.entries, err = strconv.Atoi(value)
		case "decommissioned":
			s.ended, err = time.Parse(time.RFC3339, value)
		}
		if err != nil {
			return status{}, fmt.Errorf("%s says %q: %w", statusLabel, text, err)
		}
	}
	return s, nil
}
