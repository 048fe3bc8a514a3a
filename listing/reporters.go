package listing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Why an order about a reporter is refused.
var (
	ErrReporter      = errors.New("no such reporter; 'backscatter reporter show' names them")
	ErrReporterKnown = errors.New("there is a reporter of that name")
)

// Enrolment is what the store knows of a reporter. Those of the configuration
// are enrolled by being there, without probation; the store adds only whether
// they are suspended.
type Enrolment struct {
	Name         string    `json:"name"`
	Organisation string    `json:"organisation"`
	Weight       float64   `json:"weight"`     // its own
	Effective    float64   `json:"effective"`  // what its reports count for now
	Configured   bool      `json:"configured"` // by the configuration, not by command
	Enrolled     time.Time `json:"enrolled,omitzero"`
	By           string    `json:"by,omitempty"`
	Reason       string    `json:"reason,omitempty"`
	Probation    time.Time `json:"probation,omitzero"` // its reports count for less until then
	Agreed       time.Time `json:"agreed,omitzero"`    // when others, who reported what it did, ended that
	Suspended    time.Time `json:"suspended,omitzero"` // its reports count for nothing since
	SuspendedBy  string    `json:"suspended_by,omitempty"`
	SuspendedWhy string    `json:"suspended_why,omitempty"`

	Relays []netip.Prefix `json:"relays,omitempty"` // whose Received lines are believed in what it sends; of a configured one, see there
	Keys   []ReporterKey  `json:"keys,omitempty"`   // by which it signs what it sends over the network

	Confirmed []netip.Prefix `json:"confirmed,omitempty"` // sources that others reported too, up to those that end its probation
}

// tell fills in what follows from the time and the configuration.
func (r *Enrolment) tell(settings *Settings, now time.Time) {
	if own, ok := settings.Reporter(r.Name); ok {
		// What was enrolled by command and is configured now is the
		// configuration's; a suspension stands.
		*r = Enrolment{
			Name: own.Name, Organisation: own.Organisation, Weight: own.Factor(), Configured: true,
			Suspended: r.Suspended, SuspendedBy: r.SuspendedBy, SuspendedWhy: r.SuspendedWhy, Keys: r.Keys,
		}
	}
	r.Probation = time.Time{}
	r.Effective = r.Weight
	if ends := r.Enrolled.Add(settings.Probation.For); !r.Configured && r.Agreed.IsZero() && now.Before(ends) {
		r.Probation = ends
		r.Effective *= settings.Probation.Factor
	}
	if !r.Suspended.IsZero() {
		r.Effective = 0
	}
}

// enrolment returns what is known of a reporter; nil when that is nothing.
func (st *state) enrolment(settings *Settings, name string, now time.Time) *Enrolment {
	stored, enrolled := st.reporters[name]
	_, configured := settings.Reporter(name)
	switch {
	case enrolled && (configured || !stored.Enrolled.IsZero()):
	case configured:
		stored = Enrolment{Name: name}
	default:
		return nil
	}
	stored.tell(settings, now)
	return &stored
}

// weigher tells what a reporter's observations count for; 0: for nothing.
type weigher func(reporter string) float64

// weigher reads the weights of a moment.
func (st *state) weigher(settings *Settings, now time.Time) weigher {
	known := make(map[string]float64)
	return func(name string) float64 {
		weight, ok := known[name]
		if !ok {
			if r := st.enrolment(settings, name, now); r != nil {
				weight = r.Effective
			}
			known[name] = weight
		}
		return weight
	}
}

// readReporters brings the state in line with the bucket.
func (st *state) readReporters(tx *bolt.Tx) error {
	st.reporters = make(map[string]Enrolment)
	return tx.Bucket(bucketReporters).ForEach(func(key, value []byte) error {
		r, err := decodeEnrolment(key, value)
		st.reporters[r.Name] = r
		return err
	})
}

