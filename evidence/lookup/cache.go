package lookup

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	maxAtOnce   = 32               // queries on their way
	maxKept     = 8192             // answers
	maxRecords  = 64               // of one answer
	keepAnswer  = 5 * time.Minute  // the resolver behind it knows the TTL, and is asked again
	keepNothing = time.Minute      // that there is no such name
	keepFailure = 15 * time.Second // that the resolver could not tell
)

// cache asks a resolver, keeps what it said for a while, and lets only so many
// queries be on their way.
type cache struct {
	resolver Resolver
	slots    chan struct{}

	mu   sync.Mutex
	kept map[question]answer
}

type question struct{ kind, name string }

type answer struct {
	value any
	err   error
	until time.Time
}

var _ Resolver = (*cache)(nil)

func newCache(r Resolver) *cache {
	return &cache{resolver: r, slots: make(chan struct{}, maxAtOnce), kept: map[question]answer{}}
}

// LookupTXT implements [Resolver].
func (c *cache) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return ask(ctx, c, question{"TXT", name}, c.resolver.LookupTXT)
}

// LookupMX implements [Resolver].
func (c *cache) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return ask(ctx, c, question{"MX", name}, c.resolver.LookupMX)
}

// LookupIPAddr implements [Resolver].
func (c *cache) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	return ask(ctx, c, question{"A", host}, c.resolver.LookupIPAddr)
}

// LookupAddr implements [Resolver].
func (c *cache) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return ask(ctx, c, question{"PTR", addr}, c.resolver.LookupAddr)
}

// ask answers out of the cache, or asks and keeps the answer.
func ask[T any](ctx context.Context, c *cache, q question, lookup func(context.Context, string) ([]T, error)) ([]T, error) {
	now := time.Now() //nolint:forbidigo // how long an answer is kept decides nothing about evidence
	if a, ok := c.find(q, now); ok {
		records, _ := a.value.([]T)
		return records, a.err
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	records, err := lookup(ctx, q.name)
	if ctx.Err() != nil {
		return nil, ctx.Err() // our impatience is not the resolver's word
	}
	records = records[:min(len(records), maxRecords)]
	c.keep(q, answer{value: records, err: err, until: now.Add(lifetime(err))}, now)
	return records, err
}

func lifetime(err error) time.Duration {
	var dnsErr *net.DNSError
	switch {
	case err == nil:
		return keepAnswer
	case errors.As(err, &dnsErr) && dnsErr.IsNotFound:
		return keepNothing
	}
	return keepFailure
}

func (c *cache) find(q question, now time.Time) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.kept[q]
	return a, ok && now.Before(a.until)
}

// keep stores the answer. When there are too many, those that are over go, and
// then others by chance, an eighth at a time.
func (c *cache) keep(q question, a answer, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kept) >= maxKept {
		for other, have := range c.kept {
			if !now.Before(have.until) {
				delete(c.kept, other)
			}
		}
		for other := range c.kept {
			if len(c.kept) < maxKept-maxKept/8 {
				break
			}
			delete(c.kept, other)
		}
	}
	c.kept[q] = a
}
