package intake_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"backscatter/evidence"
	"backscatter/evidence/intake"
)

func TestConnectionsInAll(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits = intake.Limits{Connections: 5, PerClient: 1000} })
	served := make([]*client, 5)
	for i := range served {
		served[i] = tr.greeted(t)
	}
	for range 300 {
		c := tr.dial(t, "")
		c.want("421 4.7.0")
		c.want("closed")
		_ = c.conn.Close()
	}
	for _, c := range served { // who is in is served as ever
		c.toData()
		c.send(bounce + ".\r\n")
		c.want("250")
	}
	_ = served[0].conn.Close()
	tr.until(t, "backscatter_smtp_connections", "4")
	tr.greeted(t)
	same(t, "refused", "300", tr.metric(t, `backscatter_smtp_connections_total{result="too_many"}`))
}

func TestConnectionsPerClient(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits = intake.Limits{Connections: 1000, PerClient: 3} })
	for range 3 {
		tr.dial(t, "127.0.0.7").want("220")
	}
	for range 10 {
		tr.dial(t, "127.0.0.7").want("421 4.7.0")
	}
	tr.dial(t, "127.0.0.8").want("220")
	same(t, "refused", "10", tr.metric(t, `backscatter_smtp_connections_total{result="too_many_of_client"}`))
}

func TestMemoryIsShared(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits.Memory = 300 << 10 })
	large := strings.Repeat(strings.Repeat("x", 98)+"\r\n", 2000) // 200 kB
	hog := tr.greeted(t)
	hog.toData()
	hog.send(large)
	tr.until(t, "backscatter_smtp_message_memory_bytes", "245760") // a buffer of 256 KiB, of which 16 are free
	other := tr.greeted(t)
	other.toData()
	other.send(large + ".\r\n")
	other.want("452 4.3.1")
	other.toData() // there is always room for an ordinary bounce
	other.send(bounce + ".\r\n")
	other.want("250")
	hog.send(".\r\n")
	hog.want("250")
	other.toData() // and for all when the large one is gone
	other.send(large + ".\r\n")
	other.want("250")
	same(t, "memory", "0", tr.metric(t, "backscatter_smtp_message_memory_bytes"))
}

func TestStopLetsMessagesEnd(t *testing.T) {
	t.Parallel()
	tr := start(t, nil)
	entered, leave := make(chan struct{}), make(chan struct{})
	tr.submit = func(context.Context, evidence.Report) error {
		close(entered)
		<-leave
		return nil
	}
	idle := tr.greeted(t)
	storing := tr.greeted(t)
	storing.toData()
	storing.send(bounce + ".\r\n")
	<-entered
	tr.stop()
	idle.want("421 ")
	idle.want("closed")
	select {
	case err := <-tr.stopped:
		t.Fatalf("stopped with a message on its way: %v", err)
	default:
	}
	close(leave)
	storing.want("250")
	storing.want("421 ")
	storing.want("closed")
	if err := tr.wait(); err != nil {
		t.Error(err)
	}
	same(t, "messages", []string{bounce}, tr.texts())
}

func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	tr := start(t, func(o *intake.SMTPOptions) { o.Limits.Drain = 50 * time.Millisecond })
	entered := make(chan struct{})
	tr.submit = func(ctx context.Context, _ evidence.Report) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}
	stalled := tr.greeted(t)
	stalled.toData()
	stalled.send("Subject: never ends\r\n")
	storing := tr.greeted(t)
	storing.toData()
	storing.send(bounce + ".\r\n")
	<-entered
	tr.stop()
	if err := tr.wait(); err != nil {
		t.Error(err)
	}
	same(t, "messages", nil, tr.texts())
}

// Whatever a client sends, the trap lives, and takes nothing for anybody but a
// trap, nor anything whose end did not arrive.
func FuzzSession(f *testing.F) {
	for _, s := range sessions {
		var all strings.Builder
		all.WriteString("EHLO x.example\r\n")
		for _, step := range s.steps {
			if len(step.send) < 10_000 {
				all.WriteString(step.send)
			}
		}
		f.Add([]byte(all.String()))
	}
	f.Add([]byte("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nBDAT 0\r\nEHLO y\r\nRSET\r\nBDAT 0 LAST\r\n"))
	f.Add([]byte("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<x@trap.example>\r\nBDAT 3 LAST\r\nab"))
	tr := start(f, func(o *intake.SMTPOptions) {
		o.Limits = intake.Limits{Idle: time.Second, Data: time.Second}
	})
	bad := make(chan evidence.Report, 1)
	tr.submit = func(_ context.Context, r evidence.Report) error {
		ok := len(r.Envelope.Recipients) > 0 && r.Held && r.Envelope.Client.IsLoopback()
		for _, rcpt := range r.Envelope.Recipients {
			at := strings.LastIndexByte(rcpt, '@')
			domain := strings.TrimSuffix(strings.ToLower(rcpt[at+1:]), ".")
			ok = ok && (domain == "trap.example" || strings.EqualFold(strings.TrimSuffix(rcpt, "."), "left@org.example"))
		}
		if !ok {
			select {
			case bad <- r:
			default:
			}
		}
		return io.EOF // keep nothing
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := tr.dial(t, "")
		go func() {
			_, _ = io.Copy(c.conn, bytes.NewReader(sent))
			_ = c.conn.CloseWrite()
		}()
		for c.reply() != "closed" {
		}
		_ = c.conn.Close()
		select {
		case r := <-bad:
			t.Fatalf("submitted for %q", r.Envelope.Recipients)
		default:
		}
	})
}
