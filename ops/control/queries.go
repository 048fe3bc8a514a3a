package control

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/zonefile"
)

func (s *Server) status(*http.Request) (any, error) {
	status := s.Status()
	var err error
	if status.Store, err = s.Store.Status(); err != nil {
		return nil, err
	}
	return status, nil
}

func (s *Server) show(r *http.Request) (any, error) {
	text := r.FormValue("key")
	if text == "" {
		return nil, badRequest("show: no address is named")
	}
	at, err := atParam(r)
	if err != nil {
		return nil, err
	}
	e, err := s.explain(text, at)
	if err != nil {
		return nil, err
	}
	if r.FormValue("public") != "" {
		e = e.Public()
	}
	return e, nil
}

// explain tells of now when at is zero.
func (s *Server) explain(text string, at time.Time) (listing.Explanation, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		if at.IsZero() {
			return s.Store.Explain(addr)
		}
		return s.Store.ExplainAt(addr, at)
	}
	key, err := listing.ParseKey(text)
	switch {
	case err != nil:
		return listing.Explanation{}, err
	case at.IsZero():
		return s.Store.ExplainKey(key)
	default:
		return s.Store.ExplainKeyAt(key, at)
	}
}

// atParam reads an optional time.
func atParam(r *http.Request) (time.Time, error) {
	text := r.FormValue("at")
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, badRequest("at: %w", err)
	}
	return at, nil
}

func (s *Server) listings(r *http.Request) (any, error) {
	var f listing.Filter
	var err error
	if f.Limit, err = limitParam(r); err != nil {
		return nil, err
	}
	if f.Within, err = prefixParam(r, "within"); err != nil {
		return nil, err
	}
	if by := r.FormValue("by"); by != "" {
		if err = f.By.UnmarshalText([]byte(by)); err != nil {
			return nil, badRequest("by: %w", err)
		}
	}
	if name := r.FormValue("class"); name != "" {
		if f.Class, err = listing.ParseClass(name); err != nil {
			return nil, badRequest("%w", err)
		}
	}
	if after := r.FormValue("after"); after != "" {
		if f.After, err = listing.ParseKey(after); err != nil {
			return nil, err
		}
	}
	page := ListingsPage{Listings: []listing.Listing{}}
	found, err := s.Store.Listings(f)
	if err != nil {
		return nil, err
	}
	page.Listings = append(page.Listings, found...)
	if n := len(found); n == f.Limit {
		page.Next = &found[n-1].Key
	}
	return page, nil
}

func (s *Server) exemptions(*http.Request) (any, error) {
	all, err := s.Store.Exemptions()
	return ExemptionsPage{all}, err
}

func (s *Server) audit(r *http.Request) (any, error) {
	var f listing.AuditFilter
	var err error
	if f.Limit, err = limitParam(r); err != nil {
		return nil, err
	}
	if f.Within, err = prefixParam(r, "within"); err != nil {
		return nil, err
	}
	if after := r.FormValue("after"); after != "" {
		if f.After, err = strconv.ParseUint(after, 10, 64); err != nil {
			return nil, badRequest("after: %q is no number", after)
		}
	}
	page := AuditPage{Entries: []listing.AuditEntry{}}
	found, err := s.Store.Audit(f)
	if err != nil {
		return nil, err
	}
	page.Entries = append(page.Entries, found...)
	if n := len(found); n == f.Limit {
		page.Next = found[n-1].Number
	}
	return page, nil
}

