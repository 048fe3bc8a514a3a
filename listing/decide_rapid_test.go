package listing_test

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"backscatter/listing"
)

func drawEvidence(t *rapid.T) listing.Evidence {
	return listing.Evidence{
		At:           noon.Add(-time.Duration(rapid.Int64Range(-3600, 8*86400).Draw(t, "age")) * time.Second),
		Class:        rapid.SampledFrom(append([]listing.Class{listing.ClassOther}, listing.Classes...)).Draw(t, "class"),
		Level:        rapid.SampledFrom([]listing.Level{listing.LevelA, listing.LevelB, listing.LevelB, listing.LevelC}).Draw(t, "level"),
		Original:     listing.ID{rapid.ByteRange(0, 6).Draw(t, "original")},
		Recipient:    listing.ID{rapid.ByteRange(0, 4).Draw(t, "recipient")},
		TrapDomain:   rapid.SampledFrom([]string{"", "a.example", "b.example", "c.example"}).Draw(t, "trap"),
		Organisation: rapid.SampledFrom([]string{"one", "two", "three"}).Draw(t, "organisation"),
		Weight:       rapid.SampledFrom([]float64{0, 0.25, 1, 1, 1.5}).Draw(t, "weight"),
		SPFFailed:    rapid.Bool().Draw(t, "spf"),
		Delivered:    rapid.Bool().Draw(t, "delivered"),
	}
}

func drawHistory(t *rapid.T) listing.History {
	ago := func(name string) time.Time {
		if rapid.Bool().Draw(t, name+" never") {
			return time.Time{}
		}
		return noon.Add(-time.Duration(rapid.IntRange(0, 60*24).Draw(t, name)) * time.Hour)
	}
	h := listing.History{Delisted: ago("delisted"), Expired: ago("expired")}
	for range rapid.IntRange(0, 12).Draw(t, "observations") {
		h.Evidence = append(h.Evidence, drawEvidence(t))
	}
	for range rapid.IntRange(0, 4).Draw(t, "earlier") {
		h.Earlier = append(h.Earlier, ago("ended"))
	}
	return h
}

func drawPolicy(t *rapid.T) listing.Policy {
	return rapid.SampledFrom([]listing.Policy{listing.Community(), listing.Solo(), calloutPolicy()}).Draw(t, "policy")
}

func TestDecideOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h, p := drawHistory(t), drawPolicy(t)
		want := p.Decide(h, noon)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		rng.Shuffle(len(h.Evidence), func(i, j int) { h.Evidence[i], h.Evidence[j] = h.Evidence[j], h.Evidence[i] })
		rng.Shuffle(len(h.Earlier), func(i, j int) { h.Earlier[i], h.Earlier[j] = h.Earlier[j], h.Earlier[i] })
		if diff := cmp.Diff(want, p.Decide(h, noon)); diff != "" {
			t.Fatalf("in another order (-first +second):\n%s", diff)
		}
	})
}

func TestDecideMoreEvidenceNeverHelpsTheAccused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h, p := drawHistory(t), drawPolicy(t)
		before := p.Decide(h, noon)
		h.Evidence = append(h.Evidence, drawEvidence(t))
		after := p.Decide(h, noon)
		for i, x := range before.Thresholds {
			if x.Met && !after.Thresholds[i].Met {
				t.Fatalf("one more observation undid %+v: %+v", x, after.Thresholds[i])
			}
		}
		less, _ := strconv.ParseFloat(threshold(t, before, "score").Found, 64)
		more, _ := strconv.ParseFloat(threshold(t, after, "score").Found, 64)
		if more < less || after.Until.Before(before.Until) || before.List && !after.List || after.Classes&before.Classes != before.Classes {
			t.Fatalf("one more observation: score %v to %v, until %v to %v", less, more, before.Until, after.Until)
		}
	})
}

// TestDecideAgainstRecount counts again, naively.
func TestDecideAgainstRecount(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h, p := drawHistory(t), drawPolicy(t)
		d := p.Decide(h, noon)
		originals, traps, organisations := map[listing.ID]int{}, map[string]int{}, map[string]float64{}
		direct := map[string]map[string]bool{}
		events := 0
		for _, e := range h.Evidence {
			age := max(0, noon.Sub(e.At))
			weight := p.Weights.Of(e.Class) * e.Weight * (1 - 0.5*age.Hours()/p.Window.Hours())
			if e.SPFFailed {
				weight *= 1.25
			}
			if e.Delivered {
				weight /= 2
			}
			if weight == 0 || e.Level == listing.LevelC || age > p.Window || !noon.Add(-age).After(h.Delisted) {
				continue
			}
			events++
			originals[e.Original]++
			organisations[e.Organisation] += weight
			if e.TrapDomain == "" {
				continue
			}
			traps[e.TrapDomain]++
			if e.Level == listing.LevelA {
				if direct[e.Organisation] == nil {
					direct[e.Organisation] = map[string]bool{}
				}
				direct[e.Organisation][e.TrapDomain] = true
			}
		}
		capped := p.Organisations > 1
		for _, on := range direct {
			capped = capped && len(on) < 2
		}
		needed := 3.0
		if d.Relapse {
			needed = 1.5
		}
		score := 0.0
		for _, given := range organisations {
			if capped {
				given = min(given, needed/2)
			}
			score += given
		}
		shown, _ := strconv.ParseFloat(threshold(t, d, "score").Found, 64)
		if math.Abs(shown-score) > 0.0501 || threshold(t, d, "score").Met != (shown >= needed) {
			t.Fatalf("score %+v, recounted %v", threshold(t, d, "score"), score)
		}
		if d.Events != events || threshold(t, d, "originals").Found != strconv.Itoa(len(originals)) {
			t.Fatalf("%d events, originals %+v, recounted %d and %d", d.Events, threshold(t, d, "originals"), events, len(originals))
		}
		if p.TrapDomains > 0 && threshold(t, d, "trap domains").Found != strconv.Itoa(len(traps)) {
			t.Fatalf("trap domains %+v, recounted %d", threshold(t, d, "trap domains"), len(traps))
		}
	})
}

// Whoever replays evidence may leave a key alone that is not reachable: no part of
// its evidence lists it, at no time.
func TestUnreachableIsNeverListed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h, p := drawHistory(t), drawPolicy(t)
		p.Score, p.Originals, p.Span = 1, 2, 0 // so that some are listed
		h.Delisted, h.Expired = time.Time{}, time.Time{}
		all := h.Evidence
		h.Evidence = all[:rapid.IntRange(0, len(all)).Draw(t, "part")]
		at := noon.Add(-time.Duration(rapid.IntRange(0, 8*24).Draw(t, "before")) * time.Hour)
		if d := p.Decide(h, at); d.List && !listing.Reachable(p, all) {
			t.Fatalf("listed all the same: %+v", d)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	h := listing.History{}
	for i := range 100 {
		h.Evidence = append(h.Evidence, seen(time.Duration(i)*time.Hour))
	}
	p := listing.Community()
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(h, noon)
	}
}
