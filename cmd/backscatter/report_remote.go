package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/pflag"

	"backscatter/evidence"
	"backscatter/evidence/intake"
	"backscatter/ops/config"
	"backscatter/ops/control"
	"backscatter/ops/remote"
)

// remoteReport is how reports go to a list over the network.
type remoteReport struct {
	to    string
	key   string
	queue string
	size  int64
	ca    string
	flush bool
}

// defaultQueueSize is how many octets wait for a list at most.
const defaultQueueSize = 1 << 30

func (f *remoteReport) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.to, "to", "", "`URL` of a list elsewhere that the messages are for, such as https://bl.example.org")
	flags.StringVar(&f.key, "key", "", "with --to: `FILE` with the key to sign by, as 'reporter keygen' makes it")
	flags.StringVar(&f.queue, "queue", "", "with --to: `DIR` for what waits to be sent (default: outbox in the state folder, that of --config if it is given)")
	flags.Int64Var(&f.size, "queue-size", defaultQueueSize, "with --to: the most `OCTETS` that may wait")
	flags.StringVar(&f.ca, "ca", "", "with --to: `FILE` with the authorities to believe in (PEM; default: the system's)")
	flags.BoolVar(&f.flush, "flush", false, "with --to: send what waits now, though the list was away a moment ago")
}

// check tells which flags do not go together.
func (f *reportFlags) checkRemote() error {
	r := f.remote
	switch {
	case r.to == "" && (r.flush || r.key != "" || r.queue != "" || r.ca != ""):
		return usageError("--key, --queue, --ca and --flush are for --to URL")
	case r.to == "":
		return nil
	case r.key == "":
		return usageError("--to wants --key FILE; 'backscatter reporter keygen FILE' makes one")
	case f.dryRun:
		return usageError("--dry-run judges here; leave out --to")
	case f.reporter != "":
		return usageError("--to tells by the key who reports; leave out --reporter")
	case r.size < 2*intake.MaxRaw:
		return usageError("--queue-size %d: want at least %d, the size of one long message", r.size, 2*intake.MaxRaw)
	}
	if _, err := remote.ParseURL(r.to); err != nil {
		return usageError("--to %w", err)
	}
	return nil
}

// queueFolder returns where messages wait. Who reports to a list elsewhere needs no
// configuration, and may not read that of a daemon on the same machine.
func (a *app) queueFolder(f *remoteReport) (string, error) {
	if f.queue != "" {
		return f.queue, nil
	}
	c := config.Defaults(os.Environ())
	if a.configFile != "" || os.Getenv("BACKSCATTER_CONFIG") != "" {
		var err error
		if c, err = a.loadConfig(); err != nil {
			return "", err
		}
	}
	return filepath.Join(c.State, "outbox"), nil
}

// outbox opens the queue for the list: each has its own.
func (f *remoteReport) outbox(dir string) (*remote.Outbox, string, error) {
	u, err := remote.ParseURL(f.to)
	if err != nil {
		return nil, dir, err
	}
	dir = filepath.Join(dir, strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r) {
			return r
		}
		return '_'
	}, strings.ToLower(u.String())))
	o, err := remote.OpenOutbox(dir, f.size)
	return o, dir, err
}

func (f *remoteReport) sender() (*remote.Sender, error) {
	u, err := remote.ParseURL(f.to)
	if err != nil {
		return nil, err
	}
	key, err := remote.LoadKey(f.key)
	if err != nil {
		return nil, err
	}
	client, err := remote.NewClient(f.ca)
	if err != nil {
		return nil, err
	}
	return &remote.Sender{URL: u, Key: key, Limits: remote.DefaultLimits(), Client: client}, nil
}

// courier takes messages to a list elsewhere: into the queue first, and out of it
// as far as the list is there.
type courier struct {
	*app
	flags   remoteReport
	outbox  *remote.Outbox
	dir     string
	origins map[string]evidence.Finding // of what was queued by this command: path and index
	bar     *progress
	queued  int
	counts  map[evidence.Verdict]int
	refused int
	failed  error // to print
}

// reportRemote queues all messages, and sends what waits. Nobody waits for the
// list: what is queued is safe, and the exit code says so.
func (a *app) reportRemote(ctx context.Context, f reportFlags, r control.ReportRequest, items iter.Seq2[intake.Item, error], j *journal) error {
	folder, err := a.queueFolder(&f.remote)
	if err != nil {
		return err
	}
	outbox, dir, err := f.remote.outbox(folder)
	if err != nil {
		return tryAgain(err)
	}
	c := &courier{
		app: a, flags: f.remote, outbox: outbox, dir: dir,
		origins: map[string]evidence.Finding{}, bar: a.progressOf("messages", progressbar.OptionShowCount(), progressbar.OptionShowIts()), counts: map[evidence.Verdict]int{},
	}
	unread, err := c.queue(ctx, r, items, j)
	if err != nil {
		return tryAgain(err)
	}
	sent := c.send(ctx, f.remote.flush)
	c.bar.done()
	if err := errors.Join(c.failed, c.summary(sent)); err != nil {
		return err
	}
	switch {
	case unread > 0:
		return fmt.Errorf("report: %d could not be read; all others were queued", unread)
	case f.remote.flush && sent != nil:
		return flushError(sent)
	}
	return nil
}

