package remote_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/intake"
	"backscatter/ops/remote"
)

// trickling is a request whose body never comes to its end.
func (l *list) trickling(n byte) *http.Request {
	l.t.Helper()
	body := line(l.t, "whole")
	r := l.request(n, body)
	in, out := io.Pipe()
	l.t.Cleanup(func() { _ = out.Close() })
	go func() { _, _ = out.Write(body[:10]) }() // ends with the pipe
	r.Body, r.ContentLength = in, int64(len(body))
	return r
}

// Who sends slowly, in as many requests as it likes, keeps nobody else out.
func TestReportersAreKeptApart(t *testing.T) {
	t.Parallel()
	l := newList(t, func(o *remote.ServerOptions) {
		o.Reporters = enrolled{1: {Name: "friend"}, 2: {Name: "slow"}}
		o.Limits = remote.Limits{Bodies: 2, Stall: time.Hour, Deadline: time.Hour}
	})
	for range 8 {
		go func(r *http.Request) { // ends with the list
			if response, err := l.Client().Do(r); err == nil {
				_ = response.Body.Close()
			}
		}(l.trickling(2))
	}
	for i := range 3 {
		if response, text := l.do(l.request(1, line(t, fmt.Sprint(i)))); response.StatusCode != http.StatusOK {
			t.Errorf("%d %s", response.StatusCode, text)
		}
	}
	l.CloseClientConnections()
}

// A body that does not come has its time, and no more.
func TestStall(t *testing.T) {
	t.Parallel()
	l := newList(t, func(o *remote.ServerOptions) {
		o.Limits = remote.Limits{Stall: 50 * time.Millisecond, Deadline: time.Hour}
	})
	if response, text := l.do(l.trickling(1)); response.StatusCode != http.StatusBadRequest {
		t.Errorf("%d %s", response.StatusCode, text)
	}
	if response, text := l.do(l.request(1, line(t, "next"))); response.StatusCode != http.StatusOK {
		t.Errorf("%d %s", response.StatusCode, text)
	}
}

// What is no request for reports has no body read.
func TestOthersAreClosed(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	for method, path := range map[string]string{http.MethodPost: "/other", http.MethodPut: remote.Path} {
		w := httptest.NewRecorder()
		remote.NewServer(l.options).ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Header().Get("Connection") != "close" {
			t.Errorf("%s %s: %d, and the connection stays", method, path, w.Code)
		}
	}
}

// from is a connection from an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }
func (f from) Close() error         { return nil }

// queue is a listener of connections that are there.
type queue []net.Conn

func (q *queue) Accept() (net.Conn, error) {
	if len(*q) == 0 {
		return nil, io.EOF
	}
	c := (*q)[0]
	*q = (*q)[1:]
	return c, nil
}
func (q *queue) Close() error   { return nil }
func (q *queue) Addr() net.Addr { return nil }

func TestLimitClients(t *testing.T) {
	t.Parallel()
	var q queue
	come := func(addrs ...string) {
		for _, a := range addrs {
			q = append(q, from{addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(a), 9))})
		}
	}
	l := remote.LimitClients(&q, 2, func() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("198.51.100.3/32")} })
	let := func() (conns []net.Conn) {
		for {
			c, err := l.Accept()
			if err != nil {
				return conns
			}
			conns = append(conns, c)
		}
	}
	come("192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1")
	conns := let()
	if len(conns) != 6 {
		t.Errorf("%d are let in, want 6", len(conns))
	}
	come("127.0.0.1", "127.0.0.1", "127.0.0.1", "198.51.100.3", "198.51.100.3", "198.51.100.3")
	if n := len(let()); n != 6 {
		t.Errorf("%d of those that stand for many are let in, want 6", n)
	}
	for range 2 { // closed twice, it goes once
		_ = conns[0].Close()
	}
	come("192.0.2.1", "192.0.2.1")
	if n := len(let()); n != 1 {
		t.Errorf("%d are let in where one went, want 1", n)
	}
}

// What is wrong with a report is told in few and printable words.
func TestReasonsAreBounded(t *testing.T) {
	t.Parallel()
	l := newList(t, nil)
	body := []byte(`{"message":"x","client":"` + strings.Repeat("\\u0007y", 200_000) + `"}` + "\n")
	response, text := l.do(l.request(1, body))
	got := answers(t, text)
	if response.StatusCode != http.StatusOK || len(got) != 1 || len(got[0].Reason) > 500 || len(got[0].Reason) < 10 || strings.Contains(got[0].Reason, "\a") {
		t.Errorf("%d %.600s", response.StatusCode, text)
	}
}

// An answer of any length leaves the queue.
func TestLongAnswer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"index":0,"verdict":"error","reason":"%s"}`+"\n"+`{"index":1,"verdict":"proven"}`, strings.Repeat("x", 1<<20))
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := &remote.Sender{URL: u, Key: keyOf(1), Client: server.Client()}
	body, err := intake.Record(intake.Item{Raw: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Send(t.Context(), bytes.Repeat(append(body, '\n'), 2), 2)
	if err != nil || len(got) != 2 || got[0].Verdict != evidence.Failed || got[0].Reason == "" || got[1].Verdict != evidence.Proven {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.Send(t.Context(), body, 1); err == nil {
		t.Error("two answers to one report")
	}
}
