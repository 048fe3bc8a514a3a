package dnsd

import (
	"bytes"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a file that is not on a disk.
type memory struct{ bytes.Buffer }

func (*memory) Close() error { return nil }

// Of what several workers have answered, no more lines are written than the rate
// allows, though the samples of one come after those of the other.
func TestQueryLogRateOfSeveral(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const workers, rate, rounds, round = 4, 20, 20, 10 // each worker stays below the rate, all four do not
		const pause = 60 * time.Millisecond
		const seconds = int(rounds * round * pause / time.Second)
		s, log := New(Options{}), &memory{}
		s.LogQueries(&QueryLog{Sample: 1, Rate: rate, To: log})
		stream := &s.streams[queryLog]
		o := stream.now.Load()
		var rings []*ring
		for range workers {
			rings = append(rings, o.ring())
		}
		query, err := questionFor("2.0.0.127.bl.example.", 1)
		if err != nil {
			t.Fatal(err)
		}
		for range rounds {
			for range round {
				for _, r := range rings {
					r.begin(query, netip.AddrPort{}, netip.AddrPort{}, UDP)
					r.end(query, Verdict{Kind: Listed})
				}
				time.Sleep(pause)
			}
			stream.drain(o)
		}
		s.Close()
		if n, most := bytes.Count(log.Bytes(), []byte("\n")), rate*(seconds+1); n > most || n < rate*seconds {
			t.Errorf("%d lines in %d seconds, want %d a second and %d at once", n, seconds, rate, rate)
		}
	})
}
