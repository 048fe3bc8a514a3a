package listing

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
)

// DefaultGroupWait is long beside a commit's work and short beside what a mail
// system waits for.
const DefaultGroupWait = 2 * time.Millisecond

// MaxReporterWeight is the most that a reporter's word can weigh.
const MaxReporterWeight = 10

// Reporter is an enrolled operator of sensors, as far as the listing rule
// needs to know it.
type Reporter struct {
	Name         string  `json:"name"`
	Organisation string  `json:"organisation"`
	Weight       float64 `json:"weight"` // factor on what it reports; 0 means 1
}

// Factor returns what the reporter's observations are multiplied by.
func (r Reporter) Factor() float64 {
	if r.Weight == 0 {
		return 1
	}
	return r.Weight
}

// Validate reports everything that is wrong with the reporter.
func (r Reporter) Validate() error {
	var errs []error
	if strings.TrimSpace(r.Name) == "" {
		errs = append(errs, errors.New("reporter without a name"))
	}
	if strings.TrimSpace(r.Organisation) == "" {
		errs = append(errs, fmt.Errorf("reporter %q: no organisation", r.Name))
	}
	if math.IsNaN(r.Weight) || r.Weight < 0 || r.Weight > MaxReporterWeight {
		errs = append(errs, fmt.Errorf("reporter %q: weight %v: want 0 (which means 1) to %d", r.Name, r.Weight, MaxReporterWeight))
	}
	return errors.Join(errs...)
}

// Exemption keeps a prefix off the published list, whatever evidence or an
// operator says: what lies in it is observed, and shown as exempt.
type Exemption struct {
	Prefix  netip.Prefix `json:"prefix"` // any length; see [ParsePrefix]
	Reason  string       `json:"reason"`
	Until   time.Time    `json:"until,omitzero"` // zero: for ever
	Observe bool         `json:"observe"`        // from an imported list of shared providers, not an operator's own word
	BuiltIn bool         `json:"built_in"`       // comes from the program or its configuration, cannot be lifted by command
	By      string       `json:"by,omitempty"`
	At      time.Time    `json:"at,omitzero"`
}

// Active reports whether the exemption holds at now.
func (e Exemption) Active(now time.Time) bool { return e.Until.IsZero() || now.Before(e.Until) }

// Validate reports everything that is wrong with the exemption.
func (e Exemption) Validate() error {
	var errs []error
	if _, err := plainPrefix(e.Prefix); err != nil {
		errs = append(errs, fmt.Errorf("exemption: %w", err))
	}
	if strings.TrimSpace(e.Reason) == "" {
		errs = append(errs, fmt.Errorf("exemption %s: no reason", e.Prefix))
	}
	return errors.Join(errs...)
}

// Settings are what the store takes from the configuration. A reload replaces
// them all at once.
type Settings struct {
	Policy    Policy
	Listable  []netip.Prefix // special-purpose space opened for labs
	BuiltIn   []Exemption    // the server's own addresses and the relays of its reporters
	Reporters []Reporter
	Brakes    Brakes
	Probation Probation // of reporters that are enrolled by command
	Retention Retention
	Journal   Keep // how much of the journal is kept
	Headers   KeepHeaders
	// GroupWait is how long the first of the observations that come at once waits for
	// others to share its commit, at most; 0: none waits.
	GroupWait time.Duration
	Traps     []string // addresses and domains, which the public must not learn of
	// Published is the digest of the zones' published settings (names, TTLs,
	// texts): when it changes, the serial moves and the journal is cut.
	Published [32]byte
	// Horizon is the longest TTL of any zone: listings that end within it are
	// in the snapshot's table of endings.
	Horizon time.Duration
}

// Reporter returns the reporter of the given name.
func (s Settings) Reporter(name string) (Reporter, bool) {
	for _, r := range s.Reporters {
		if r.Name == name {
			return r, true
		}
	}
	return Reporter{}, false
}

// Validate reports everything that is wrong with the settings.
func (s Settings) Validate() error {
	errs := []error{s.Policy.Validate()}
	for _, p := range s.Listable {
		if _, err := plainPrefix(p); err != nil {
			errs = append(errs, fmt.Errorf("listable: %w", err))
		}
	}
	for _, e := range s.BuiltIn {
		errs = append(errs, e.Validate())
	}
	seen := make(map[string]bool, len(s.Reporters))
	for _, r := range s.Reporters {
		errs = append(errs, r.Validate())
		if seen[r.Name] {
			errs = append(errs, fmt.Errorf("reporter %q is there twice", r.Name))
		}
		seen[r.Name] = true
	}
	errs = append(errs, s.Journal.Validate())
	if err := s.Retention.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("retention: %w", err))
	}
	if err := s.Headers.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("headers: %w", err))
	}
	if err := s.Brakes.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("brakes: %w", err))
	}
	if err := s.Probation.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("probation: %w", err))
	}
	if s.Horizon < 0 {
		errs = append(errs, fmt.Errorf("horizon %s: want 0 or more", s.Horizon))
	}
	return errors.Join(errs...)
}
