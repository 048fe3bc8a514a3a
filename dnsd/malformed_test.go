package dnsd_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"backscatter/dnsd"
	"backscatter/zonefile"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// malformedCases are packets that are no question. Those that want no rcode
// must not be answered at all.
func malformedCases() []wireCase {
	soa := ask(soaAsk, dns.TypeSOA, 1)
	one := [4]uint16{1}
	formerr, notimp := reply{Rcode: "FORMERR"}, reply{Rcode: "NOTIMP"}
	long := bytes.Repeat(append([]byte{63}, strings.Repeat("a", 63)...), 4)
	longest := slices.Concat(long[:3*64], []byte{61}, []byte(strings.Repeat("a", 61)), unhex("00 0001 0001"))
	return []wireCase{
		{"nothing", "RFC 1035 §4.1.1", nil, reply{}},
		{"one byte", "RFC 1035 §4.1.1", []byte{0}, reply{}},
		{"half a header", "RFC 1035 §4.1.1", raw(0, one)[:11], reply{}},
		{"an answer", "RFC 1035 §4.1.1", raw(0x8000, one, soa), reply{}},
		{"an answer with another opcode", "RFC 1035 §4.1.1", raw(0x8000|opcode15, one, soa), reply{}},
		{"an answer that is cut", "RFC 1035 §4.1.1", raw(0x8000, one), reply{}},
		{"a header alone", "RFC 9619 §4", raw(0, [4]uint16{}), formerr},
		{"a question announced", "RFC 1035 §4.1.2", raw(0, one), formerr},
		{"a name without end", "RFC 1035 §4.1.2", raw(0, one, soa[:7]), formerr},
		{"a type without class", "RFC 1035 §4.1.2", raw(0, one, soa[:len(soa)-2]), formerr},
		{"a label longer than the packet", "RFC 1035 §4.1.2", raw(0, one, unhex("3f 61")), formerr},
		{"a compressed question", "RFC 1035 §4.1.4", raw(0, one, unhex("c00c 0001 0001")), formerr},
		{"a question compressed into the header", "RFC 1035 §4.1.4", raw(0, one, unhex("02 626c c000 0001 0001")), formerr},
		{"half a pointer", "RFC 1035 §4.1.4", raw(0, one, unhex("c0")), formerr},
		{"extended label type", "RFC 6891 §5", raw(0, one, unhex("41 00 00 0001 0001")), formerr},
		{"reserved label type", "RFC 1035 §4.1.4", raw(0, one, unhex("80 00 00 0001 0001")), formerr},
		{"256 bytes of name", "RFC 1035 §2.3.4", raw(0, one, long[:3*64], unhex("3e"), bytes.Repeat([]byte{'a'}, 62), unhex("00 0001 0001")), formerr},
		{"255 bytes of name", "RFC 1035 §2.3.4", raw(0, one, longest), reply{Rcode: "REFUSED"}},
		{"two questions", "RFC 9619 §4", raw(0, [4]uint16{2}, soa, soa), formerr},
		{"two questions announced", "RFC 9619 §4", raw(0, [4]uint16{2}, soa), formerr},
		{"65535 questions announced", "RFC 9619 §4", raw(0, [4]uint16{65535}, soa), formerr},
		{"65535 of everything announced", "RFC 1035 §4.1.1", raw(0, [4]uint16{1, 65535, 65535, 65535}, soa), formerr},
		{"an answer record announced", "RFC 1035 §4.1.1", raw(0, [4]uint16{1, 1}, soa), formerr},
		{"an authority record announced", "RFC 1035 §4.1.1", raw(0, [4]uint16{1, 0, 1}, soa), formerr},
		{"data longer than the packet", "RFC 1035 §4.1.3", raw(0, [4]uint16{1, 1}, soa, unhex("00 0001 0001 00000000 ffff 00")), formerr},
		{"a record with half a pointer", "RFC 1035 §4.1.4", raw(0, [4]uint16{1, 1}, soa, unhex("c0")), formerr},
		{"bytes behind the message", "RFC 1035 §4.1", raw(0, one, soa, unhex("deadbeef")), found(soaBL)},
		{"a record in the question's company", "RFC 1995 §3", raw(0, [4]uint16{1, 0, 1}, soa, unhex("c00c 0001 0001 00000000 0004 c0000201")), found(soaBL)},
		{"inverse query", "RFC 3425 §3", raw(1<<11, [4]uint16{0, 1}, unhex("00 0001 0001 00000000 0004 c0000201")), notimp},
		{"update", "RFC 2136 §3.1", raw(5<<11, one, soa), notimp},
		{"notify", "RFC 1996 §3", raw(4<<11, one, soa), notimp},
		{"other opcode, broken", "RFC 8906 §3.1.4", raw(2<<11, one, soa[:5]), notimp},
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	v := view(t)
	for _, c := range malformedCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			response, verdict := dnsd.Answer(nil, c.packet, dnsd.UDP, v)
			if c.want.Rcode == "" {
				if len(response) != 0 || verdict.Kind != dnsd.Dropped {
					t.Errorf("%s: answered %x, counted as %s", c.rule, response, verdict.Kind)
				}
				return
			}
			if diff := cmp.Diff(c.want, words(t, c.packet, response)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.rule, diff)
			}
		})
	}
}

