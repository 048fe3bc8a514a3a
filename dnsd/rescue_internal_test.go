package dnsd

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"backscatter/listing"
)

// A panic is told with its stack, whatever else was just told.
func TestPanicIsToldInTheMidstOfTrouble(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := New(Options{
		Logger:    slog.New(slog.NewTextHandler(&log, nil)),
		Snapshots: func() *listing.Snapshot { panic("the list is on fire") },
	})
	s.loud.Do(func() { s.log.Warn("dns connection could not be accepted") })
	packet, err := questionFor("2.0.0.127.bl.example.", 1)
	if err != nil {
		t.Fatal(err)
	}
	if out := s.worker(ipv4Family).handle(datagram{append(make([]byte, 0, udpBuffer), packet...), netip.MustParseAddrPort("192.0.2.1:53")}, datagram{}); len(out) == 0 {
		t.Error("no answer")
	}
	if text := log.String(); !strings.Contains(text, "on fire") || !strings.Contains(text, "rescue_internal_test.go") {
		t.Errorf("log %s", text)
	}
}
