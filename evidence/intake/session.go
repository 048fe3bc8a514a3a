package intake

import (
	"cmp"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"backscatter/evidence"

	"github.com/emersion/go-smtp"
)

// What goes into a report of what a client said of itself is cut to this.
const (
	maxPath = 320 // RFC 5321 §4.5.3.1: 64 octets of local part, @, 255 of domain
	maxHELO = 255
)

// The replies, with enhanced status codes (RFC 3463, RFC 5248).
var (
	replyNested     = &smtp.SMTPError{Code: 503, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "Sender already given"}
	replyLongSender = &smtp.SMTPError{Code: 553, EnhancedCode: smtp.EnhancedCode{5, 1, 7}, Message: "Sender address too long"}
	replyNotHere    = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Relay access denied"}
	replyEnough     = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Enough for one connection"}
	replyRefusals   = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Too many errors"}
	replyStopping   = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "Shutting down"}
	replyIncomplete = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 4, 2}, Message: "Message did not arrive whole"}
	replyLongLine   = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "Line too long"}
	replyMemory     = &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Too many messages at once, try again later"}
	replyLater      = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Cannot store the message now, try again later"}
)

// session is one client's SMTP session, as go-smtp drives it. With BDAT (RFC
// 3030) Data runs in a goroutine of its own beside the commands, which may be
// RSET; so the transaction has a lock. go-smtp has none for the channel on which
// it waits for Data's result, and may take that of a message that was reset for
// that of the next; so no message follows one that was reset on its way.
type session struct {
	smtp     *SMTP
	conn     *smtp.Conn
	peer     *conn
	submit   func(evidence.Report) error
	messages int // transactions begun; only the command goroutine counts
	refusals int // the same

	mu sync.Mutex // guards tx and what it points to
	tx *transaction
}

// transaction is what stands between MAIL and the end of a message.
type transaction struct {
	envelope   evidence.Envelope // without the recipients
	told       bool              // a relay told who the client is
	nobody     bool              // or does not know
	recipients []string
	begun      bool // the message has
	settled    bool // and nothing of it is left to come: it can be answered
}

var _ smtp.Session = (*session)(nil)

// Mail takes the sender: any, as the null sender and forged ones are what a
// trap is for.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.tx != nil:
		return replyNested // RFC 5321 §4.1.4; go-smtp would go on with the recipients that it has
	case s.messages >= s.smtp.limits.Messages:
		s.peer.last.Store(true)
		return replyEnough
	case len(from) > maxPath:
		return s.refuse(replyLongSender)
	}
	s.messages++
	s.tx = &transaction{told: s.peer.told, nobody: s.peer.nobody, envelope: evidence.Envelope{
		Client:        s.peer.addr,
		HELO:          clip(cmp.Or(s.peer.helo, s.conn.Hostname()), maxHELO),
		PTR:           s.peer.ptr,
		MailFrom:      strings.TrimSuffix(from, noDomain),
		MailFromKnown: true,
	}}
	return nil
}

// Rcpt takes a recipient that is a trap, and refuses all others.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx == nil || len(to) > maxPath || !s.smtp.takes(to) {
		s.smtp.metrics.recipients.WithLabelValues("refused").Inc()
		return s.refuse(replyNotHere)
	}
	s.smtp.metrics.recipients.WithLabelValues("accepted").Inc()
	s.tx.recipients = append(s.tx.recipients, to)
	return nil
}

// refuse counts a refusal, and makes the last one end the session.
func (s *session) refuse(reply *smtp.SMTPError) error {
	if s.refusals++; s.refusals >= s.smtp.limits.Refusals {
		s.peer.last.Store(true)
		return replyRefusals
	}
	return reply
}