func encodeEnrolment(key []byte, r *Enrolment) []byte {
	version := byte(reporterVersion)
	switch {
	case len(r.Confirmed) > 0:
		version = reporterVersion3
	case len(r.Relays)+len(r.Keys) > 0:
		version = reporterVersion2
	}
	e := newEncoder(version)
	e.text(r.Organisation)
	e.uint(math.Float64bits(r.Weight))
	e.time(r.Enrolled)
	e.text(r.By)
	e.text(r.Reason)
	e.time(r.Agreed)
	e.time(r.Suspended)
	e.text(r.SuspendedBy)
	e.text(r.SuspendedWhy)
	if version != reporterVersion {
		e.remote(r)
	}
	if version == reporterVersion3 {
		e.prefixes(r.Confirmed)
	}
	return e.seal(key)
}

func decodeEnrolment(key, value []byte) (Enrolment, error) {
	d := openValue(key, value, reporterVersion, reporterVersion2, reporterVersion3)
	r := Enrolment{
		Name: string(key), Organisation: d.text(), Weight: math.Float64frombits(d.uint()),
		Enrolled: d.time(), By: d.text(), Reason: d.text(), Agreed: d.time(),
		Suspended: d.time(), SuspendedBy: d.text(), SuspendedWhy: d.text(),
	}
	if d.err == nil && value[0] != reporterVersion {
		d.remote(&r)
	}
	if d.err == nil && value[0] == reporterVersion3 {
		r.Confirmed = d.prefixes()
	}
	if math.IsNaN(r.Weight) || r.Weight < 0 || r.Weight > MaxReporterWeight {
		d.fail("has the weight %v", r.Weight)
	}
	if err := d.finish(); err != nil {
		return r, fmt.Errorf("reporter %q: %w", key, err)
	}
	return r, nil
}

// putReporter stores a reporter. What it counts for changes at once.
func (c *change) putReporter(r Enrolment) error {
	key := []byte(r.Name)
	if err := c.bucket(bucketReporters).Put(key, encodeEnrolment(key, &r)); err != nil {
		return fmt.Errorf("write reporter %s: %w", r.Name, err)
	}
	c.wrote = true
	c.reporters = maps.Clone(c.reporters) // the former is that of the state in force
	c.reporters[r.Name] = r
	c.weigh = c.weigher(c.settings, c.now)
	return nil
}

