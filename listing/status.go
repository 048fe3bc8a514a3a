package listing

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Status is how the store is.
type Status struct {
	Path           string         `json:"path"`
	Schema         int            `json:"schema"`
	Sequence       uint64         `json:"sequence"`
	Serial         uint32         `json:"serial"`
	Published      time.Time      `json:"published"` // when that serial was made
	NewestEvidence time.Time      `json:"newest_evidence,omitzero"`
	Listings       int            `json:"listings"`
	Classes        map[string]int `json:"classes"`
	Observations   uint64         `json:"observations"`
	Exemptions     int            `json:"exemptions"`
	Headers        uint64         `json:"headers"`      // of reports, that are kept
	HeaderBytes    uint64         `json:"header_bytes"` // of them
	Journal        uint64         `json:"journal"`      // it tells every change after this sequence
	Audit          uint64         `json:"audit"`        // entries
	Commits        uint64         `json:"commits"`      // ever
	FileSize       int64          `json:"file_size"`
	Waiting        int            `json:"waiting"` // requests
	Writable       bool           `json:"writable"`
	WhyNot         string         `json:"why_not,omitempty"`
	Brakes         BrakeStatus    `json:"brakes"`                  // those that are on
	Withheld       []Withheld     `json:"withheld,omitempty"`      // exemptions of the configuration, for the brake on publication
	MoreWithheld   int            `json:"more_withheld,omitempty"` // than are told
	Wide           *WideStatus    `json:"wide_prefixes,omitempty"` // nil: none was refused
	Decommissioned *Decommission  `json:"decommissioned,omitempty"`
	Profile        string         `json:"profile"`            // of the policy in force
	Listable       []netip.Prefix `json:"listable,omitempty"` // special-purpose space that is open: for labs only
}

// Brakes tells which brakes are on.
func (s *Store) Brakes() BrakeStatus { return s.brakesNow.Load().status() }

// Status tells how the store is. While the file cannot be written it tells what
// is known from memory.
func (s *Store) Status() (Status, error) {
	snap, settings := s.Snapshot(), s.settings.Load()
	out := Status{
		Path: s.path, Schema: schema, Sequence: snap.Sequence(), Serial: snap.Serial(), Published: snap.Time(),
		NewestEvidence: snap.NewestEvidence(), Listings: snap.Len(), Classes: make(map[string]int),
		Waiting: len(s.requests), Writable: true, Profile: settings.Policy.Profile, Listable: settings.Listable,
		Brakes: s.Brakes(), Wide: s.wide.status(),
	}
	for class, n := range snap.Counts() {
		out.Classes[class.String()] = n
	}
	if why := s.health.Load(); why != nil {
		out.Writable, out.WhyNot = false, *why
	}
	err := s.view(func(tx *bolt.Tx, _ time.Time) error {
		m, err := decodeMeta(keyState, tx.Bucket(bucketMeta).Get(keyState))
		if err != nil {
			return err
		}
		all, err := allExemptions(tx)
		if err != nil {
			return err
		}
		var st state
		if err := st.readDecommission(tx); err != nil {
			return err
		}
		if !st.ended.At.IsZero() {
			out.Decommissioned = &st.ended
		}
		if !out.Brakes.Withheld.IsZero() {
			if err := st.readReporters(tx); err != nil {
				return err
			}
			st.exempt = all
			out.Withheld, out.MoreWithheld = st.withheld(settings)
		}
		out.Observations, out.Journal, out.Audit, out.Commits = m.Observations, m.Base, m.Audit, m.Commits
		out.Exemptions, out.FileSize = len(all), tx.Size()
		headers, err := readHeaderCount(tx)
		if err != nil {
			return err
		}
		out.Headers, out.HeaderBytes = headers.n, headers.bytes
		return nil
	})
	if errors.Is(err, ErrUnavailable) {
		return out, nil
	}
	if err != nil {
		return out, fmt.Errorf("status of store %s: %w", s.path, err)
	}
	return out, nil
}
