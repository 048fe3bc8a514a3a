package integration_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testCA writes an authority, and a certificate of it for an address, into a
// folder: ca.pem, cert.pem and key.pem.
func testCA(t *testing.T, dir, addr string) {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own, theirs := key(), key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.ParseIP(addr)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for name, c := range map[string]*x509.Certificate{"ca.pem": ca, "cert.pem": leaf} {
		public := &own.PublicKey
		if c == leaf {
			public = &theirs.PublicKey
		}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, public, own)
		if err != nil {
			t.Fatal(err)
		}
		write(name, "CERTIFICATE", der)
	}
	der, err := x509.MarshalPKCS8PrivateKey(theirs)
	if err != nil {
		t.Fatal(err)
	}
	write("key.pem", "PRIVATE KEY", der)
}

// reporterHost is a mail server's host that reports to lists elsewhere.
type reporterHost struct {
	t       *testing.T
	program string
	dir     string // of the key, the authority and the queue
}

// report is the command by which it reports to a list.
func (h *reporterHost) report(url string, args ...string) *exec.Cmd {
	args = append([]string{
		"report", "--to", url, "--key", filepath.Join(h.dir, "reporter.key"),
		"--ca", filepath.Join(h.dir, "ca.pem"), "--queue", filepath.Join(h.dir, "queue"),
	}, args...)
	return exec.Command(h.program, args...)
}

// pipe hands one message over as a mail server's pipe would, and wants it safe.
func (h *reporterHost) pipe(url string, m message) {
	h.t.Helper()
	cmd := h.report(url, "--mail-from", "", "--rcpt", m.rcpt)
	cmd.Stdin = strings.NewReader(m.text())
	if r := run(h.t, cmd); r.code != 0 {
		h.t.Fatalf("the mail server would keep the message: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// flushed sends what waits until nothing does.
func (h *reporterHost) flushed(url string) {
	h.t.Helper()
	eventually(h.t, "all is sent", func(context.Context) error {
		if r := run(h.t, h.report(url, "--flush")); r.code != 0 || !strings.Contains(r.stdout, "; 0 wait") {
			return fmt.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		return nil
	})
}

// TestReporterHost has a reporter's host hand over by a pipe to two lists, over
// TLS, while the one is away, comes back, and is killed as is who sends: each list
// knows each message exactly once.
func TestReporterHost(t *testing.T) {
	t.Parallel()
	// An address of this process's own, on which a port stays free while nobody
	// listens.
	addr := fmt.Sprintf("127.%d.%d.%d", 64+os.Getpid()>>16&63, os.Getpid()>>8&255, max(os.Getpid()&255, 1))
	host := &reporterHost{t: t, dir: shortDir(t)}
	testCA(t, host.dir, addr)
	lists := make([]*daemon, 2)
	urls := make([]string, 2)
	for i := range lists {
		port := 8443 + i
		s := newSite(t, strings.Replace(quick, `"127.0.0.1:0"}}`, fmt.Sprintf(`"127.0.0.1:0"}, reports: {listen: "%s:%d", tls_cert: %s/cert.pem, tls_key: %s/key.pem, max_reports: 2, max_rate: 6000}}`, addr, port, host.dir, host.dir), 1))
		host.program = s.program
		lists[i], urls[i] = s.start(), fmt.Sprintf("https://%s:%d", addr, port)
	}
	key := filepath.Join(host.dir, "reporter.key")
	if r := run(t, exec.Command(host.program, "reporter", "keygen", key)); r.code != 0 {
		t.Fatalf("keygen: %s", r.stderr)
	}
	for _, d := range lists {
		d.site.must("reporter", "add", "friend", "--key", key+".pub", "--reason", "test")
	}

	const source = "198.51.100.66"
	sent := 0
	pipe := func(n int) {
		for range n {
			m := bounceFrom(source)
			sent++
			for _, url := range urls {
				host.pipe(url, m)
			}
		}
	}
	pipe(2)
	lists[0].kill()
	pipe(6)
	lists[0] = lists[0].site.start()

	// The list, and who sends, are killed wherever they are.
	for range 2 {
		sender := launch(t, host.report(urls[0], "--flush"))
		_ = sender.Process.Kill() // fails when it has ended
		sender.wait(t)
		sender = launch(t, host.report(urls[0], "--flush"))
		lists[0].kill()
		sender.wait(t)
		lists[0] = lists[0].site.start()
		pipe(1)
	}
	for i, url := range urls {
		host.flushed(url)
		d := lists[i]
		e := explained(t, d, source)
		if len(e.Events) != sent {
			t.Errorf("list %d knows %d of %d", i, len(e.Events), sent)
		}
		if !strings.Contains(d.site.must("status"), "reports") {
			t.Error("status does not tell where reports are taken")
		}
		d.stop()
	}
	if waiting, err := filepath.Glob(filepath.Join(host.dir, "queue", "*", "*", "*")); err != nil || len(waiting) > 0 {
		t.Errorf("left behind: %q %v", waiting, err)
	}
}