func limitParam(r *http.Request) (int, error) {
	text := r.FormValue("limit")
	if text == "" {
		return MaxPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > MaxPage {
		return 0, badRequest("limit: %q: want 1 to %d", text, MaxPage)
	}
	return n, nil
}

func (s *Server) policy(*http.Request) (any, error) {
	now := s.Store.Settings()
	return PolicyPage{
		Profile: now.Policy.Profile, Text: now.Text(), Policy: now.Policy,
		Brakes: now.Brakes, Probation: now.Probation, Retention: now.Retention,
	}, nil
}

// export streams one list. An error before the first byte is answered as one;
// an error in the middle breaks the connection off, so that the client cannot
// take a part for the whole.
func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	snapshot := s.Store.Snapshot() // before the zone: a reload changes the zone first
	zone, err := s.zone(r.FormValue("zone"))
	if err != nil {
		writeError(w, err)
		return
	}
	format, err := zonefile.ParseFormat(r.FormValue("format"))
	if err != nil {
		writeError(w, badRequest("%w", err))
		return
	}
	list := zonefile.List{Zone: zone, Snapshot: snapshot, Now: time.Now()}
	if format == zonefile.Removals {
		if list.Departed, err = zonefile.Departures(zone, snapshot, list.Now, s.Store.Changes()); err != nil {
			writeError(w, err)
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	begun := &begunWriter{to: w}
	if _, err := list.Write(begun, format); err != nil {
		if !begun.begun {
			writeError(w, err)
			return
		}
		s.Logger.Warn("export broken off", "zone", zone.Name, "format", string(format), "err", err)
		panic(http.ErrAbortHandler)
	}
}

// begunWriter knows whether anything was written.
type begunWriter struct {
	to    io.Writer
	begun bool
}

func (w *begunWriter) Write(p []byte) (int, error) {
	w.begun = true
	return w.to.Write(p)
}

func (s *Server) zone(name string) (*zonefile.Zone, error) {
	set := s.Zones()
	if z := set.Named(name); z != nil {
		return z, nil
	}
	return nil, badRequest("zone %q is not configured, want one of %s", name, zoneNames(set.All()))
}

// importList lists by hand, or exempts, what the body holds. A list with a line that cannot
// be taken changes nothing; all such lines are told.
func (s *Server) importList(r *http.Request) (any, error) {
	// The query alone: Request.FormValue would take the list for a form when a
	// client calls it one, as curl does.
	query := r.URL.Query()
	format, err := zonefile.ParseReadable(query.Get("format"))
	if err != nil {
		return nil, badRequest("%w", err)
	}
	var until time.Time
	if text := query.Get("until"); text != "" {
		if until, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, badRequest("until: %w", err)
		}
	}
	read, exempt := zonefile.Read, false
	switch as := query.Get("as"); as {
	case "", AsListings:
	case AsExemptions:
		read, exempt = zonefile.ReadWide, true
	default:
		return nil, badRequest("import as %q: want %s or %s", as, AsListings, AsExemptions)
	}
	items, problems, err := read(r.Body, format)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, fmt.Errorf("import: the list has more than %d bytes; import it in parts: %w", MaxOrderBytes, err)
	}
	if err != nil {
		return nil, importError(problems, err)
	}
	var entries []listing.Manual
	if !exempt {
		var more []zonefile.Problem
		entries, more = manuals(items, until)
		problems = append(problems, more...)
	}
	for _, p := range problems {
		if _, err := listing.ParseKey(p.Text); !exempt {
			s.Store.Refused(err)
		}
	}
	if len(problems) > 0 && !query.Has("skip_bad") {
		return nil, importError(problems, fmt.Errorf("%d lines cannot be taken, and nothing was changed", len(problems)))
	}
	o, err := s.order(r, Order{Reason: query.Get("reason"), DryRun: query.Get("dry_run") != ""}, len(items))
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	var result listing.Result
	if exempt {
		result, err = s.Store.Exempt(r.Context(), o, exemptions(items, o.Reason, until))
	} else {
		result, err = s.Store.List(r.Context(), o, entries)
	}
	out := orderResult(len(items), result)
	out.Skipped = problems
	return out, err
}

// exemptions turns what a file lists into exemptions. They take the place of none
// that an operator set by hand.
func exemptions(items []zonefile.Item, reason string, until time.Time) []listing.Exemption {
	out := make([]listing.Exemption, len(items))
	for i, item := range items {
		out[i] = listing.Exemption{Prefix: item.Prefix, Reason: reason, Until: until, Observe: true}
	}
	return out
}

// manuals turns what a file lists into operator listings, each key once.
func manuals(items []zonefile.Item, until time.Time) ([]listing.Manual, []zonefile.Problem) {
	entries := make([]listing.Manual, 0, len(items))
	seen := make(map[listing.Key]bool, len(items))
	var problems []zonefile.Problem
	for _, item := range items {
		key, err := listing.PrefixKey(item.Prefix)
		if err != nil {
			problems = append(problems, zonefile.Problem{Line: item.Line, Text: item.Prefix.String(), Why: err.Error()})
			continue
		}
		if !seen[key] {
			seen[key] = true
			entries = append(entries, listing.Manual{Key: key, Until: until})
		}
	}
	return entries, problems
}

// maxProblems is how many bad lines an error names; it counts the others.
const maxProblems = 20

func importError(problems []zonefile.Problem, err error) error {
	var b strings.Builder
	for _, p := range problems[:min(len(problems), maxProblems)] {
		fmt.Fprintf(&b, "\n  line %d: %q: %s", p.Line, p.Text, p.Why)
	}
	if more := len(problems) - maxProblems; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return badRequest("import: %w%s", err, b.String())
}

func (s *Server) report(r *http.Request) (any, error) {
	q, err := reportRequest(r)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, MaxReportBytes+1))
	if err != nil {
		return nil, badRequest("read the report: %w", err)
	}
	if q.Reporter == "" {
		q.Reporter = s.Reporter()
	}
	report := q.Report(time.Now())
	report.Raw = raw[:min(len(raw), MaxReportBytes)]
	report.Truncated = q.Truncated || len(raw) > MaxReportBytes
	finding, err := s.Sink.Submit(r.Context(), report)
	if err != nil {
		return nil, fmt.Errorf("report: %w: %w", err, errTryAgain)
	}
	if finding.Reason == evidence.ReasonReporter { // a slip of who wrote the command, which costs no mail
		return nil, fmt.Errorf("report: the configuration has no reporter %q; name one of its own, or add it: %w", q.Reporter, errTryAgain)
	}
	return finding, nil
}

// reportRequest reads the envelope from a request's query.
func reportRequest(r *http.Request) (q ReportRequest, err error) {
	query := r.URL.Query()
	q = ReportRequest{
		Reporter:   query.Get("reporter"),
		HELO:       query.Get("helo"),
		PTR:        query.Get("ptr"),
		Recipients: query["rcpt"],
		Truncated:  query.Has("truncated"),
		Hearsay:    query.Has("hearsay"),
	}
	if query.Has("mail_from") {
		from := query.Get("mail_from")
		q.MailFrom = &from
	}
	if text := query.Get("received"); text != "" {
		if q.Received, err = time.Parse(time.RFC3339, text); err != nil {
			return q, badRequest("received: %w", err)
		}
	}
	if text := query.Get("client_ip"); text != "" {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return q, badRequest("client_ip: %q is no address", text)
		}
		q.Client = addr.Unmap().WithZone("")
	}
	return q, nil
}
