package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"backscatter/evidence"
	"backscatter/evidence/intake"
	"backscatter/ops/control"
	"backscatter/ops/daemon"
)

// reportFlags give the envelope where the message does not.
type reportFlags struct {
	reporter string
	clientIP string
	mailFrom string
	rcpts    []string
	format   string
	resume   string
	dryRun   bool
	remote   remoteReport
}

// The formats of input.
const (
	formatMail  = "mail"
	formatARF   = "arf"
	formatJSONL = "jsonl"
)

func (a *app) reportCommand() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "report [FILE|DIR|-]...",
		Short: "Hand in backscatter that was received elsewhere",
		Long: `Hand in messages: files (RFC 5322), mboxes, Maildirs, folders of them, or '-',
a message or an mbox on standard input. The daemon judges each, and what it
proves is stored before the command ends. Handing in a message twice counts once.

Without arguments, or with an envelope, standard input is exactly one message,
whatever it looks like: this is the form for a mail server's pipe. When the
daemon cannot be reached, or cannot store now, the exit code is 75, so that the
mail server keeps the message and tries again.

--format arf takes complaints (RFC 5965), and judges the messages that they
enclose; whom a complaint names is hearsay (level C), kept and never counted.
--format jsonl takes reports, one a line: objects with "message" ("base64": true
if it is encoded), "client", "mail_from", "recipients" and "received", all but
the first where it is known.

--resume FILE remembers in a file what was handed in, so that a large import that
was broken off goes on where it was. On a terminal a bar shows how far it is.

--to URL hands the messages to a list elsewhere, at which this host is enrolled
('reporter keygen' makes the key). Each is put into a queue on disk first, and what
waits is sent at each call; while the list is away it is tried after a minute, then
less often, and --flush tries at once. Once the messages are queued the exit code
is 0; it is 75 when even that failed, and with --flush when something is left.

--reporter, --client-ip, --mail-from and --rcpt give the envelope where the
message does not tell it. --dry-run judges without a daemon and stores nothing.`,
		Example: `  backscatter report --dry-run --json bounce.eml
  backscatter report --mail-from '' --rcpt left-in-2009@example.org < bounce.eml
  backscatter report --resume done trapped.eml bounce.eml
  backscatter report --to https://localhost:8443 --key reporter.key --queue waiting bounce.eml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := f.request(cmd)
			if err != nil {
				return err
			}
			if err := f.check(r, args); err != nil {
				return err
			}
			return a.report(cmd.Context(), f, r, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.reporter, "reporter", "", "`NAME` of the reporter that received the messages (default: the first one)")
	flags.StringVar(&f.clientIP, "client-ip", "", "`ADDRESS` that connected to deliver them")
	flags.StringVar(&f.mailFrom, "mail-from", "", "envelope `SENDER`; '' is the null sender")
	flags.StringArrayVar(&f.rcpts, "rcpt", nil, "envelope `RECIPIENT`; can be given more than once")
	flags.StringVar(&f.format, "format", formatMail, "what is handed in: `mail`, arf or jsonl")
	flags.StringVar(&f.resume, "resume", "", "`FILE` that remembers what was handed in")
	flags.BoolVar(&f.dryRun, "dry-run", false, "judge without a daemon, store nothing")
	f.remote.add(flags)
	a.jsonFlag(cmd)
	return cmd
}

func (f *reportFlags) request(cmd *cobra.Command) (control.ReportRequest, error) {
	r := control.ReportRequest{Reporter: f.reporter, Recipients: f.rcpts}
	if cmd.Flags().Changed("mail-from") {
		r.MailFrom = &f.mailFrom
	}
	if f.clientIP != "" {
		addr, err := netip.ParseAddr(f.clientIP)
		if err != nil {
			return r, usageError("--client-ip %q: want an IPv4 or IPv6 address", f.clientIP)
		}
		r.Client = addr.Unmap().WithZone("")
	}
	return r, nil
}

// check tells which flags do not go together.
func (f *reportFlags) check(r control.ReportRequest, args []string) error {
	switch {
	case f.format != formatMail && f.format != formatARF && f.format != formatJSONL:
		return usageError("--format %q: want mail, arf or jsonl", f.format)
	case f.format != formatMail && r.HasEnvelope():
		return usageError("--format %s tells the envelope of each message; leave out --client-ip, --mail-from and --rcpt", f.format)
	case f.format == formatJSONL && len(args) == 0:
		return usageError("--format jsonl: name files, or '-' for standard input")
	case f.resume != "" && len(args) == 0:
		return usageError("--resume is for files and folders; name some")
	case f.resume != "" && f.dryRun:
		return usageError("--dry-run hands in nothing, so there is nothing to resume")
	}
	return f.checkRemote()
}

// judge is how one message gets its finding: by the daemon, or here.
type judge func(context.Context, control.ReportRequest, intake.Item) (evidence.Finding, error)

func (a *app) report(ctx context.Context, f reportFlags, r control.ReportRequest, paths []string) error {
	handIn, done, err := a.handIn(ctx, f, r)
	switch {
	case err != nil && f.dryRun:
		return err // nobody's mail waits for it
	case err != nil:
		return tryAgain(err)
	}
	defer done()
	items := a.inputs(f, r, paths)
	if f.resume == "" {
		return handIn(items, nil)
	}
	j, err := openJournal(f.resume)
	if err != nil {
		return err
	}
	return errors.Join(handIn(j.remaining(items), j), j.close())
}

// handIn returns what hands in messages: to the daemon, to a list elsewhere, or to
// nobody.
func (a *app) handIn(ctx context.Context, f reportFlags, r control.ReportRequest) (func(iter.Seq2[intake.Item, error], *journal) error, func(), error) {
	if f.remote.to != "" {
		return func(items iter.Seq2[intake.Item, error], j *journal) error {
			return a.reportRemote(ctx, f, r, items, j)
		}, func() {}, nil
	}
	decide, done, err := a.judge(f)
	return func(items iter.Seq2[intake.Item, error], j *journal) error {
		return a.reportAll(ctx, decide, r, items, j)
	}, done, err
}

// inputs reads what is handed in. To send what waits needs none.
func (a *app) inputs(f reportFlags, r control.ReportRequest, paths []string) iter.Seq2[intake.Item, error] {
	if f.remote.flush && len(paths) == 0 {
		return func(func(intake.Item, error) bool) {}
	}
	items := a.items(paths, r.HasEnvelope())
	switch f.format {
	case formatARF:
		return intake.Complaints(items)
	case formatJSONL:
		return a.records(paths)
	}
	return items
}

// records reads files of reports.
func (a *app) records(paths []string) iter.Seq2[intake.Item, error] {
	return func(yield func(intake.Item, error) bool) {
		for _, path := range paths {
			in, err := a.openReports(path)
			if err != nil {
				if !yield(intake.Item{Path: path}, err) {
					return
				}
				continue
			}
			goOn := true
			for item, err := range intake.Records(path, in) {
				if goOn = yield(item, err); !goOn {
					break
				}
			}
			_ = in.Close() // it was only read
			if !goOn {
				return
			}
		}
	}
}

func (a *app) openReports(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.in), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read reports: %w", err)
	}
	return f, nil
}

// items reads what is handed in. Standard input is one message where an
// envelope says how that one came, or nothing is named: whoever wrote it could put
// a From_ line in, and behind it a second message with trace lines of our relays.
func (a *app) items(paths []string, envelope bool) iter.Seq2[intake.Item, error] {
	if len(paths) == 0 {
		paths, envelope = []string{"-"}, true
	}
	if !envelope {
		return intake.Walk(paths, a.in)
	}
	return func(yield func(intake.Item, error) bool) {
		for _, path := range paths {
			if path == "-" {
				if !yield(intake.Message(a.in)) {
					return
				}
				continue
			}
			for item, err := range intake.Walk([]string{path}, nil) {
				if !yield(item, err) {
					return
				}
			}
		}
	}
}

func (a *app) judge(f reportFlags) (judge, func(), error) {
	if f.dryRun {
		c, err := a.loadConfig()
		if err != nil {
			return nil, nil, err
		}
		j, err := daemon.DryJudge(c)
		if err != nil {
			return nil, nil, err
		}
		return func(_ context.Context, r control.ReportRequest, item intake.Item) (evidence.Finding, error) {
			return j(enveloped(r, item), item.Raw, item.Truncated), nil
		}, func() {}, nil
	}
	socket, err := a.loadSocketConfig()
	if err != nil {
		return nil, nil, err
	}
	client := control.Dial(socket)
	return func(ctx context.Context, r control.ReportRequest, item intake.Item) (evidence.Finding, error) {
		r.Truncated = item.Truncated
		return client.Report(ctx, enveloped(r, item), item.Raw)
	}, client.Close, nil
}

// enveloped adds what the input tells of how a message came.
func enveloped(r control.ReportRequest, item intake.Item) control.ReportRequest {
	e := item.Envelope
	if e.Client.IsValid() {
		r.Client, r.HELO, r.PTR = e.Client, e.HELO, e.PTR
	}
	if e.MailFromKnown {
		r.MailFrom = &e.MailFrom
	}
	if len(e.Recipients) > 0 {
		r.Recipients = e.Recipients
	}
	if !item.Received.IsZero() {
		r.Received = item.Received
	}
	r.Hearsay = item.Hearsay
	return r
}

// tryAgain gives an error the exit code that makes a mail server keep the
// message. Wrong flags are told before; whatever is wrong later may be mended,
// and a message must not be returned, of all things, for a configuration that
// is being edited.
func tryAgain(err error) error { return &codeError{exitTryAgain, err} }

// inFlight is how many messages are handed in at a time, so that they share
// the store's commits.
const inFlight = 32

type judged struct {
	finding evidence.Finding
	hash    messageHash
	unread  bool // the file that it names could not be read
	err     error
}

// reportAll hands in all messages, several at a time, and prints the findings
// in order. A message that cannot be read is told, and the rest goes on; a
// daemon that cannot take one ends it.
func (a *app) reportAll(ctx context.Context, decide judge, r control.ReportRequest, items iter.Seq2[intake.Item, error], j *journal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan chan judged, inFlight)
	go func() { // ends with the items or with ctx; the loop below drains the queue
		defer close(queue)
		for item, err := range items {
			answer := make(chan judged, 1)
			select {
			case queue <- answer:
			case <-ctx.Done():
				return
			}
			if err != nil {
				// Standard input has no other copy: to fail would make a mail
				// server bounce it.
				answer <- judged{finding: unreadable(item, err), unread: item.Path != "-"}
				continue
			}
			go func() { // bounded by the queue; writes into its buffer and ends
				finding, err := decide(ctx, r, item)
				finding.Path, finding.Index = item.Path, item.Index
				answer <- judged{finding: finding, hash: hashOf(item), err: err}
			}()
		}
	}()
	return a.printFindings(queue, cancel, j)
}

func unreadable(item intake.Item, err error) evidence.Finding {
	return evidence.Finding{
		Path: item.Path, Index: item.Index, Verdict: evidence.Failed, Reason: err.Error(),
		Proofs: []string{}, Rules: []string{}, Original: evidence.FindingOriginal{Returned: evidence.ReturnedNone},
	}
}

func (a *app) printFindings(queue <-chan chan judged, cancel func(), j *journal) error {
	bar := a.progressOf("messages", progressbar.OptionShowCount(), progressbar.OptionShowIts())
	counts := map[evidence.Verdict]int{}
	var failed error
	unread := 0
	for answer := range queue {
		one := <-answer
		if failed != nil {
			continue // what was under way ends, and is not told
		}
		if one.err != nil {
			failed = fmt.Errorf("%s, message %d: %w", one.finding.Path, one.finding.Index, one.err)
			cancel()
			continue
		}
		counts[one.finding.Verdict]++
		if one.unread {
			unread++
		}
		bar.clear()
		if err := a.settle(one, j); err != nil {
			failed = err
			cancel()
		}
		bar.add()
	}
	bar.done()
	if failed != nil {
		return reportError(failed)
	}
	if err := a.printCounts(counts, j); err != nil {
		return err
	}
	if unread > 0 {
		return fmt.Errorf("report: %d could not be read; all others were handed in", unread)
	}
	return nil
}

// settle prints one finding, and remembers that the message was handed in.
func (a *app) settle(one judged, j *journal) error {
	err := a.printFinding(one.finding)
	if err == nil && j != nil && !one.unread {
		err = j.add(one.hash)
	}
	return err
}

// printCounts tells people how much there was.
func (a *app) printCounts(counts map[evidence.Verdict]int, j *journal) error {
	if a.asJSON {
		return nil
	}
	_, err := fmt.Fprintf(a.out, "%d proven, %d unproven, %d in error\n", counts[evidence.Proven], counts[evidence.Unproven], counts[evidence.Failed])
	if err == nil && j != nil && j.skipped > 0 {
		_, err = fmt.Fprintf(a.out, "%d had been handed in before\n", j.skipped)
	}
	return err
}

// reportError tells what may work later from what never will.
func reportError(err error) error {
	var refused *control.Error
	if errors.As(err, &refused) && refused.Code != control.CodeTryAgain && refused.Code != control.CodeInternal {
		return err
	}
	return tryAgain(err)
}

func (a *app) printFinding(f evidence.Finding) error {
	if a.asJSON {
		return a.printJSONLine(f)
	}
	reason := f.Reason
	if f.Verdict == evidence.Proven && f.Reason == "" {
		reason = fmt.Sprintf("by %v, level %s", f.Proofs, f.Level)
	}
	source := "no source"
	if f.Source.IsValid() {
		source = f.Source.String()
	}
	_, err := fmt.Fprintf(a.out, "%s:%d: %s %s from %s: %s\n", f.Path, f.Index, f.Verdict, f.Class, source, printable(reason))
	return err
}
