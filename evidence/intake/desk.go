package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"backscatter/evidence"
	"backscatter/listing"
)

// Sink takes reports in. An error means that the report was not taken and
// that its sender should try again later (SMTP 451, exit code 75); whatever
// else there is to say about the report is in the finding.
type Sink interface {
	Submit(ctx context.Context, r evidence.Report) (evidence.Finding, error)
}

// Judge judges a report at the time now; [evidence.Judge] does.
type Judge interface {
	Judge(r evidence.Report, now time.Time) evidence.Finding
}

// Store keeps and counts what was proven; [listing.Store] does. Observe
// returns after the commit.
type Store interface {
	Observe(ctx context.Context, o listing.Observation) (listing.Outcome, error)
}

// ReasonPanic is the reason of a finding when judging the report failed in a
// way that it never should.
const ReasonPanic = "internal error"

// ReasonRefused is the reason of a finding whose source can never be listed.
const ReasonRefused = "refused"

// DeskOptions is what a [Desk] is made of. Judge and Store are needed.
type DeskOptions struct {
	Judge   Judge
	Store   Store
	Logger  *slog.Logger // nil: silent
	Metrics *Metrics     // nil: not counted
}

// Desk is where the daemon's reports are handed in, from whatever sensor. It
// is safe for concurrent use.
type Desk struct {
	judge   atomic.Pointer[Judge]
	store   Store
	log     *slog.Logger
	metrics *Metrics
}

var _ Sink = (*Desk)(nil)

// NewDesk returns a desk.
func NewDesk(o DeskOptions) *Desk {
	d := &Desk{store: o.Store, log: orSilent(o.Logger), metrics: o.Metrics.orNone()}
	d.SetJudge(o.Judge)
	return d
}

// SetJudge replaces the judge, for a reload. Reports that are being judged
// end with the judge that they began with.
func (d *Desk) SetJudge(j Judge) { d.judge.Store(&j) }

// Submit judges the report, hands it to the store when it proves something,
// and returns what became of it after the store's commit. It returns an error
// only when the store could not take the report now.
func (d *Desk) Submit(ctx context.Context, r evidence.Report) (evidence.Finding, error) {
	now := time.Now().UTC() //nolint:forbidigo // the one reading of the clock for this report
	f := d.judgeSafely(r, now)
	if o, ok := f.Observation(); ok {
		outcome, err := d.store.Observe(ctx, o)
		switch {
		case errors.Is(err, listing.ErrKey): // trying again would not help
			f.Verdict, f.Reason = evidence.Failed, ReasonRefused
		case err != nil:
			d.metrics.deferred.Inc()
			return f, fmt.Errorf("store observation of %s, try again later: %w", o.Addr, err)
		default:
			if verdict, reason := verdictOf(outcome); verdict != evidence.Proven || f.Reason != evidence.ReasonHearsay {
				f.Verdict, f.Reason = verdict, reason
			}
		}
	}
	d.metrics.report(f)
	return f, nil
}

// judgeSafely judges the report. Judging hostile mail must not end the
// process, whatever mistake of ours the mail found.
func (d *Desk) judgeSafely(r evidence.Report, now time.Time) (f evidence.Finding) {
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("judging a report panicked", "panic", fmt.Sprint(p), "sensor", r.Sensor,
				"client", r.Envelope.Client, "size", len(r.Raw), "stack", string(debug.Stack()))
			f = evidence.Finding{Verdict: evidence.Failed, Reason: ReasonPanic, Proofs: []string{}, Rules: []string{}}
		}
	}()
	return (*d.judge.Load()).Judge(r, now)
}

// verdictOf turns what the store did with an observation into the finding's
// verdict. The store has the last word on exemptions and age, since it decides
// in the transaction that counts.
func verdictOf(o listing.Outcome) (evidence.Verdict, string) {
	switch {
	case o.Duplicate:
		return evidence.Unproven, evidence.ReasonDuplicate
	case o.Stale:
		return evidence.Unproven, evidence.ReasonStale
	case o.Exempt:
		return evidence.Unproven, evidence.ReasonExempt
	}
	return evidence.Proven, ""
}

func orSilent(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
