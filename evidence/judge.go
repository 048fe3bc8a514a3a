package evidence

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"backscatter/listing"
)

// ErrConfig is wrapped by the errors of [NewJudge].
var ErrConfig = errors.New("judge configuration")

// Config is all that a judgement depends on besides the report and the time.
type Config struct {
	Reporters []Reporter
	Traps     *Traps
	Guarded   []Guarded
	Listable  []netip.Prefix // special-purpose prefixes opened for labs
	Exempt    []netip.Prefix // sources that are kept as observed only
	Window    time.Duration  // reports older than this on arrival are stale; zero: none are
	Key       [32]byte       // keys the hashes of recipients, originals and subjects
	Former    []FormerKey    // those before it
	Headers   bool           // observations carry the header of the report, redacted
}

// Judge judges reports. It is immutable and safe for concurrent use.
type Judge struct {
	config    Config
	reporters map[string]*Reporter
	guarded   map[string]map[string]*Guarded // reporter → domain → what its mail carries
}

// NewJudge checks the configuration, and reports all that is wrong with it.
func NewJudge(c Config) (*Judge, error) {
	j := &Judge{config: c, reporters: map[string]*Reporter{}, guarded: map[string]map[string]*Guarded{}}
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
	for i := range c.Guarded {
		errs = append(errs, j.guardDomains(&c.Guarded[i]))
	}
	if c.Window < 0 {
		errs = append(errs, fmt.Errorf("window %s is negative: %w", c.Window, ErrConfig))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return j, nil
}

// guardDomains adds guarded domains, each once for a reporter.
func (j *Judge) guardDomains(g *Guarded) error {
	if j.reporters[g.Reporter] == nil {
		return fmt.Errorf("guarded domains of %q: no reporter has that name: %w", g.Reporter, ErrConfig)
	}
	errs := []error{g.validate()}
	domains := j.guarded[g.Reporter]
	if domains == nil {
		domains = map[string]*Guarded{}
		j.guarded[g.Reporter] = domains
	}
	for _, name := range g.Domains {
		name = normalDomain(name)
		if domains[name] != nil {
			errs = append(errs, fmt.Errorf("guarded domain %s of %q is there twice: %w", name, g.Reporter, ErrConfig))
		}
		domains[name] = g
	}
	return errors.Join(errs...)
}

// Judge judges one report at the time now, by the report alone. It never
// panics, and the work it does is linear in the size of the message.
//
// A finding is proven when the message is backscatter, a trusted line names
// the host that sent it, and a proof holds that it is misdirected. The first of
// the guards that stands in the way is its reason: other, unattributed, double,
// then genuine or no-proof, stale, exempt.
func (j *Judge) Judge(r Report, now time.Time) Finding { return j.Open(r, now).Close(Known{}) }

// Case is a report on which judgement is still to be passed: what must be
// looked up elsewhere is asked by [Case.Questions] and answered to [Case.Close].
type Case struct {
	judge     *Judge
	report    Report
	now       time.Time
	finding   Finding
	message   *Message
	done      bool // the finding is final
	reporter  *Reporter
	source    attribution
	recipient string
	trap      bool
	trapName  string // domain of the trap
	guarded   *Guarded
}

// Open reads a report and finds all that needs no answers.
func (j *Judge) Open(r Report, now time.Time) *Case {
	c := &Case{judge: j, report: r, now: now, done: true, finding: newFinding()}
	f := &c.finding
	if r.Callout {
		*f = j.callout(r, now)
		return c
	}
	m, err := Parse(r.Raw)
	switch {
	case errors.Is(err, ErrEmpty):
		f.fail(ReasonEmpty)
		return c
	case err != nil:
		f.fail(ReasonNotMail)
		return c
	}
	c.message = m
	if r.Truncated {
		m.Original.whole = false // cut by us, so that no signature of it can verify
	}
	f.describe(m, m.classify(r.Envelope), j.config.Listable)
	if c.reporter = j.reporterOf(r); c.reporter == nil {
		f.fail(ReasonReporter)
		return c
	}
	c.done = false
	c.source = attribute(r, trail(&m.Header), c.reporter.Relays, j.config.Listable)
	f.Level, f.Source = c.source.level, c.source.source
	c.address(recipients(r, m, c.source))
	f.RecipientTrap = c.trap
	f.Traces = traces(m, c.source, *f)
	return c
}

// reporterOf returns who a report is by, nil when nobody knows.
func (j *Judge) reporterOf(r Report) *Reporter {
	if known := j.reporters[r.Reporter]; known != nil {
		return known
	}
	return r.Enrolled
}

// Close passes judgement.
func (c *Case) Close(known Known) Finding {
	f, m, j := c.finding, c.message, c.judge
	if c.done {
		return f
	}
	proofs, signs := c.proofs(known)
	f.Proofs = proofs.Names()
	if signs != 0 {
		f.Signs = signs.Names()
	}
	f.Signs = append(f.Signs, c.ownSigns()...)
	at := receivedAt(c.report, c.source, c.now)
	f.Reason = j.guard(&f, m, at, c.now)
	if f.Reason == "" {
		f.Verdict = Proven
	}
	f.observable = f.Reason == "" || f.Reason == ReasonExempt || f.Reason == ReasonStale || f.Reason == ReasonHearsay
	if !f.observable {
		return f
	}
	f.observation = c.observation(f, proofs, originalName(m), at)
	f.observation.SPFFailed = known.SPFFails
	f.observation.Delivered = f.Class == listing.ClassBounce && m.DSN != nil && m.DSN.delivered()
	return f
}

// observation returns what the store keeps of a finding.
func (c *Case) observation(f Finding, proofs listing.ProofSet, original []string, at time.Time) listing.Observation {
	is := c.identities(c.judge.config.Key, original)
	o := listing.Observation{
		ID:           is.ID,
		Addr:         c.source.source,
		Class:        f.Class,
		At:           at,
		Level:        c.source.level,
		Proofs:       proofs,
		Reporter:     c.report.Reporter,
		Organisation: c.reporter.Organisation,
		Sensor:       c.report.Sensor,
		TrapDomain:   c.domain(),
		Recipient:    is.Recipient,
		Original:     is.Original,
		Traces:       f.Traces,
	}
	o.Traces.Subject = is.Subject
	if c.judge.config.Headers && c.message != nil {
		o.Headers = c.header()
	}
	for _, former := range c.judge.config.Former {
		if c.now.Before(former.Until) {
			o.Former = append(o.Former, c.identities(former.Key, original))
		}
	}
	return o
}

// domain returns the domain that was hit: the trap's, or the guarded one that the
// proof is about. Either is a place of its own that had no part in the original,
// which is what the listing rule counts.
func (c *Case) domain() string {
	if c.trap || c.guarded == nil {
		return c.trapName
	}
	_, domain, _ := splitAddress(c.recipient)
	return domain
}

// ownSigns returns the signs beside the proofs that the original was sent, or
// forwarded, by the reporter.
func (c *Case) ownSigns() (signs []string) {
	if c.guarded == nil {
		return nil
	}
	if checkSRS(c.recipient, c.guarded.SRS) {
		signs = append(signs, "srs")
	}
	if log := c.guarded.Sent; log != nil {
		if o := &c.message.Original; log.Has(o.MessageID) || slices.ContainsFunc(o.answered, log.Has) {
			signs = append(signs, "sent-message-id")
		}
		if log.Has(c.recipient) { // it answers an envelope sender of one message (VERP)
			signs = append(signs, "sent-sender")
		}
	}
	return signs
}

// proofs returns the proofs that hold, and the signs that the original was the
// reporter's own mail.
func (c *Case) proofs(known Known) (holds, signs listing.ProofSet) {
	bypassed := c.message.Original.bypassed(c.reporter.Relays, c.judge.config.Listable)
	if bypassed == Refuted {
		signs = listing.ProofSetOf(listing.ProofRelays)
	}
	if c.guarded != nil {
		more, ours := c.guarded.proofs(c.message, c.recipient, bypassed, known, c.now)
		holds, signs = more, signs|ours
	}
	if c.trap {
		holds |= listing.ProofSetOf(listing.ProofTrap)
	}
	return holds, signs
}

// describe tells what the message is and what it returns.
func (f *Finding) describe(m *Message, c Classification, listable []netip.Prefix) {
	f.Class, f.Rules, f.Product = c.Class, c.Rules, c.Product
	f.Original.Returned = m.Original.Returned
	f.Original.MessageID = m.Original.MessageID
	f.Original.Origin = m.Original.Origin(listable)
}

// fail makes the finding that of a report that cannot be judged.
func (f *Finding) fail(reason string) {
	f.Verdict, f.Reason, f.Level = Failed, reason, listing.LevelC
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
	case !f.RecipientTrap && len(f.Signs) > 0:
		return ReasonGenuine
	case len(f.Proofs) == 0:
		return ReasonNoProof
	case f.Level == listing.LevelC:
		return ReasonHearsay
	case j.config.Window > 0 && now.Sub(at) > j.config.Window:
		return ReasonStale
	case contains(j.config.Exempt, f.Source):
		return ReasonExempt
	}
	return ""
}

// address chooses whom the message was for: the first recipient that is a
// trap, else the first in a guarded domain, else the first.
func (c *Case) address(recipients []string) {
	guards := c.judge.guarded[c.report.Reporter]
	for _, rcpt := range recipients {
		if domain, ok := c.judge.config.Traps.IsTrap(rcpt); ok {
			c.recipient, c.trapName, c.trap = rcpt, domain, true
			break
		}
		if _, domain, ok := splitAddress(rcpt); ok && guards[domain] != nil && c.guarded == nil {
			c.recipient, c.guarded = rcpt, guards[domain]
		}
	}
	if c.recipient == "" && len(recipients) > 0 {
		c.recipient = recipients[0]
	}
	if c.trap {
		_, domain, _ := splitAddress(c.recipient)
		c.guarded = guards[domain]
	}
}

// Guards reports whether rcpt is an address of the reporter's guarded domains.
func (j *Judge) Guards(reporter, rcpt string) bool {
	_, domain, ok := splitAddress(rcpt)
	return ok && j.guarded[reporter][domain] != nil
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
