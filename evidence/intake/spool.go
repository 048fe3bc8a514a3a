package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"backscatter/evidence"
	"backscatter/evidence/durable"
)

// ErrSpoolFull says that a report was not taken, as the spool holds all that it
// may.
var ErrSpoolFull = errors.New("the spool is full")

// What a spool does in its own time.
const (
	spoolAhead   = 16               // reports handed on at a time, so that they share the store's commits
	spoolRetry   = 2 * time.Second  // after the first failure; doubled with each further one
	spoolSlowest = time.Minute      // at most; also how often others' reports are looked for
	spoolSubmit  = 30 * time.Second // for handing on one report
)

// A report in the spool is a file of two parts: a line of JSON with all but the
// message, and the message. It is written under another name, synced, and gets
// its name then, in which the time comes first.
const (
	spoolSuffix  = ".report"
	spoolPartial = ".partial"
	spoolDamaged = ".damaged"
)

// Spool keeps reports on disk between a sensor that cannot ask for one again and
// a sink that may not take it now. What [Spool.Submit] took is on disk, across a
// crash of the process or of the machine, until the sink has it. A crash between
// the two hands it in twice, which counts once: the store knows it by its
// identity.
type Spool struct {
	dir     string
	most    int64
	sink    Sink
	log     *slog.Logger
	metrics *Metrics
	wake    chan struct{} // something is there
	number  atomic.Uint64 // of reports taken by this process, so that names differ
	passed  sync.Map      // files that cannot be read, and were told of

	mu   sync.Mutex // guards size
	size int64      // octets in the spool, and of what is being written
}

// SpoolOptions is what a [Spool] is made of. Dir, Most and Sink are needed.
type SpoolOptions struct {
	Dir     string
	Most    int64 // octets that it may hold
	Sink    Sink
	Logger  *slog.Logger
	Metrics *Metrics
}

// NewSpool opens the spool in a folder, and makes that if it is not there.
func NewSpool(o SpoolOptions) (*Spool, error) {
	s := &Spool{
		dir: o.Dir, most: o.Most, sink: o.Sink, log: orSilent(o.Logger), metrics: o.Metrics.orNone(),
		wake: make(chan struct{}, 1),
	}
	if err := durable.Folder(o.Dir); err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(o.Dir, e.Name())
		if strings.HasSuffix(e.Name(), spoolPartial) { // nobody was told that it is here
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("open the spool: %w", err)
			}
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			s.grow(info.Size(), true)
		}
	}
	return s, nil
}

// grow counts octets that come, or go, and reports whether there is room for
// them; by force there is.
func (s *Spool) grow(n int64, force bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !force && s.size+n > s.most {
		return false
	}
	s.size = max(s.size+n, 0) // what other processes put here was not counted
	s.metrics.spooled.Set(float64(s.size))
	return true
}

// spooled is a report as it is in the file, but for the message.
type spooled struct {
	Truncated  bool       `json:"truncated,omitempty"`
	Callout    bool       `json:"callout,omitempty"`
	Held       bool       `json:"held,omitempty"`
	Nobody     bool       `json:"nobody,omitempty"`
	Client     netip.Addr `json:"client,omitzero"`
	HELO       string     `json:"helo,omitempty"`
	PTR        string     `json:"ptr,omitempty"`
	MailFrom   *string    `json:"mail_from,omitempty"` // nil when not known
	Recipients []string   `json:"recipients,omitempty"`
	Received   time.Time  `json:"received"`
	Reporter   string     `json:"reporter"`
	Sensor     string     `json:"sensor"`
	Octets     int        `json:"octets"` // of the message
}

// encodeReport writes a report as it is in the file.
func encodeReport(r evidence.Report) ([]byte, error) {
	s := spooled{
		Truncated: r.Truncated, Callout: r.Callout, Held: r.Held, Nobody: r.Nobody,
		Client: r.Envelope.Client, HELO: r.Envelope.HELO, PTR: r.Envelope.PTR, Recipients: r.Envelope.Recipients,
		Received: r.Received, Reporter: r.Reporter, Sensor: r.Sensor, Octets: len(r.Raw),
	}
	if r.Envelope.MailFromKnown {
		s.MailFrom = &r.Envelope.MailFrom
	}
	head, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return append(append(head, '\n'), r.Raw...), nil
}

// errDamaged says that a file of the spool is not what was written.
var errDamaged = errors.New("the file is damaged")

