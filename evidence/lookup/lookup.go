package lookup

import (
	"bytes"
	"context"
	"errors"
	"net"
	"time"

	"backscatter/evidence"

	"blitiri.com.ar/go/spf"
	"github.com/emersion/go-msgauth/dkim"
)

// Options is what a [Lookup] is made of.
type Options struct {
	Resolver Resolver      // nil: that of the machine
	Timeout  time.Duration // for all questions of one report; zero: [DefaultTimeout]
}

// DefaultTimeout is how long one report may wait for its answers.
const DefaultTimeout = 3 * time.Second

// maxSignatures bounds the signatures of one message that are tried.
const maxSignatures = 4

// Resolver is what is asked; [net.Resolver] is one.
type Resolver = spf.DNSResolver

// Lookup answers questions, and is safe for concurrent use.
type Lookup struct {
	cache   *cache
	timeout time.Duration
}

// New returns a lookup.
func New(o Options) *Lookup {
	if o.Resolver == nil {
		o.Resolver = &net.Resolver{PreferGo: true}
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return &Lookup{cache: newCache(o.Resolver), timeout: o.Timeout}
}

// Judge is a judge that has looked up what it wants to know.
type Judge struct {
	Judgement *evidence.Judge
	Lookup    *Lookup // nil: nothing is looked up
}

// Judge judges the report at the time now.
func (j Judge) Judge(r evidence.Report, now time.Time) evidence.Finding {
	if j.Lookup == nil {
		return j.Judgement.Judge(r, now)
	}
	c := j.Judgement.Open(r, now)
	return c.Close(j.Lookup.Answer(context.Background(), c.Questions()))
}

// Answer looks up the answers to the questions about one report.
func (l *Lookup) Answer(ctx context.Context, q evidence.Questions) evidence.Known {
	var known evidence.Known
	if q.SPF == nil && q.DKIM == nil {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	if q.DKIM != nil {
		known.DKIM = l.verify(ctx, q.DKIM)
	}
	if q.SPF != nil {
		// Other results than "fail" say that nobody could have known (RFC 7208 §8).
		result, err := spf.CheckHostWithSender(q.SPF.Origin.AsSlice(), "", q.SPF.Sender,
			spf.WithContext(ctx), spf.WithResolver(l.cache))
		known.SPFFails = result == spf.Fail && (err == nil || !errors.Is(err, context.DeadlineExceeded))
	}
	return known
}

// verify tries the signatures of the domains. One that verifies shows that the
// mail was theirs. That none does shows nothing: what sends bounces tags subjects,
// alters bodies, and a key may be gone.
func (l *Lookup) verify(ctx context.Context, q *evidence.DKIMQuestion) evidence.Outcome {
	verified, _ := dkim.VerifyWithOptions(bytes.NewReader(q.Message), &dkim.VerifyOptions{ // what fails shows nothing
		LookupTXT:        func(name string) ([]string, error) { return l.cache.LookupTXT(ctx, name) },
		MaxVerifications: maxSignatures,
	})
	for _, v := range verified {
		if v.Err == nil && evidence.OfDomain(v.Domain, q.Domains) {
			return evidence.Refuted
		}
	}
	return evidence.Unknown
}
