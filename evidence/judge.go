package evidence

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"backscatter/listing"
)

// ErrConfig is wrapped by the errors of [NewJudge].
var ErrConfig = errors.New("judge configuration")

// Config is all that a judgement depends on besides the report and the time.
type Config struct {
	Reporters []Reporter
	Traps     *Traps
	Listable  []netip.Prefix // special-purpose prefixes opened for labs
	Exempt    []netip.Prefix // sources that are kept as observed only
	Window    time.Duration  // reports older than this on arrival are stale; zero: none are
	Key       [32]byte       // keys the hashes of recipients
}

// Judge judges reports. It is immutable and safe for concurrent use.
type Judge struct {
	config    Config
	reporters map[string]*Reporter
}

// NewJudge checks the configuration, and reports all that is wrong with it.
func NewJudge(c Config) (*Judge, error) {
	j := &Judge{config: c, reporters: map[string]*Reporter{}}
	var errs []error
	for i := range c.Reporters {
		r := &c.Reporters[i]
		switch {
		case r.Name == "":
			errs = append(errs, fmt.Errorf("reporter %d has no name: %w", i+1, ErrConfig))
		case j.reporters[r.Name] != nil:
			errs = append(errs, fmt.Errorf("reporter %q is there twice: %w", r.Name, ErrConfig))
		}
		for _, p := range r.Relays {
			if !p.IsValid() {
				errs = append(errs, fmt.Errorf("reporter %q: a relay is no valid prefix: %w", r.Name, ErrConfig))
			}
		}
		j.reporters[r.Name] = r
	}
	if c.Window < 0 {
		errs = append(errs, fmt.Errorf("window %s is negative: %w", c.Window, ErrConfig))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return j, nil
}

// Judge judges one report at the time now. It never panics, and the work it
// does is linear in the size of the message.
//
// A finding is proven when the message is backscatter, a trusted line names
// the host that sent it, and the recipient is a trap. The first of the guards
// that stands in the way is its reason: other, unattributed, double, then
// genuine or no-proof, stale, exempt.
func (j *Judge) Judge(r Report, now time.Time) Finding {
	f := Finding{
		Class:    listing.ClassOther,
		Verdict:  Unproven,
		Proofs:   []string{},
		Rules:    []string{},
		Original: FindingOriginal{Returned: ReturnedNone},
	}
	m, err := Parse(r.Raw)
	switch {
	case errors.Is(err, ErrEmpty):
		return f.failed(ReasonEmpty)
	case err != nil:
		return f.failed(ReasonNotMail)
	}
	f.describe(m, m.classify(r.Envelope.MailFromKnown && r.Envelope.MailFrom == ""), j.config.Listable)
	reporter := j.reporters[r.Reporter]
	if reporter == nil {
		return f.failed(ReasonReporter)
	}
	a := attribute(r, trail(&m.Header), reporter.Relays, j.config.Listable)
	f.Level, f.Source = a.level, a.source
	if m.passed(reporter.Relays) {
		f.Signs = []string{listing.ProofRelays.String()}
	}
	recipient, trapDomain, trap := j.recipient(recipients(r, m, a))
	var proofs listing.ProofSet
	if trap {
		proofs = listing.ProofSetOf(listing.ProofTrap)
	}
	f.RecipientTrap, f.Proofs = trap, proofs.Names()
	f.Traces = traces(m, a, f)
	at := receivedAt(r, a, now)
	f.Reason = j.guard(&f, m, at, now)
	if f.Reason == "" {
		f.Verdict = Proven
	}
	f.observable = f.Reason == "" || f.Reason == ReasonExempt || f.Reason == ReasonStale
	if !f.observable {
		return f
	}
	original := originalID(m)
	f.observation = listing.Observation{
		ID:           observationID(a.source, original, r.Reporter),
		Addr:         a.source,
		Class:        f.Class,
		At:           at,
		Level:        a.level,
		Proofs:       proofs,
		Reporter:     r.Reporter,
		Organisation: reporter.Organisation,
		Sensor:       r.Sensor,
		TrapDomain:   trapDomain,
		Recipient:    keyed(j.config.Key, recipient),
		Original:     original,
		Traces:       f.Traces,
	}
	return f
}

// describe tells what the message is and what it returns.
func (f *Finding) describe(m *Message, c Classification, listable []netip.Prefix) {
	f.Class, f.Rules, f.Product = c.Class, c.Rules, c.Product
	f.Original.Returned = m.Original.Returned
	f.Original.MessageID = m.Original.MessageID
	f.Original.Origin = m.Original.Origin(listable)
}

// failed returns the finding for a report that cannot be judged.
func (f Finding) failed(reason string) Finding {
	f.Verdict, f.Reason, f.Level = Failed, reason, listing.LevelC
	return f
}

// guard returns what stands in the way of the finding, or nothing.
func (j *Judge) guard(f *Finding, m *Message, at, now time.Time) string {
	switch {
	case f.Class == listing.ClassOther:
		return ReasonOther
	case !f.Source.IsValid():
		return ReasonUnattributed
	case m.Original.double():
		return ReasonDouble
	case len(f.Proofs) == 0 && len(f.Signs) > 0:
		return ReasonGenuine
	case len(f.Proofs) == 0:
		return ReasonNoProof
	case j.config.Window > 0 && now.Sub(at) > j.config.Window:
		return ReasonStale
	case contains(j.config.Exempt, f.Source):
		return ReasonExempt
	}
	return ""
}

// recipient returns the first recipient that is a trap and the trap's domain;
// else the first recipient.
func (j *Judge) recipient(recipients []string) (recipient, domain string, trap bool) {
	for _, rcpt := range recipients {
		if domain, ok := j.config.Traps.IsTrap(rcpt); ok {
			return rcpt, domain, true
		}
	}
	if len(recipients) > 0 {
		recipient = recipients[0]
	}
	return recipient, "", false
}

// receivedAt returns when the message was received, in whole seconds. What the
// sensor says holds for a session that it held; a message that comes out of a
// mailbox was received when the trusted line says, if that was earlier. Date
// fields and the future are not believed.
func receivedAt(r Report, a attribution, now time.Time) time.Time {
	at := r.Received
	if at.IsZero() || at.After(now) {
		at = now
	}
	if !r.Held && a.source.IsValid() && !a.at.IsZero() && a.at.Before(at) {
		at = a.at
	}
	return at.UTC().Truncate(time.Second)
}

// observationID identifies an observation: the same original, source and
// reporter are one.
func observationID(source netip.Addr, original listing.ID, reporter string) listing.ID {
	key, err := listing.HostKey(source)
	if err != nil {
		return listing.ID{}
	}
	return identity("observation", key.String(), original.String(), reporter)
}
