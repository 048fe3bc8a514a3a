package lookup

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
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

// verify tries the signatures of the domains. It takes a failure for one only
// when the body is what was signed and the key is there: a body that was
// altered on its way back, a key that is gone and a signature that expired
// leave it open.
func (l *Lookup) verify(ctx context.Context, q *evidence.DKIMQuestion) evidence.Outcome {
	verified, err := dkim.VerifyWithOptions(bytes.NewReader(q.Message), &dkim.VerifyOptions{
		LookupTXT:        func(name string) ([]string, error) { return l.cache.LookupTXT(ctx, name) },
		MaxVerifications: maxSignatures,
	})
	if err != nil && len(verified) == 0 || errors.Is(err, dkim.ErrTooManySignatures) && len(verified) < maxSignatures {
		return evidence.Unknown
	}
	outcome := evidence.Holds
	if err != nil {
		outcome = evidence.Unknown
	}
	tried := 0
	for _, v := range verified {
		if !below(v.Domain, q.Domains) {
			continue
		}
		tried++
		switch {
		case v.Err == nil:
			return evidence.Refuted
		case !strings.Contains(v.Err.Error(), "signature did not verify"):
			outcome = evidence.Unknown
		}
	}
	if tried == 0 {
		return evidence.Unknown
	}
	return outcome
}

// below reports whether name is one of the domains, or lies below one.
func below(name string, domains []string) bool {
	name = "." + strings.ToLower(strings.TrimSuffix(name, "."))
	return slices.ContainsFunc(domains, func(d string) bool {
		return strings.HasSuffix(name, "."+strings.ToLower(strings.TrimSuffix(d, ".")))
	})
}
