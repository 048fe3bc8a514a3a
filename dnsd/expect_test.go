package dnsd_test

import (
	"bytes"
	"slices"
	"testing"

	"backscatter/dnsd"
)

// TestTheNextPacketChangesNothing answers each packet while it looks at another, of
// every sort that can come, and wants the same bytes as alone.
func TestTheNextPacketChangesNothing(t *testing.T) {
	t.Parallel()
	v := ruledView(t, dnsd.Rules{NSID: "ns1.bl.example", Rates: dnsd.Rates{Same: 1e6, All: 1e6}})
	var packets [][]byte
	for _, c := range allCases() {
		packets = append(packets, c.packet(t))
	}
	for _, c := range slices.Concat(complianceCases(), ednsCases(), malformedCases(), ruledCases()) {
		packets = append(packets, c.packet)
	}
	for i := range 40 { // cut off anywhere
		packets = append(packets, packets[0][:min(i, len(packets[0]))])
	}
	alone, _ := dnsd.BatchWorker(func() dnsd.View { return v })
	beside, done := dnsd.BatchWorker(func() dnsd.View { return v })
	for i, packet := range packets {
		want := slices.Clone(alone(append(make([]byte, 0, 4096), packet...), nil))
		next := packets[(i+1)%len(packets)]
		before := slices.Clone(next)
		if got := beside(append(make([]byte, 0, 4096), packet...), next); !bytes.Equal(got, want) {
			t.Errorf("asked %x before %x: %x, want %x", packet, next, got, want)
		}
		if !bytes.Equal(next, before) {
			t.Errorf("%x became %x", before, next)
		}
		if i%7 == 0 {
			done()
		}
	}
}
