package dnsd

import (
	"bytes"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	dnstap "github.com/dnstap/golang-dnstap"
	framestream "github.com/farsightsec/golang-framestream"
)

// A reader that has stopped holds an end up by tapLeave in all, wherever it stopped:
// what is asked meanwhile waits for the next server.
func TestTapLeavesSoon(t *testing.T) {
	t.Parallel()
	for name, reads := range map[string]bool{"before it agreed": false, "after it agreed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := New(Options{})
				s.Tap(&Tap{Socket: "none", Sample: 1})
				stream := &s.streams[dnsTap]
				tap := stream.now.Load().sink.(*tapped)
				ours, theirs := net.Pipe()
				defer theirs.Close()
				used := make(chan bool)
				go func() { used <- tap.use(ours) }() // ends when the reader agrees, or with the connection
				if reads {
					if _, err := framestream.NewReader(theirs, &framestream.ReaderOptions{ContentTypes: [][]byte{dnstap.FSContentType}, Bidirectional: true}); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				if reads && !<-used {
					t.Fatal("they did not agree")
				}
				ended := time.Now()
				stream.hurry()
				if !reads {
					<-used
				}
				query := bytes.Repeat([]byte{0}, headerSize)
				tap.take(&sample{asked: ended, answered: ended, client: netip.MustParseAddrPort("192.0.2.1:53"), server: netip.MustParseAddrPort("192.0.2.2:53"), query: query, response: query})
				stream.close()
				if took := time.Since(ended); took > tapLeave {
					t.Errorf("the end took %s", took)
				}
			})
		})
	}
}

// Who ends looks for no reader.
func TestTapLooksForNobodyAtTheEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := New(Options{})
	s.Tap(&Tap{Socket: filepath.Join(dir, "s"), Sample: 1})
	tap := s.streams[dnsTap].now.Load().sink.(*tapped)
	s.streams[dnsTap].hurry()
	tap.take(&sample{})
	if !tap.tried.IsZero() {
		t.Error("it looked for one")
	}
	s.Close()
}