// flushError tells what may work later from what somebody must mend.
func flushError(err error) error {
	if refused, ok := errors.AsType[*remote.StatusError](err); ok && refused.Permanent() {
		return err
	}
	return tryAgain(err)
}

// queueAtOnce is how many messages share the syncs of the queue.
const queueAtOnce = 64

// queue puts all messages in. A message that cannot be read is told, and the rest
// goes on.
func (c *courier) queue(ctx context.Context, r control.ReportRequest, items iter.Seq2[intake.Item, error], j *journal) (unread int, err error) {
	var batch []intake.Item
	for item, err := range items {
		if err := ctx.Err(); err != nil {
			return unread, err
		}
		if err != nil {
			if item.Path != "-" { // see unreadable
				unread++
			}
			if err := c.printFinding(unreadable(item, err)); err != nil {
				return unread, err
			}
			continue
		}
		if batch = append(batch, item); len(batch) == queueAtOnce {
			if err := c.add(ctx, r, batch, j); err != nil {
				return unread, err
			}
			batch = batch[:0]
		}
	}
	return unread, c.add(ctx, r, batch, j)
}

// add queues some messages. When the queue is full they wait for the list to take
// what is in it.
func (c *courier) add(ctx context.Context, r control.ReportRequest, batch []intake.Item, j *journal) error {
	lines := make([][]byte, len(batch))
	for i, item := range batch {
		line, err := intake.Record(asSent(r, item))
		if err != nil {
			return err
		}
		lines[i] = line
	}
	names, err := c.outbox.Add(lines...)
	if errors.Is(err, remote.ErrFull) {
		if away := c.send(ctx, false); away != nil {
			return errors.Join(err, away)
		}
		names, err = c.outbox.Add(lines...)
	}
	if err != nil {
		return err
	}
	c.queued += len(names)
	for i, item := range batch {
		c.origins[names[i]] = evidence.Finding{Path: item.Path, Index: item.Index}
		if j != nil {
			if err := j.add(hashOf(item)); err != nil {
				return err
			}
		}
	}
	return nil
}

// asSent returns an item with all that is known of its envelope. It was received
// now, unless it says when: it may wait.
func asSent(r control.ReportRequest, item intake.Item) intake.Item {
	report := enveloped(r, item).Report(time.Now())
	item.Envelope, item.Received = report.Envelope, report.Received
	return item
}

// send sends what waits, and tells what became of each.
func (c *courier) send(ctx context.Context, force bool) error {
	s, err := c.flags.sender()
	if err != nil {
		return err
	}
	defer s.Client.CloseIdleConnections()
	return c.outbox.Flush(ctx, s, force, c.settled)
}

func (c *courier) settled(s remote.Sent) {
	c.bar.clear()
	defer c.bar.add()
	from, ours := c.origins[s.Name]
	if !ours {
		from.Path = s.Name // queued by an earlier command
	}
	delete(c.origins, s.Name)
	if s.Refused {
		c.refused++
		fmt.Fprintf(c.err, "backscatter: %s:%d is larger than the list takes, and was put aside: %s\n", from.Path, from.Index, filepath.Join(c.dir, "refused", s.Name))
		return
	}
	c.counts[s.Answer.Verdict]++
	s.Answer.Index = from.Index
	if c.asJSON {
		c.failed = errors.Join(c.failed, c.printJSONLine(struct {
			Path string `json:"path"`
			remote.Answer
		}{from.Path, s.Answer}))
		return
	}
	c.failed = errors.Join(c.failed, c.printFinding(evidence.Finding{
		Path: from.Path, Index: from.Index, Verdict: s.Answer.Verdict, Reason: reasonOf(s.Answer), Class: s.Answer.Class, Source: s.Answer.Source, Level: s.Answer.Level,
	}))
}

// reasonOf is what stands at the end of a line about an answer.
func reasonOf(a remote.Answer) string {
	if a.Verdict == evidence.Proven {
		return "level " + a.Level.String()
	}
	return a.Reason
}

// summary tells people how much was sent, and what waits and why.
func (c *courier) summary(sent error) error {
	waiting, octets, err := c.outbox.Waiting()
	if err != nil {
		return err
	}
	if sent != nil && !c.flags.flush {
		fmt.Fprintf(c.err, "backscatter: not sent, and safe in %s: %v\n", c.dir, sent)
	}
	if c.asJSON {
		return nil
	}
	_, err = fmt.Fprintf(c.out, "%d queued; %d proven, %d unproven, %d in error, %d put aside; %d wait (%d octets)\n",
		c.queued, c.counts[evidence.Proven], c.counts[evidence.Unproven], c.counts[evidence.Failed], c.refused, waiting, octets)
	return err
}
