package evidence

import (
	"strings"
	"time"

	"backscatter/listing"
)

// A callout is a question without a message: a host that got mail in the name
// of an address asks that address's server whether it exists, as if to send it a
// bounce, and goes. Where the sender was forged the answer is wrung from somebody
// who has nothing to do with it. There is nothing to classify, so the sensor says
// that it was one ([Report.Callout]).

// ruleCallout is the rule that a finding about a callout names.
const ruleCallout = "callout"

// callout judges a callout. Those of one host about one address within a day
// are one, as there is no original to tell them apart by.
func (j *Judge) callout(r Report, now time.Time) Finding {
	f := newFinding()
	f.Class, f.Rules = listing.ClassCallout, []string{ruleCallout}
	c := Case{judge: j, report: r, now: now, reporter: j.reporterOf(r)}
	if c.reporter == nil {
		f.fail(ReasonReporter)
		return f
	}
	c.source = attribute(r, nil, c.reporter.Relays, j.config.Listable)
	c.address(r.Envelope.Recipients[:min(len(r.Envelope.Recipients), maxEnvelope)])
	f.Level, f.Source, f.RecipientTrap = c.source.level, c.source.source, c.trap
	f.Traces = listing.Traces{
		HELO: printable(c.source.helo, listing.MaxTrace), PTR: printable(c.source.ptr, listing.MaxTrace),
	}
	var proofs listing.ProofSet
	if c.trap {
		proofs = listing.ProofSetOf(listing.ProofTrap)
	}
	f.Proofs = proofs.Names()
	switch {
	case !f.Source.IsValid():
		f.Reason = ReasonUnattributed
		return f
	case !c.trap: // there is no original that could bear a mark
		f.Reason = ReasonNoProof
		return f
	case contains(j.config.Exempt, f.Source):
		f.Reason = ReasonExempt
	default:
		f.Verdict = Proven
	}
	at := receivedAt(r, c.source, now)
	original := []string{"callout", strings.ToLower(c.recipient), at.Format(time.DateOnly)}
	f.observable, f.observation = true, c.observation(f, proofs, original, at)
	return f
}
