package integration_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-milter"
)

const watchedMail = `
dns: {listen: ["127.0.0.1:0"]}
http: {listen: ""}
intake: {smtp: {listen: ""}, milter: [{listen: "127.0.0.1:0"}]}
traps: [{domain: trap.example}]
policy: {profile: solo, listable: [192.0.2.0/24]}
`

// TestMilterLosesNothing kills the daemon right after mail passed its milter,
// again and again: nobody can be asked for the messages again.
func TestMilterLosesNothing(t *testing.T) {
	t.Parallel()
	const source, each = "192.0.2.66", 4
	s := newSite(t, watchedMail)
	for round := 1; round <= 3; round++ {
		d := s.start()
		status, err := d.client.Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		addr := ""
		for _, l := range status.Listen {
			if l.Service == "milter" {
				addr = l.Address
			}
		}
		passMilter(t, addr, source, each)
		d.kill()
		d = s.start()
		eventually(t, "all that passed is known", func(context.Context) error {
			if n := len(explained(t, d, source).Events); n != round*each {
				return fmt.Errorf("%d of %d", n, round*each)
			}
			return nil
		})
		d.stop()
	}
}

// passMilter has so many bounces of a host pass the milter, as a mail server would.
func passMilter(t *testing.T, addr, source string, count int) {
	t.Helper()
	c := milter.NewClientWithOptions("tcp", addr, milter.ClientOptions{Dialer: &net.Dialer{Timeout: patience}, ReadTimeout: patience, WriteTimeout: patience})
	defer c.Close()
	s, err := c.Session()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	passes := func(act *milter.Action, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if act.Code != milter.ActContinue && act.Code != milter.ActAccept {
			t.Fatalf("the milter said %c", act.Code)
		}
	}
	passes(s.Conn("mail.sender.example", milter.FamilyInet, 25, source))
	for range count {
		m := bounceFrom(source)
		head, body, _ := strings.Cut(m.text(), "\n\n")
		passes(s.Mail("", nil))
		passes(s.Rcpt(m.rcpt, nil))
		for field := range strings.SplitSeq(strings.ReplaceAll(head, "\n\t", "\x00"), "\n") {
			name, value, _ := strings.Cut(field, ": ")
			passes(s.HeaderField(name, strings.ReplaceAll(value, "\x00", "\n\t")))
		}
		passes(s.HeaderEnd())
		passes(s.BodyChunk([]byte(strings.ReplaceAll(body, "\n", "\r\n"))))
		_, act, err := s.End()
		passes(act, err)
	}
}