// decodeReport reads what encodeReport wrote.
func decodeReport(text []byte) (evidence.Report, error) {
	head, raw, ok := bytes.Cut(text, []byte{'\n'})
	var s spooled
	if !ok || json.Unmarshal(head, &s) != nil || s.Octets != len(raw) {
		return evidence.Report{}, errDamaged
	}
	r := evidence.Report{
		Raw: raw, Truncated: s.Truncated, Callout: s.Callout, Held: s.Held, Nobody: s.Nobody, Received: s.Received, Reporter: s.Reporter, Sensor: s.Sensor,
		Envelope: evidence.Envelope{Client: s.Client, HELO: s.HELO, PTR: s.PTR, Recipients: s.Recipients, MailFromKnown: s.MailFrom != nil},
	}
	if s.MailFrom != nil {
		r.Envelope.MailFrom = *s.MailFrom
	}
	return r, nil
}

// Submit takes a report: when it returns without an error the report is on
// disk. The finding is not known yet, and empty.
func (s *Spool) Submit(_ context.Context, r evidence.Report) (evidence.Finding, error) {
	if err := s.keep(r); err != nil {
		s.metrics.spoolRefused.Inc()
		return evidence.Finding{}, fmt.Errorf("spool a report: %w", err)
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return evidence.Finding{}, nil
}

func (s *Spool) keep(r evidence.Report) (err error) {
	text, err := encodeReport(r)
	if err != nil {
		return err
	}
	if !s.grow(int64(len(text)), false) {
		return fmt.Errorf("%s holds %d octets: %w", s.dir, s.most, ErrSpoolFull)
	}
	name := filepath.Join(s.dir, fmt.Sprintf("%020d-%d-%d", now().UnixNano(), os.Getpid(), s.number.Add(1)))
	defer func() {
		if err != nil {
			s.grow(-int64(len(text)), true)
			_ = os.Remove(name + spoolPartial) // what is left of it goes at the next start
		}
	}()
	if err := durable.Write(name+spoolPartial, 0o600, text); err != nil {
		return err
	}
	if err := os.Rename(name+spoolPartial, name+spoolSuffix); err != nil {
		return err
	}
	return durable.Sync(s.dir)
}

// Run hands the reports in the spool on, the oldest first, until the context
// ends. One that the sink does not take stays, and so do those behind it.
func (s *Spool) Run(ctx context.Context) error {
	wait := time.Duration(0)
	for {
		err := s.handOn(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // what failed for the end of the context stays for the next life
		}
		switch err {
		case nil:
			if wait > 0 {
				s.log.Info("the spool is empty again")
			}
			wait = 0
		default:
			if wait == 0 {
				s.log.Warn("reports stay in the spool", "err", err)
			}
			wait = min(max(2*wait, spoolRetry), spoolSlowest)
		}
		if !s.pause(ctx, wait) {
			return nil
		}
	}
}

// pause waits for a report, after a failure for some time.
func (s *Spool) pause(ctx context.Context, wait time.Duration) bool {
	wake := s.wake
	if wait > 0 {
		wake = nil
	} else {
		wait = spoolSlowest
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// handOn hands on all that is there.
func (s *Spool) handOn(ctx context.Context) error {
	entries, err := os.ReadDir(s.dir) // sorted, so by time
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(spoolAhead)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), spoolSuffix) && ctx.Err() == nil {
			g.Go(func() error { return s.handOnOne(ctx, filepath.Join(s.dir, e.Name())) })
		}
	}
	return g.Wait()
}

func (s *Spool) handOnOne(ctx context.Context, path string) error {
	text, err := readBounded(path, MaxRaw+maxSpoolHead)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		s.passOver(path, err)
		return nil
	}
	r, err := decodeReport(text)
	if err != nil {
		if err := os.Rename(path, path+spoolDamaged); err != nil {
			s.passOver(path, err)
			return nil
		}
		s.log.Error("a file in the spool is damaged and put aside", "file", path)
		s.metrics.spoolDamaged.Inc()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, spoolSubmit)
	defer cancel()
	if _, err := s.sink.Submit(ctx, r); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	s.grow(-int64(len(text)), true)
	return nil
}

// passOver leaves a file alone that cannot be read: the others do not wait for it.
// It stays, is told of once, and is tried again with each pass.
func (s *Spool) passOver(path string, err error) {
	if _, told := s.passed.LoadOrStore(path, true); !told {
		s.log.Error("a file in the spool cannot be read", "file", path, "err", err)
		s.metrics.spoolDamaged.Inc()
	}
}

// maxSpoolHead bounds all of a report but the message.
const maxSpoolHead = 256 << 10

// readBounded reads a file that is no longer than it may be; what is more is
// cut off, and so found to be damaged.
func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, most))
}