// Data takes the message. It returns nil, which is the client's 250, only
// after the sink took the whole of it.
func (s *session) Data(r io.Reader) error {
	tx, ok := s.begin()
	if !ok {
		_ = s.peer.Close() // in the middle of what cannot be put right
		return replyIncomplete
	}
	err := s.take(tx, r)
	if !errors.Is(err, smtp.ErrDataReset) {
		s.settle(tx)
	}
	result, reply := resultOf(err)
	s.smtp.metrics.messages.WithLabelValues(result).Inc()
	return reply
}

// take reads the message to its end and hands it over.
func (s *session) take(tx *transaction, r io.Reader) error {
	if !s.peer.receive(s.smtp.limits.Data) {
		_, _ = io.Copy(io.Discard, r)
		return replyStopping
	}
	defer s.peer.received()
	message := &body{budget: s.smtp.memory}
	defer message.release()
	if err := message.fill(r, s.smtp.limits.Keep); err != nil {
		return err
	}
	if s.peer.broken.Load() {
		return io.ErrUnexpectedEOF // within a BDAT chunk
	}
	report := s.report(tx)
	report.Raw, report.Truncated = message.raw, message.truncated
	if err := s.submit(report); err != nil {
		return replyLater
	}
	return nil
}

// resultOf returns the label and the reply for the way in which a message ended.
func resultOf(err error) (result string, reply error) {
	switch {
	case err == nil:
		return "accepted", nil
	case errors.Is(err, replyLater):
		return "deferred", replyLater
	case errors.Is(err, replyStopping):
		return "deferred", replyStopping
	case errors.Is(err, errMemory):
		return "deferred", replyMemory
	case errors.Is(err, smtp.ErrDataTooLarge):
		return "refused", smtp.ErrDataTooLarge
	case errors.Is(err, smtp.ErrTooLongLine):
		return "refused", replyLongLine
	}
	return "incomplete", replyIncomplete
}

// begin marks the transaction's message as begun. There is none to begin when
// BDAT's goroutine comes so late that the transaction was reset, or is another.
func (s *session) begin() (*transaction, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tx == nil || s.tx.begun {
		return nil, false
	}
	s.tx.begun = true
	return s.tx, true
}

func (s *session) settle(tx *transaction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx.settled = true
}

// report returns the report on a transaction, without the message.
func (s *session) report(tx *transaction) evidence.Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := evidence.Report{
		Envelope: tx.envelope,
		Held:     !tx.told,
		Nobody:   tx.nobody,
		Received: now().UTC(), // the sensor's one reading of the clock for this report
		Reporter: s.smtp.options.Reporter,
		Sensor:   evidence.SensorSMTP,
	}
	r.Envelope.Recipients = slices.Clone(tx.recipients)
	if s.smtp.options.LMTP { // the client is the mail server that held the session
		r.Held, r.Sensor = false, evidence.SensorLMTP
		r.Envelope.Client, r.Envelope.HELO, r.Envelope.PTR = netip.Addr{}, "", ""
	}
	return r
}

// Reset ends the transaction. One from the null sender that never came to a
// message was a callout: somebody asked whether the address exists. That is told
// to the sink, and forgotten if it cannot take it: nobody could be asked again.
func (s *session) Reset() {
	tx := s.end()
	if tx == nil {
		return
	}
	s.smtp.metrics.callouts.Inc()
	report := s.report(tx)
	report.Callout = true
	_ = s.submit(report) // the log tells of a sink that fails
}

// end ends the transaction, and returns it if it was a callout.
func (s *session) end() *transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := s.tx
	s.tx = nil
	switch {
	case tx == nil:
	case tx.begun && !tx.settled:
		s.peer.last.Store(true)
	case s.smtp.options.LMTP: // whoever delivers may think better of it
	case tx.envelope.MailFrom == "" && len(tx.recipients) > 0 && !tx.begun:
		return tx
	}
	return nil
}

// Logout ends the session.
func (s *session) Logout() error {
	s.Reset()
	return nil
}

func clip(text string, octets int) string { return text[:min(len(text), octets)] }