// Reporters returns all reporters by name, those of the configuration included.
func (s *Store) Reporters() ([]Enrolment, error) {
	settings := s.settings.Load()
	out := []Enrolment{}
	err := s.view(func(tx *bolt.Tx, now time.Time) error {
		var st state
		if err := st.readReporters(tx); err != nil {
			return err
		}
		for _, r := range settings.Reporters {
			if _, ok := st.reporters[r.Name]; !ok {
				st.reporters[r.Name] = Enrolment{Name: r.Name}
			}
		}
		for name := range st.reporters {
			if r := st.enrolment(settings, name, now); r != nil {
				out = append(out, *r)
			}
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Enrolment) int { return cmp.Compare(a.Name, b.Name) })
	return out, err
}

// reporterName is how a reporter that is enrolled by command may be called; the
// configuration asks the same of its own.
var reporterName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// named lets a refusal say which reporter it is about.
type named string

// String returns the name.
func (n named) String() string { return string(n) }

// ReporterOrder is one change of one reporter.
type ReporterOrder struct {
	Order
	Action       string  // ActionEnrol, ActionSuspend, ActionReinstate, ActionWeigh, or one of those on keys and relays
	Name         string  // of the reporter
	Organisation string  // of one to enrol
	Weight       float64 // of one to enrol or to weigh; to enrol, 0 means 1

	Key    []byte         // public, of Ed25519: to add, or of one to enrol; nil: none
	KeyID  ID             // of the key to remove
	Relays []netip.Prefix // all that it has from then on
}

// Reporter carries out an order about a reporter and returns how it is then.
//
// What a reporter counts for is asked when the listing rule is: from then on a
// suspended reporter's observations, former ones included, weigh nothing in any
// decision, and count again when it is reinstated. A listing that stands is not
// looked at for that; it ends by its time, which the suspended can no longer put
// off. To take back what it was listed by, revoke.
func (s *Store) Reporter(ctx context.Context, o ReporterOrder) (Enrolment, error) {
	var after Enrolment
	_, err := s.order(ctx, o.Action+" reporter", o.Order, 1, func(c *change) ([]Problem, error) {
		r, err := c.changedReporter(o)
		if err != nil {
			return nil, err
		}
		text, err := detail(o.told(&r))
		if err != nil {
			return nil, err
		}
		c.note(AuditEntry{Action: o.Action, By: o.By, Reason: o.Reason, Detail: text})
		if err := c.putReporter(r); err != nil {
			return nil, err
		}
		c.ordered = false // by who its relays are, not by what they hide
		if err := c.applyBuiltIn(); err != nil {
			return nil, err
		}
		after = *c.enrolment(c.settings, r.Name, c.now)
		return nil, nil
	})
	return after, err
}

// changedReporter returns a reporter as the order wants it, or says what speaks
// against that.
func (c *change) changedReporter(o ReporterOrder) (Enrolment, error) {
	var refused refusals
	refuse := func(cause error, format string, args ...any) (Enrolment, error) {
		refused.add(named(o.Name), cause, format, args...)
		return Enrolment{}, refused.err(o.Action + " reporter")
	}
	if o.Action == ActionEnrol {
		return c.newReporter(o, refuse)
	}
	known := c.enrolment(c.settings, o.Name, c.now)
	if known == nil {
		return refuse(ErrReporter, "%s", ErrReporter)
	}
	r, stored := c.reporters[o.Name]
	if !stored {
		r = Enrolment{Name: o.Name} // of the configuration
	}
	switch o.Action {
	case ActionSuspend:
		if !r.Suspended.IsZero() {
			return refuse(nil, "is suspended since %s: %s", r.Suspended.Format(time.RFC3339), r.SuspendedWhy)
		}
		r.Suspended, r.SuspendedBy, r.SuspendedWhy = c.now, o.By.String(), o.Reason
	case ActionReinstate:
		if r.Suspended.IsZero() {
			return refuse(nil, "is not suspended")
		}
		r.Suspended, r.SuspendedBy, r.SuspendedWhy = time.Time{}, "", ""
	case ActionWeigh:
		if known.Configured {
			return refuse(nil, "has its weight from the configuration: change it there, and reload")
		}
		if !(o.Weight > 0) || o.Weight > MaxReporterWeight {
			return refuse(nil, "weight %v: want more than 0, and at most %d; to make it count for nothing, suspend it", o.Weight, MaxReporterWeight)
		}
		r.Weight = o.Weight
	default:
		return c.changedRemote(o, r, known.Configured, refuse)
	}
	return r, nil
}

func (c *change) newReporter(o ReporterOrder, refuse refusing) (Enrolment, error) {
	own := Reporter{Name: o.Name, Organisation: cmp.Or(o.Organisation, o.Name), Weight: o.Weight}
	switch err := own.Validate(); {
	case !reporterName.MatchString(o.Name):
		return refuse(nil, "want lower-case letters, digits, dots and hyphens, at most 63")
	case err != nil:
		return refuse(nil, "%s", err)
	case len(own.Organisation) > MaxTrace:
		return refuse(nil, "the organisation has %d bytes, want at most %d", len(own.Organisation), MaxTrace)
	case c.enrolment(c.settings, o.Name, c.now) != nil:
		return refuse(ErrReporterKnown, "%s", ErrReporterKnown)
	}
	// It may have been one of the configuration: then what suspended it stands.
	former := c.reporters[o.Name]
	r := Enrolment{
		Name: o.Name, Organisation: own.Organisation, Weight: own.Factor(),
		Enrolled: c.now, By: o.By.String(), Reason: o.Reason,
		Suspended: former.Suspended, SuspendedBy: former.SuspendedBy, SuspendedWhy: former.SuspendedWhy,
	}
	if why := relaysFault(o.Relays); why != "" {
		return refuse(nil, "%s", why)
	}
	r.Relays = o.Relays
	if len(o.Key) > 0 {
		return c.withKey(o, r, refuse)
	}
	return r, nil
}
