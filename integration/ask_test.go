package integration_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// reversed returns the labels under which a DNSBL has an address (RFC 5782 §2.1
// and §2.4): octets, or nibbles, the last first.
func reversed(addr netip.Addr) string {
	var labels []string
	if addr.Is4() {
		for _, b := range addr.As4() {
			labels = append([]string{fmt.Sprint(b)}, labels...)
		}
	} else {
		for _, b := range addr.As16() {
			labels = append([]string{fmt.Sprintf("%x", b&0xf), fmt.Sprintf("%x", b>>4)}, labels...)
		}
	}
	return strings.Join(labels, ".")
}

// asker asks one server over one socket.
type asker struct {
	client  dns.Client
	conn    *dns.Conn
	recurse bool
}

func newAsker(t *testing.T, network, server string) *asker {
	t.Helper()
	conn, err := dns.DialTimeout(network, server, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &asker{client: dns.Client{Net: network, Timeout: 5 * time.Second}, conn: conn}
}

// try asks one question.
func (a *asker) try(name string, rrtype uint16) (*dns.Msg, error) {
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), rrtype)
	q.RecursionDesired = a.recurse
	reply, _, err := a.client.ExchangeWithConn(q, a.conn)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s %s: %w", a.conn.RemoteAddr(), name, dns.TypeToString[rrtype], err)
	}
	return reply, nil
}

func (a *asker) ask(t *testing.T, name string, rrtype uint16) *dns.Msg {
	t.Helper()
	reply, err := a.try(name, rrtype)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// data asks and returns the data of the one record in the answer, or else the
// rcode.
func (a *asker) data(t *testing.T, name string, rrtype uint16) string {
	t.Helper()
	reply := a.ask(t, name, rrtype)
	switch len(reply.Answer) {
	case 0:
		return dns.RcodeToString[reply.Rcode]
	case 1:
		return field(reply.Answer[0])
	default:
		t.Fatalf("%s has %d records", name, len(reply.Answer))
		return ""
	}
}

// field returns the data of an A or TXT record.
func field(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.A:
		return rr.A.String()
	case *dns.TXT:
		return strings.Join(rr.Txt, "|")
	default:
		return rr.String()
	}
}

// serial returns the serial of a zone.
func (a *asker) serial(t *testing.T, zone string) uint32 {
	t.Helper()
	reply := a.ask(t, zone, dns.TypeSOA)
	if len(reply.Answer) != 1 {
		t.Fatalf("SOA of %s: %v", zone, reply)
	}
	soa, ok := reply.Answer[0].(*dns.SOA)
	if !ok {
		t.Fatalf("SOA of %s: %v", zone, reply.Answer[0])
	}
	return soa.Serial
}

// answersAgain waits until a server answers for a zone.
func (a *asker) answersAgain(t *testing.T, zone string) {
	t.Helper()
	a.client.Timeout = 200 * time.Millisecond // it may not listen yet
	eventually(t, "a server answers for "+zone, func(context.Context) error {
		_, err := a.try(zone, dns.TypeSOA)
		return err
	})
	a.client.Timeout = 5 * time.Second
}
