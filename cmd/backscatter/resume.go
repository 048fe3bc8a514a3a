package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"strings"

	"backscatter/evidence/intake"
)

// journal remembers which messages were handed in, so that an import that was
// broken off goes on where it was: a file with a line for each, the hash of the
// message and its envelope. Messages are known again whatever their files are called by then. To
// lose the last lines costs some messages being handed in again, which count once.
type journal struct {
	name    string
	file    *os.File
	out     *bufio.Writer
	done    map[messageHash]bool
	skipped int
	unsaved int
}

type messageHash [16]byte

// hashOf hashes a message, and the envelope where there is one: a message that
// came from two clients, or to two people, is two reports.
func hashOf(item intake.Item) messageHash {
	h := sha256.New()
	e := item.Envelope
	if e.Client.IsValid() || e.MailFromKnown || len(e.Recipients) > 0 {
		fmt.Fprintf(h, "%s %t %q %q\n", e.Client, e.MailFromKnown, e.MailFrom, e.Recipients)
	}
	h.Write(item.Raw)
	return messageHash(h.Sum(nil)[:16])
}

// saveEvery is after how many messages the file is written.
const saveEvery = 64

// openJournal reads a journal, or begins one.
func openJournal(name string) (*journal, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	j := &journal{name: name, file: f, out: bufio.NewWriter(f), done: map[messageHash]bool{}}
	scanner := bufio.NewScanner(f)
	for number := 1; scanner.Scan(); number++ {
		raw, err := hex.DecodeString(strings.TrimSpace(scanner.Text()))
		switch {
		case err == nil && len(raw) == len(messageHash{}):
			j.done[messageHash(raw)] = true
		case scanner.Text() != "" && number == 1: // a line that was cut off may come later
			return nil, errors.Join(fmt.Errorf("resume: %s is no file of this command's; name another", name), f.Close())
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("resume: read %s: %w", name, err), f.Close())
	}
	if len(j.done) > 0 {
		_, err = j.out.WriteString("\n") // behind a line that was cut off
	}
	return j, err
}

// remaining leaves out what was handed in before.
func (j *journal) remaining(items iter.Seq2[intake.Item, error]) iter.Seq2[intake.Item, error] {
	return func(yield func(intake.Item, error) bool) {
		for item, err := range items {
			if err == nil && j.done[hashOf(item)] {
				j.skipped++
				continue
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// add remembers a message that was handed in.
func (j *journal) add(h messageHash) error {
	if _, err := fmt.Fprintln(j.out, hex.EncodeToString(h[:])); err != nil {
		return fmt.Errorf("resume: write %s: %w", j.name, err)
	}
	if j.unsaved++; j.unsaved < saveEvery {
		return nil
	}
	j.unsaved = 0
	if err := j.out.Flush(); err != nil {
		return fmt.Errorf("resume: write %s: %w", j.name, err)
	}
	return nil
}

func (j *journal) close() error {
	err := errors.Join(j.out.Flush(), j.file.Close())
	if err != nil && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("resume: write %s: %w", j.name, err)
	}
	return nil
}
