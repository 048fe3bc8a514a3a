package intake

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"time"

	"backscatter/evidence"
)

// Complaints returns what the complaints among the items enclose, each with the
// source that the complainer names, which is hearsay. What is no complaint yields
// an error.
func Complaints(items iter.Seq2[Item, error]) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for item, err := range items {
			if err == nil {
				item, err = complaint(item)
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

func complaint(item Item) (Item, error) {
	c, err := evidence.ReadComplaint(item.Raw)
	if err != nil {
		return item, fmt.Errorf("read complaint from %s, message %d: %w", item.Path, item.Index, err)
	}
	item.Raw, item.Hearsay = c.Message, true
	item.Envelope = evidence.Envelope{Client: c.Source, MailFrom: c.Sender, MailFromKnown: c.Told}
	if c.Recipient != "" {
		item.Envelope.Recipients = []string{c.Recipient}
	}
	return item, nil
}

// record is one report as a line of JSON.
type record struct {
	Message    *string    `json:"message"`
	Base64     bool       `json:"base64,omitempty"` // the message is encoded: it need not be UTF-8
	Client     netip.Addr `json:"client,omitzero"`
	HELO       string     `json:"helo,omitempty"`
	PTR        string     `json:"ptr,omitempty"`
	MailFrom   *string    `json:"mail_from,omitempty"`
	Recipients []string   `json:"recipients,omitempty"`
	Received   time.Time  `json:"received,omitzero"`
	Truncated  bool       `json:"truncated,omitempty"`
	Hearsay    bool       `json:"hearsay,omitempty"`
}

// Record writes an item as a line that [Records] reads, without its end.
func Record(i Item) ([]byte, error) {
	message := base64.StdEncoding.EncodeToString(i.Raw)
	r := record{
		Message: &message, Base64: true, Client: i.Envelope.Client, HELO: i.Envelope.HELO, PTR: i.Envelope.PTR,
		Recipients: i.Envelope.Recipients, Received: i.Received, Truncated: i.Truncated, Hearsay: i.Hearsay,
	}
	if i.Envelope.MailFromKnown {
		r.MailFrom = &i.Envelope.MailFrom
	}
	return json.Marshal(r)
}

// maxRecipients bounds the recipients of one report, as the trap does (RFC 5321
// §4.5.3.1.8).
const maxRecipients = 100

// maxRecord bounds a line: a message with each octet escaped, and an envelope.
const maxRecord = 6*MaxRaw + 64<<10

// Records reads reports as lines of JSON, each an object with
//
//	message      the message; with "base64": true in that encoding
//	client       who connected to deliver it, if that is known
//	mail_from    the envelope sender, "" for the null sender, if that is known
//	recipients   the envelope recipients, if they are known, at most 100
//	received     when it was received (RFC 3339), if that is known
//	helo, ptr    what the client called itself, and its verified name
//	truncated    true when the message is the beginning of a longer one
//	hearsay      true when somebody who is no relay tells of the client
//
// Empty lines are passed over. A line that is none of these yields an error that
// names it, and the next is read.
func Records(path string, r io.Reader) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		in := bufio.NewReaderSize(r, 64<<10)
		for number, index := 1, 0; ; number++ {
			line, err := readRecord(in)
			if err == io.EOF { //nolint:errorlint // ours, bare
				return
			}
			item := Item{Path: path, Index: index}
			if err == nil && len(line) == 0 {
				continue
			}
			if err == nil {
				err = item.decode(line)
			}
			if err != nil {
				err = fmt.Errorf("read reports from %s, line %d: %w", path, number, err)
			}
			var failed *inputError
			if !yield(item, err) || errors.As(err, &failed) {
				return
			}
			index++
		}
	}
}

// inputError says that the input cannot be read any further.
type inputError struct{ error }

func (e *inputError) Unwrap() error { return e.error }

var (
	errLongRecord = fmt.Errorf("the line is longer than %d octets", maxRecord)
	errNoMessage  = errors.New(`no "message"`)
	errRecipients = fmt.Errorf("more than %d recipients", maxRecipients)
	errPath       = fmt.Errorf("an address of more than %d octets", maxPath)
)

// readRecord reads a line, all of it, and returns it if it is not too long.
func readRecord(in *bufio.Reader) ([]byte, error) {
	var line []byte
	long := false
	for {
		piece, err := in.ReadSlice('\n')
		if long = long || len(line)+len(piece) > maxRecord; !long {
			line = append(line, piece...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) == 0 && !long:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, &inputError{err}
		case long:
			return nil, errLongRecord
		}
		return trimEnd(line), nil
	}
}

func trimEnd(line []byte) []byte {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r' || line[len(line)-1] == ' ') {
		line = line[:len(line)-1]
	}
	return line
}

// check bounds the envelope.
func (r *record) check() error {
	if len(r.Recipients) > maxRecipients {
		return errRecipients
	}
	if r.MailFrom != nil && len(*r.MailFrom) > maxPath {
		return errPath
	}
	for _, rcpt := range r.Recipients {
		if len(rcpt) > maxPath {
			return errPath
		}
	}
	return nil
}

// decode reads one line.
func (i *Item) decode(line []byte) error {
	var r record
	if err := json.Unmarshal(line, &r); err != nil {
		return err
	}
	if r.Message == nil {
		return errNoMessage
	}
	if err := r.check(); err != nil {
		return err
	}
	i.Raw = []byte(*r.Message)
	if r.Base64 {
		raw, err := base64.StdEncoding.DecodeString(*r.Message)
		if err != nil {
			return fmt.Errorf("message: %w", err)
		}
		i.Raw = raw
	}
	i.Truncated, i.Hearsay = r.Truncated || len(i.Raw) > MaxRaw, r.Hearsay
	i.Raw = i.Raw[:min(len(i.Raw), MaxRaw)]
	i.Received = r.Received
	i.Envelope = evidence.Envelope{
		Client: r.Client.Unmap().WithZone(""), HELO: clip(r.HELO, maxHELO), PTR: clip(r.PTR, maxHELO), Recipients: r.Recipients, MailFromKnown: r.MailFrom != nil,
	}
	if r.MailFrom != nil {
		i.Envelope.MailFrom = *r.MailFrom
	}
	return nil
}
