package dnsd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// transfers bounds and counts those that a server makes.
type transfers struct {
	slots     chan struct{} // holds one for each that runs
	comparing sync.Mutex    // held while changes are added up, which takes memory

	done    *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	running prometheus.Gauge
}

// Results of transfers, as they are counted.
const (
	transferDone   = "done"
	transferFailed = "failed" // the secondary has gone, or was too slow
	transferBusy   = "busy"   // too many ran, and it was put off
)

func newTransfers(most int, reg prometheus.Registerer) *transfers {
	t := &transfers{
		slots: make(chan struct{}, most),
		done: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backscatter_dns_transfers_total", Help: "Transfers of zones, by what was sent and what became of it.",
		}, []string{"kind", "result"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backscatter_dns_transfer_bytes_total", Help: "Octets that transfers of zones have sent.",
		}, []string{"kind"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "backscatter_dns_transfers_running", Help: "Transfers of zones that are being sent.",
		}),
	}
	for kind := range transferKinds {
		for _, result := range []string{transferDone, transferFailed, transferBusy} {
			t.done.WithLabelValues(kind.String(), result)
		}
		t.bytes.WithLabelValues(kind.String())
	}
	if reg != nil {
		reg.MustRegister(t.done, t.bytes, t.running)
	}
	return t
}

// count notes the end of a transfer.
func (m *transfers) count(t *transfer, result string) {
	m.done.WithLabelValues(t.kind.String(), result).Inc()
	m.bytes.WithLabelValues(t.kind.String()).Add(float64(t.bytes))
}

// errPanic ends a transfer that made us panic.
var errPanic = errors.New("the transfer made the server panic")

// sendTransfer makes a transfer and sends it, behind what is on its way to the
// client already. It returns an error when the connection is of no use any more.
func (s *Server) sendTransfer(cl *client, out *bufio.Writer, t *transfer, counts *tally) (err error) {
	select {
	case s.transfers.slots <- struct{}{}:
	default:
		return s.putOff(cl, out, t, counts)
	}
	s.transfers.running.Inc()
	begun := time.Now()
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			stack := string(debug.Stack())
			s.loud.Do(func() { s.log.Error("transfer caused a panic", "err", fmt.Sprint(p), "stack", stack) })
			err = errPanic
		}
		<-s.transfers.slots
		s.transfers.running.Dec()
		s.noteTransfer(t, begun, err)
	}()
	if t.kind == Incremental {
		s.compare(t)
	}
	counts.count(Verdict{Kind: Transfer, Type: t.q.qtype, Rcode: dns.RcodeSuccess, Cookies: t.q.cookies})
	err = t.send(time.Now, func(message []byte) error {
		s.clients.active(cl) // who takes a zone is not idle
		if err := s.clients.awaitSent(cl, s.limits.patience(t, time.Since(begun))); err != nil {
			return err
		}
		_, err := out.Write(message)
		return err
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// compare finds out what an incremental transfer has, one at a time.
func (s *Server) compare(t *transfer) {
	s.transfers.comparing.Lock()
	defer s.transfers.comparing.Unlock()
	if err := t.compare(s.options.Compare); err != nil {
		s.loud.Do(func() {
			s.log.Error("changes of a zone could not be read, so all of it is sent", "zone", t.zone.Name, "err", err)
		})
	}
}

// patience is how long the next message of a transfer may take to be accepted. A
// secondary that stalls is waited for; but a snapshot must not be held for ever,
// so over all it has to keep up a rate.
func (l *Limits) patience(t *transfer, elapsed time.Duration) time.Duration {
	allowed := l.TransferStall + time.Duration(float64(t.bytes)/float64(l.TransferRate)*float64(time.Second))
	return min(l.TransferStall, allowed-elapsed)
}

// putOff answers that now is not the time: secondaries try again.
func (s *Server) putOff(cl *client, out *bufio.Writer, t *transfer, counts *tally) error {
	s.transfers.count(t, transferBusy)
	r := failure(Failed, dns.RcodeServerFailure, noError)
	message, _, err := r.append(make([]byte, lengthSize, minUDP), &t.q, t.q.room(TCP))
	if err != nil {
		return err
	}
	if t.q.seal != nil {
		message = t.q.seal.sign(message, lengthSize, t.view.seconds())
	}
	binary.BigEndian.PutUint16(message, uint16(len(message)-lengthSize))
	counts.count(Verdict{Kind: Failed, Type: t.q.qtype, Rcode: dns.RcodeServerFailure, Cookies: t.q.cookies})
	return s.write(cl, out, message, true)
}

// noteTransfer counts a transfer and logs it.
func (s *Server) noteTransfer(t *transfer, begun time.Time, err error) {
	result, level := transferDone, slog.LevelDebug
	if err != nil {
		result, level = transferFailed, slog.LevelInfo
	}
	s.transfers.count(t, result)
	attrs := []slog.Attr{
		slog.String("zone", t.zone.Name), slog.String("client", t.view.Client.Unmap().String()), slog.String("kind", t.kind.String()),
		slog.Uint64("serial", uint64(t.view.Snapshot.Serial())), slog.Int("records", t.records), slog.Int64("bytes", t.bytes),
		slog.Duration("took", time.Since(begun)),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	s.log.LogAttrs(context.Background(), level, "transfer of a zone", attrs...)
}
