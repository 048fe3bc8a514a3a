package listing_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"backscatter/listing"
)

// envCount reads a number from the environment, to make a benchmark larger.
func envCount(tb testing.TB, name string, otherwise int) int {
	tb.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatalf("%s: %v", name, err)
	}
	return n
}

// holds counts the transactions that kept the writer longer than a time, which is
// a bound of a bucket; negative to take them off.
func holds(tb testing.TB, reg *prometheus.Registry, longer float64) (all, over uint64, bound float64) {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "backscatter_store_hold_seconds" {
			continue
		}
		h := f.GetMetric()[0].GetHistogram()
		all = h.GetSampleCount()
		for _, b := range h.GetBucket() {
			if b.GetUpperBound() == longer {
				over = all - b.GetCumulativeCount()
			}
			if b.GetCumulativeCount() == all && bound == 0 {
				bound = b.GetUpperBound()
			}
		}
	}
	return all, over, bound
}

// BenchmarkExpiry ends many listings at one moment, BACKSCATTER_LISTINGS of them.
func BenchmarkExpiry(b *testing.B) {
	n := envCount(b, "BACKSCATTER_LISTINGS", 50_000)
	for b.Loop() {
		b.StopTimer()
		path := filepath.Join(b.TempDir(), "listing.db")
		s := open(b, path, eager())
		keys := hosts(b, n)
		until := time.Now().Add(time.Duration(3+n/20_000) * time.Second).Truncate(time.Second)
		for i := range keys {
			keys[i].Until = until
		}
		if _, err := s.List(b.Context(), operator, keys); err != nil {
			b.Fatal(err)
		}
		s.stop()
		reg := prometheus.NewRegistry()
		store, err := listing.Open(path, listing.Options{Settings: eager(), Metrics: reg})
		if err != nil {
			b.Fatal(err)
		}
		s = run(b, path, store)
		<-time.After(time.Until(until))
		b.StartTimer()
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
		for s.Snapshot().Len() > 0 {
			select {
			case <-s.Snapshot().Superseded():
			case <-ctx.Done():
				b.Fatal("it does not end")
			}
		}
		b.StopTimer()
		cancel()
		all, over, bound := holds(b, reg, 0.02)
		b.ReportMetric(float64(all), "steps")
		b.ReportMetric(float64(over), "steps>20ms")
		b.ReportMetric(bound*1000, "ms/longest")
		s.verify()
		s.stop()
		b.StartTimer()
	}
}
