package dnsd

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/time/rate"
)

// QueryLog is a log of some questions, a line each.
type QueryLog struct {
	Sample int            // one question in so many
	Rate   int            // lines in a second at most
	Whole  bool           // tell the addresses of clients; otherwise their networks, an IPv4 /24 or an IPv6 /56
	To     io.WriteCloser // lines of JSON, and closed in the end; nil: to the server's own log
}

// LogQueries has a sample of the questions logged from now on, in place of what
// was logged so far; nil logs none. What was logged so far is finished by Serve.
func (s *Server) LogQueries(l *QueryLog) {
	stream := &s.streams[queryLog]
	if l == nil {
		stream.set(nil, 0)
		return
	}
	w := &queryLines{stream: stream, server: s, whole: l.Whole, to: s.log.Handler(), limiter: rate.NewLimiter(rate.Limit(l.Rate), max(1, l.Rate))}
	if l.To != nil {
		w.file, w.out = l.To, bufio.NewWriterSize(l.To, 1<<16)
		w.to = slog.NewJSONHandler(w.out, nil)
	}
	stream.set(w, l.Sample)
}

// queryLines writes samples as lines of a log.
type queryLines struct {
	stream  *stream
	server  *Server
	whole   bool
	limiter *rate.Limiter
	to      slog.Handler
	latest  time.Time     // of the answers so far, which come from one worker after the other
	out     *bufio.Writer // what to writes to; nil: nobody knows
	file    io.WriteCloser
	waiting int // lines in out
}

func (w *queryLines) take(e *sample) {
	if w.latest.Before(e.answered) { // a limiter that goes back gives the same time twice
		w.latest = e.answered
	}
	if !w.limiter.AllowN(w.latest, 1) {
		w.stream.count(lostRate, 1)
		return
	}
	r := slog.NewRecord(e.asked, slog.LevelInfo, "dns question", 0)
	r.AddAttrs(w.attributes(e)...)
	if w.out != nil && w.out.Available() < lineMost {
		w.flush()
	}
	if !w.to.Enabled(context.Background(), slog.LevelInfo) {
		w.stream.count(lostPeer, 1)
		return
	}
	if err := w.to.Handle(context.Background(), r); err != nil {
		w.fail(err, 1)
		return
	}
	w.waiting++
}

// lineMost is longer than any line: a name of 255 octets takes 1020 characters.
const lineMost = 4096

func (w *queryLines) attributes(e *sample) []slog.Attr {
	attributes := []slog.Attr{
		slog.String("client", w.client(e.client.Addr())),
		slog.String("transport", e.over.String()),
	}
	if q, ok := parse(e.query); ok && len(q.question) > 0 {
		attributes = append(attributes,
			slog.String("name", q.owner()), slog.String("class", dns.Class(q.qclass).String()), slog.String("type", dns.Type(q.qtype).String()),
			slog.Bool("edns", q.edns.asked), slog.Bool("do", q.edns.do))
	}
	attributes = append(attributes, slog.String("kind", e.verdict.Kind.String()))
	if e.verdict.Kind == Dropped {
		return append(attributes, slog.String("reason", dropNames[e.verdict.reason]))
	}
	return append(attributes,
		slog.String("rcode", rcodeLabel(indexOf(countedRcodes[:], e.verdict.Rcode))), slog.Bool("truncated", e.verdict.Truncated),
		slog.String("cookie", e.verdict.Cookies.String()), slog.Int("octets", len(e.response)))
}

// client tells who asked, as far as it may be told.
func (w *queryLines) client(addr netip.Addr) string {
	addr = addr.Unmap()
	if w.whole {
		return addr.String()
	}
	return clientOf(addr).String()
}

func (w *queryLines) flush() {
	if w.waiting == 0 {
		return
	}
	n := w.waiting
	w.waiting = 0
	if w.out != nil {
		if err := w.out.Flush(); err != nil {
			w.out.Reset(w.file) // its error would last for ever
			w.fail(err, n)
			return
		}
	}
	w.stream.count(written, n)
}

// fail counts lines that were lost, and tells why.
func (w *queryLines) fail(err error, lines int) {
	w.stream.count(lostPeer, lines)
	w.stream.loud.Do(func() { w.server.log.Warn("log of questions could not be written", "err", err) })
}

// hurry does nothing: a disk answers when it does.
func (*queryLines) hurry() {}

func (w *queryLines) close() {
	w.flush()
	if w.file == nil {
		return
	}
	if err := w.file.Close(); err != nil {
		w.server.log.Warn("log of questions could not be closed", "err", err)
	}
}