// TestMalformedOverSockets sends each packet and behind it, on the same socket,
// a good question: what is not answered shows by the answer to that, and that
// the server is well.
func TestMalformedOverSockets(t *testing.T) {
	t.Parallel()
	v := view(t)
	addr := serve(t, options(t)).Addrs()[0]
	good := packed(t, question("66.2.0.192.bl.example.", dns.TypeA))
	goodAnswer, _ := dnsd.Answer(nil, good, dnsd.UDP, v)
	for _, c := range malformedCases() {
		want := [][]byte{goodAnswer}
		if response, _ := dnsd.Answer(nil, c.packet, dnsd.UDP, v); len(response) > 0 {
			want = [][]byte{response, goodAnswer}
		}
		t.Run("udp/"+c.name, func(t *testing.T) {
			conn := dial(t, "udp", addr)
			var got [][]byte
			send(t, conn, c.packet)
			if len(want) == 2 { // workers may answer in any order
				got = append(got, receiveUDP(t, conn))
			}
			send(t, conn, good)
			got = append(got, receiveUDP(t, conn))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.rule, diff)
			}
		})
		t.Run("tcp/"+c.name, func(t *testing.T) {
			conn := dial(t, "tcp", addr)
			send(t, conn, slices.Concat(framed(c.packet), framed(good)))
			var got [][]byte
			for range want {
				got = append(got, receiveTCP(t, conn))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.rule, diff)
			}
		})
	}
}

// TestPanic wants SERVFAIL, with OPT, for the question that makes the server
// panic, the stack in the log, and all other questions answered.
func TestPanic(t *testing.T) {
	t.Parallel()
	var log syncBuffer
	o := options(t)
	registry := prometheus.NewRegistry()
	o.Metrics, o.Logger = registry, slog.New(slog.NewTextHandler(&log, nil))
	good := o.Zones
	var broken sync.Map
	o.Zones = func() *zonefile.Set {
		if _, is := broken.Load("now"); is {
			panic("the zones are on fire")
		}
		return good()
	}
	addr := serve(t, o).Addrs()[0]
	m := question("66.2.0.192.bl.example.", dns.TypeA)
	m.SetEdns0(1232, true)
	request := packed(t, m)
	for _, over := range []dnsd.Transport{dnsd.UDP, dnsd.TCP} {
		broken.Store("now", true)
		want := reply{Rcode: "SERVFAIL", Additional: []string{optDo}}
		if diff := cmp.Diff(want, words(t, request, exchange(t, over, addr, request))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", over, diff)
		}
		broken.Delete("now")
		want = withOPT(found(a("66.2.0.192.bl.example.", 600, 2)), optDo)
		if diff := cmp.Diff(want, words(t, request, exchange(t, over, addr, request))); diff != "" {
			t.Errorf("%s, afterwards (-want +got):\n%s", over, diff)
		}
	}
	if text := log.String(); !strings.Contains(text, "on fire") || !strings.Contains(text, "malformed_test.go") {
		t.Errorf("no stack in the log: %s", text)
	}
	if got := counted(t, registry, "backscatter_dns_panics_total", nil); got != 2 {
		t.Errorf("%v panics counted, want 2", got)
	}
	failed := map[string]string{"kind": "failed", "type": "A", "rcode": "SERVFAIL"}
	if got := counted(t, registry, "backscatter_dns_answers_total", failed); got != 2 {
		t.Errorf("%v answers counted as failed, want 2", got)
	}
}

// syncBuffer is a buffer that several goroutines write to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestServeWithoutListen wants an error instead of a server that does nothing.
func TestServeWithoutListen(t *testing.T) {
	t.Parallel()
	if err := dnsd.New(options(t)).Serve(context.Background()); err == nil {
		t.Error("no error")
	}
}
