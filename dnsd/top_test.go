package dnsd_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"backscatter/dnsd"

	"github.com/miekg/dns"
)

// TestTop asks the same questions in rounds, over both transports, until they
// have been watched for a while.
func TestTop(t *testing.T) {
	t.Parallel()
	s := serve(t, options(t))
	watch := func() <-chan dnsd.Top {
		got := make(chan dnsd.Top, 1)
		go func() { // ends with its time
			top, err := s.Top(context.Background(), 300*time.Millisecond, 2)
			if err != nil {
				t.Error(err)
			}
			got <- top
		}()
		return got
	}
	udp, tcp := dial(t, "udp", s.Addrs()[0]), dial(t, "tcp", s.Addrs()[0])
	round := func() {
		for i, host := range []string{"66", "66", "66", "67", "65", "69", "69"} {
			request := packed(t, question(fmt.Sprintf("%s.2.0.192.bl.example.", host), dns.TypeA))
			if i%2 == 0 {
				send(t, udp, request)
				receiveUDP(t, udp)
				continue
			}
			send(t, tcp, framed(request))
			receiveTCP(t, tcp)
		}
	}
	var top dnsd.Top
	eventually(t, "five rounds are seen", func() bool {
		for got := watch(); ; round() {
			select {
			case top = <-got:
				return top.Answers >= 35
			default:
			}
		}
	})
	if len(top.Addresses) != 2 || top.Addresses[0].Key != netip.MustParseAddr("192.0.2.66") || top.Addresses[1].Key != netip.MustParseAddr("192.0.2.69") {
		t.Errorf("addresses %v", top.Addresses)
	}
	if top.Listed != top.Kinds["listed"] || top.Kinds["listed"]+top.Kinds["unlisted"] != top.Answers || top.Kinds["unlisted"] == 0 {
		t.Errorf("%d answers, %d listed, %v", top.Answers, top.Listed, top.Kinds)
	}
	if len(top.Clients) != 1 || top.Clients[0].Key != netip.MustParseAddr("127.0.0.1") || top.Clients[0].Count != top.Answers {
		t.Errorf("clients %v of %d answers", top.Clients, top.Answers)
	}
}

// What is not answered counts for who asks, and is no answer.
func TestTopOfTheUnanswered(t *testing.T) {
	t.Parallel()
	o := options(t)
	ignoring := &dnsd.Rules{Access: dnsd.NewAccess(dnsd.AccessRule{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Action: dnsd.Ignore})}
	o.Rules = func() *dnsd.Rules { return ignoring }
	s := serve(t, o)
	ignored := packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	answered := packed(t, question(soaAsk, dns.TypeSOA))
	conn := dial(t, "udp", s.Addrs()[0])
	got := make(chan dnsd.Top, 1)
	var top dnsd.Top
	eventually(t, "both are seen", func() bool {
		go func() { // ends with its time
			top, err := s.Top(context.Background(), 300*time.Millisecond, 2)
			if err != nil {
				t.Error(err)
			}
			got <- top
		}()
		for {
			send(t, conn, ignored)
			send(t, conn, answered)
			receiveUDP(t, conn)
			select {
			case top = <-got:
				return top.Kinds["dropped"] > 0 && top.Kinds["apex"] > 0
			default:
			}
		}
	})
	if top.Answers != top.Kinds["apex"] || len(top.Clients) != 1 || top.Clients[0].Count != top.Kinds["apex"]+top.Kinds["dropped"] {
		t.Errorf("%d answers to %v: %v", top.Answers, top.Clients, top.Kinds)
	}
}

// TestTopOfOne lets one watch at a time, and ends with who asked for it.
func TestTopOfOne(t *testing.T) {
	t.Parallel()
	s := dnsd.New(options(t))
	ctx, enough := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { // ends with ctx
		for {
			if _, err := s.Top(ctx, time.Hour, 1); !errors.Is(err, dnsd.ErrWatched) {
				done <- err
				return
			}
		}
	}()
	over, end := context.WithCancel(ctx)
	end()
	eventually(t, "another is refused", func() bool {
		_, err := s.Top(over, time.Hour, 1)
		return errors.Is(err, dnsd.ErrWatched)
	})
	enough()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}
