package dnsd_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"backscatter/dnsd"

	"github.com/miekg/dns"
)

// asked is a question that resolvers send.
type asked struct {
	name    string
	request []byte
}

func questions(b *testing.B) []asked {
	b.Helper()
	edns := func(name string, qtype uint16) []byte {
		m := question(name, qtype)
		m.SetEdns0(1232, true)
		return packed(b, m)
	}
	return []asked{
		{"listed", packed(b, question("66.2.0.192.bl.example.", dns.TypeA))},
		{"listed_edns", edns("66.2.0.192.bl.example.", dns.TypeA)},
		{"listed_txt", packed(b, question("66.2.0.192.bl.example.", dns.TypeTXT))},
		{"listed_ipv6", packed(b, question(nibbles("2001:db8:0:1::25"), dns.TypeA))},
		{"unlisted", packed(b, question("65.2.0.192.bl.example.", dns.TypeA))},
		{"partial", edns("2.0.192.bl.example.", dns.TypeNS)},
		{"no_address", packed(b, question("www.example.org.bl.example.", dns.TypeA))},
		{"name_server", edns("ns1.bl.example.", dns.TypeAAAA)},
		{"status", packed(b, question("_status.bl.example.", dns.TypeTXT))},
		{"refused", packed(b, question("www.example.net.", dns.TypeA))},
		{"malformed", raw(0, [4]uint16{1})},
	}
}

// BenchmarkAnswer measures the pure function for what resolvers send most.
func BenchmarkAnswer(b *testing.B) {
	for _, c := range questions(b) {
		b.Run(c.name, func(b *testing.B) {
			v, out := view(b), make([]byte, 0, 1232)
			b.ReportAllocs()
			for b.Loop() {
				if response, _ := dnsd.Answer(out, c.request, dnsd.UDP, v); len(response) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkWorker measures the same as a UDP worker does it, without the socket.
func BenchmarkWorker(b *testing.B) {
	for _, c := range questions(b) {
		b.Run(c.name, func(b *testing.B) {
			v := view(b)
			handle, _ := dnsd.Worker(func() dnsd.View { return v })
			buffer := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				if response := handle(append(buffer, c.request...)); len(response) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkRules measures what it costs to know who asks: the same question, for a
// different name each time, under no rules, under limits that are not reached,
// and with a cookie.
func BenchmarkRules(b *testing.B) {
	names := make([][]byte, 1<<16)
	for i := range names {
		names[i] = packed(b, question(fmt.Sprintf("%d.%d.0.203.bl.example.", i&255, i>>8), dns.TypeA))
	}
	limits := dnsd.Rates{Same: 200, All: 1e9, Slip: 3}
	for _, c := range []struct {
		name  string
		rules *dnsd.Rules
		opt   []byte
	}{
		{"none", nil, nil},
		{"limits", &dnsd.Rules{Rates: limits}, nil},
		{"access", &dnsd.Rules{Access: dnsd.NewAccess(dnsd.AccessRule{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Action: dnsd.Refuse})}, nil},
		{"edns", nil, optRR(1232, 0, 0)},
		{"edns_limits", &dnsd.Rules{Rates: limits}, optRR(1232, 0, 0)},
		{"first_cookie", &dnsd.Rules{Rates: limits, Jar: dnsd.NewJar(cookieSecret(secretA1))}, optRR(1232, 0, 0, cookieOption(firstCookie)...)},
		{"good_cookie", &dnsd.Rules{Rates: limits, Jar: dnsd.NewJar(cookieSecret(secretA1))}, optRR(1232, 0, 0, goodCookie...)},
	} {
		b.Run(c.name, func(b *testing.B) {
			v := ruledView(b, dnsd.Rules{})
			v.Rules = c.rules
			handle, _ := dnsd.Worker(func() dnsd.View { return v })
			buffer := make([]byte, 0, 4096)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i&0xffff == 0 {
					v.Now = v.Now.Add(time.Second)
				}
				packet := append(append(buffer, names[i&0xffff]...), c.opt...)
				if c.opt != nil {
					packet[11] = 1
				}
				if response := handle(packet); len(response) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkSampling measures what a worker pays for the log of questions and for
// dnstap: off, one question in a thousand, and every one.
func BenchmarkSampling(b *testing.B) {
	for _, c := range []struct {
		name  string
		every int
	}{{"off", 0}, {"one_in_1000", 1000}, {"all", 1}} {
		b.Run(c.name, func(b *testing.B) {
			v := view(b)
			handle := dnsd.SampledWorker(func() dnsd.View { return v }, c.every)
			buffer, request := make([]byte, 0, 4096), packed(b, question("65.2.0.192.bl.example.", dns.TypeA))
			b.ReportAllocs()
			for b.Loop() {
				if response := handle(append(buffer, request...)); len(response) == 0 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// BenchmarkServer measures a question and its answer over the loopback: over
// UDP one after the other, over TCP 100 at a time.
func BenchmarkServer(b *testing.B) {
	addr := serve(b, options(b)).Addrs()[0]
	request := packed(b, question("66.2.0.192.bl.example.", dns.TypeA))
	b.Run("udp", func(b *testing.B) {
		conn, buf := dial(b, "udp", addr), make([]byte, 1500)
		for b.Loop() {
			send(b, conn, request)
			if _, err := conn.Read(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tcp_pipelined", func(b *testing.B) {
		const batch = 100
		conn, questions := dial(b, "tcp", addr), bytes.Repeat(framed(request), batch)
		for i := 0; b.Loop(); i++ {
			if i%batch == 0 {
				send(b, conn, questions)
			}
			receiveTCP(b, conn)
		}
	})
}
