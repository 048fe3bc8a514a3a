package listing_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"backscatter/listing"
)

// hosts returns n IPv4 keys of public space.
func hosts(tb testing.TB, n int) []listing.Manual {
	tb.Helper()
	keys := make([]listing.Manual, n)
	for i := range keys {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 11<<24+uint32(i)*7)
		k, err := listing.HostKey(netip.AddrFrom4(a))
		if err != nil {
			tb.Fatal(err)
		}
		keys[i] = listing.Manual{Key: k}
	}
	return keys
}

// BenchmarkImport measures a large import in one order, opening what it made,
// and checking it.
func BenchmarkImport(b *testing.B) {
	const n = 200_000
	keys := hosts(b, n)
	for b.Loop() {
		b.StopTimer()
		s := start(b)
		b.StartTimer()
		r, err := s.List(b.Context(), operator, keys)
		b.StopTimer()
		if err != nil || len(r.Added) != n {
			b.Fatalf("%d added: %v", len(r.Added), err)
		}
		began := time.Now()
		s = s.reopen(eager())
		b.ReportMetric(time.Since(began).Seconds(), "s/open")
		began = time.Now()
		s.verify()
		b.ReportMetric(time.Since(began).Seconds(), "s/verify")
		info, err := os.Stat(s.path)
		if err != nil || s.Snapshot().Len() != n {
			b.Fatalf("%d after reopen: %v", s.Snapshot().Len(), err)
		}
		b.ReportMetric(float64(info.Size())/n, "B/listing")
		s.stop()
		b.StartTimer()
	}
}

// BenchmarkObserve measures acknowledged observations, alone and from 64
// senders that share commits.
func BenchmarkObserve(b *testing.B) {
	for _, senders := range []int{1, 64} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			s := start(b)
			now := time.Now()
			var next atomic.Int64
			b.ResetTimer()
			done := make(chan error, senders)
			for range senders {
				go func() {
					for {
						n := int(next.Add(1))
						if n > b.N {
							done <- nil
							return
						}
						a := netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)})
						if _, err := s.Observe(context.Background(), bounce(n, a.String(), now)); err != nil {
							done <- err
							return
						}
					}
				}()
			}
			for range senders {
				if err := <-done; err != nil {
					b.Error(err)
				}
			}
			b.StopTimer()
			st, err := s.Status()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/float64(st.Commits), "obs/commit")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "obs/s")
		})
	}
}
