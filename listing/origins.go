package listing

import (
	"bytes"
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Bounds of what is told of spam runs.
const (
	maxRuns     = 50_000 // groups held while the observations are read
	maxRunAddrs = 100    // addresses told of one run, of each kind
)

// SpamRun is the mail that observations answer which had the same subject and led
// to the same place: what a spammer sent in the names of others. It is
// information for the operator, and lists nobody; what others may be told of it is
// a [PublicRun].
type SpamRun struct {
	Subject      ID           `json:"subject,omitzero"` // keyed hash; zero when the subject did not come back
	URLHost      string       `json:"url_host"`         // the first host of a URL in it; empty when there was none
	First        time.Time    `json:"first"`
	Last         time.Time    `json:"last"`
	Observations int          `json:"observations"`
	Originals    int          `json:"originals"`      // different messages; exact up to 100
	Origins      []netip.Addr `json:"origins"`        // where it came from, as hosts on the way tell; at most 100
	Backscatters []netip.Addr `json:"backscatterers"` // hosts that it abused to bounce to others; at most 100
}

// SpamRuns is what is known of spam runs.
type SpamRuns struct {
	Since time.Time `json:"since"` // observations from then on were read
	Runs  []SpamRun `json:"runs"`  // the largest first
	// Left out are observations of messages of which neither subject nor URL came
	// back, and those of runs that were too many to hold.
	LeftOut int `json:"left_out"`
}

// runID is what the observations of one run have in common.
type runID struct {
	subject ID
	host    string
}

// runGroup is a run that is being read.
type runGroup struct {
	SpamRun
	originals, origins, abused map[any]bool
}

// SpamRuns returns the largest runs, at most so many, that were seen since a
// moment. What was revoked is not told. It reads in steps, so that no transaction
// lasts, and holds up neither the writer nor the DNS.
func (s *Store) SpamRuns(ctx context.Context, since time.Time, most int) (SpamRuns, error) {
	out := SpamRuns{Since: since.UTC().Truncate(time.Second), Runs: []SpamRun{}}
	groups := make(map[runID]*runGroup)
	if err := s.observed(ctx, out.Since, func(o *Observation) { out.add(groups, o) }); err != nil {
		return out, err
	}
	for _, g := range groups {
		g.Originals = len(g.originals)
		slices.SortFunc(g.Origins, netip.Addr.Compare)
		slices.SortFunc(g.Backscatters, netip.Addr.Compare)
		out.Runs = append(out.Runs, g.SpamRun)
	}
	slices.SortFunc(out.Runs, func(a, b SpamRun) int {
		return cmp.Or(cmp.Compare(b.Observations, a.Observations), b.Last.Compare(a.Last), bytes.Compare(a.Subject[:], b.Subject[:]), cmp.Compare(a.URLHost, b.URLHost))
	})
	out.Runs = out.Runs[:min(len(out.Runs), most)]
	return out, nil
}

// observed reads the observations since a moment that were not revoked, in steps.
func (s *Store) observed(ctx context.Context, since time.Time, each func(*Observation)) error {
	var next []byte
	for first := true; first || next != nil; first = false {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := s.view(func(tx *bolt.Tx, _ time.Time) error {
			next = observedFrom(tx, next, since, each)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// observedFrom reads some observations from a key on, and returns where to go on:
// nil when there are no more.
func observedFrom(tx *bolt.Tx, from []byte, since time.Time, each func(*Observation)) (next []byte) {
	cursor, lex := tx.Bucket(bucketObservations).Cursor(), newLexicon(tx)
	key, value := cursor.Seek(from)
	for n := 0; key != nil && n < scanLimit; n++ {
		if _, rest, ok := cutPrefix(key); ok && len(rest) >= timeBytes && !timeOf(rest).Before(since) {
			if o, err := decodeObservation(lex, key, value); err == nil && o.Revoked == 0 {
				each(&o)
			}
		}
		key, value = cursor.Next()
	}
	return bytes.Clone(key)
}

// add counts an observation for its run.
func (r *SpamRuns) add(groups map[runID]*runGroup, o *Observation) {
	id := runID{subject: o.Traces.Subject}
	if len(o.Traces.URLHosts) > 0 {
		id.host = o.Traces.URLHosts[0]
	}
	g := groups[id]
	if id.subject.IsZero() && id.host == "" || g == nil && len(groups) == maxRuns {
		r.LeftOut++
		return
	}
	if g == nil {
		g = &runGroup{
			SpamRun:   SpamRun{Subject: id.subject, URLHost: id.host, First: o.At, Last: o.At, Origins: []netip.Addr{}, Backscatters: []netip.Addr{}},
			originals: map[any]bool{}, origins: map[any]bool{}, abused: map[any]bool{},
		}
		groups[id] = g
	}
	g.Observations++
	if o.At.Before(g.First) {
		g.First = o.At
	}
	if o.At.After(g.Last) {
		g.Last = o.At
	}
	anew(g.originals, o.Original)
	if o.Traces.Origin.IsValid() && anew(g.origins, o.Traces.Origin) {
		g.Origins = append(g.Origins, o.Traces.Origin)
	}
	if anew(g.abused, o.Addr) {
		g.Backscatters = append(g.Backscatters, o.Addr)
	}
}

// anew notes a value, as long as there is room, and reports whether it was not
// there.
func anew[T comparable](seen map[any]bool, v T) bool {
	if seen[v] || len(seen) == maxRunAddrs {
		return false
	}
	seen[v] = true
	return true
}
