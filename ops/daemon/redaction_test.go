package daemon_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // somebody might have used it
	"crypto/sha1" //nolint:gosec // likewise
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"backscatter/evidence"
	"backscatter/listing"
	"backscatter/ops/control"
	"backscatter/ops/daemon"
)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

func addrOf(t *testing.T, text string) netip.Addr {
	t.Helper()
	addr, err := netip.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// telling is a bounce that names the trap wherever a bounce can.
func telling(rcpt, id string) string {
	return strings.NewReplacer(
		"Status: 5.1.1", "Status: 5.1.1\r\nX-Postfix-Sender: rfc822; "+rcpt+"\r\nDiagnostic-Code: smtp; 550 5.1.1 <x@out.example>: mail from <"+rcpt+"> refused",
		"Not delivered.", "Your message from "+rcpt+" was not delivered.",
		"with ESMTP id 1", "with ESMTP id 1 (envelope-from "+rcpt+")",
		"<"+id+"@spam.example>", "<"+id+"."+rcpt+">\r\nSubject: pills for "+rcpt,
		"Subject: Undelivered Mail Returned to Sender", "Subject: "+rcpt+": Undelivered Mail Returned to Sender",
	).Replace(bounce(rcpt, id))
}

// Nothing that leaves the judge gives back a trap's address: not the store, a
// backup, the log at its most talkative, what operators see, nor what the public
// sees.
func TestNoTrapAddressAnywhere(t *testing.T) {
	t.Parallel()
	f := &fixture{state: tempDir(t)}
	text := strings.Replace(settings, "STATE", f.state, 1) +
		"exports: [{zone: bl.example, dir: " + f.state + "/export, formats: [ip4set, ip6trie, zone], every: 1s}]\nheaders: {keep: 720h}\n"
	text = strings.NewReplacer("traps: [{domain: trap.example}]", "traps: [{domain: trap.example}, {address: olga-2009-xyzzy@left.example}]",
		"profile: solo", "profile: solo, originals: 2, recipients: 2, score: 1, span: 0s").Replace(text)
	f.text.Store(&text)
	c, err := f.load()
	if err != nil {
		t.Fatal(err)
	}
	log := &lockedBuffer{}
	f.Daemon, err = daemon.New(daemon.Options{
		Config: c, Load: f.load, Version: "test",
		Logger: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- f.Run(ctx, func() { close(ready) }) }()
	<-ready
	client := f.client(t)
	secrets := []string{"plugh-secret-1", "plugh-secret-2", "plugh-secret-3", "olga-2009-xyzzy"}
	for i, local := range secrets[:2] {
		rcpt := local + "@trap.example"
		if err := smtp.SendMail(f.Addr("smtp"), nil, "", []string{rcpt}, []byte(telling(rcpt, fmt.Sprint("s", i)))); err != nil {
			t.Error(err)
		}
	}
	empty := ""
	for i, rcpt := range []string{secrets[2] + "@trap.example", secrets[3] + "@left.example"} {
		finding, err := client.Report(t.Context(), control.ReportRequest{Client: addrOf(t, "192.0.2.66"), MailFrom: &empty, Recipients: []string{rcpt}}, []byte(telling(rcpt, fmt.Sprint("r", i))))
		if err != nil || finding.Verdict != "proven" {
			t.Errorf("%+v %v", finding, err)
		}
	}
	// To a trap that is none, and from who is refused: both are logged.
	_ = smtp.SendMail(f.Addr("smtp"), nil, "", []string{"plugh-secret-4@elsewhere.example"}, []byte(telling("plugh-secret-4@elsewhere.example", "e")))
	secrets = append(secrets, "plugh-secret-4")

	artefacts := map[string][]byte{}
	keep := func(name string, v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		artefacts[name] = b
	}
	shown, err := client.Show(t.Context(), "192.0.2.66", false)
	keep("show", shown, err)
	if !shown.Listed || len(shown.Events) < 2 {
		t.Fatalf("nothing to look at: %+v", shown)
	}
	public, err := client.Show(t.Context(), "192.0.2.66", true)
	keep("show --public", public, err)
	headers, err := client.Headers(t.Context(), "192.0.2.66")
	keep("show --headers", headers, err)
	if len(headers.Headers) < 2 {
		t.Fatalf("no headers to look at: %+v", headers)
	}
	listings, err := client.Listings(t.Context(), control.ListingsRequest{})
	keep("listings", listings, err)
	audit, err := client.Audit(t.Context(), control.AuditRequest{})
	keep("audit", audit, err)
	status, err := client.Status(t.Context())
	keep("status", status, err)
	verdict, err := client.Verify(t.Context())
	keep("verify", verdict, err)
	for _, format := range []string{"ip4set", "ip6trie", "zone", "txt"} {
		var b bytes.Buffer
		err := client.Export(t.Context(), control.ExportRequest{Format: format}, &b)
		keep("export "+format, b.String(), err)
	}
	var backup bytes.Buffer
	err = client.Backup(t.Context(), &backup, func(int64, int64) {})
	keep("backup", nil, err)
	artefacts["backup"] = backup.Bytes()
	for _, path := range []string{"/metrics", "/", "/192.0.2.66", "/?address=192.0.2.66", "/v1/lookup?address=192.0.2.66", "/192.0.2.66.json", "/readyz"} {
		_, body := get(t, "http://"+f.Addr("http")+path)
		artefacts["http "+path] = []byte(body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	artefacts["log"] = log.bytes()
	err = filepath.WalkDir(f.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		artefacts["file "+strings.TrimPrefix(path, f.state)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(artefacts["file /"+daemon.StoreName]) == 0 || len(artefacts["log"]) == 0 {
		t.Fatal("there is nothing to search")
	}
	for name, b := range artefacts {
		lower := bytes.ToLower(b)
		for _, secret := range secrets {
			for form, text := range forms(secret) {
				where := b
				if text == strings.ToLower(text) {
					where = lower
				}
				if at := bytes.Index(where, []byte(text)); at >= 0 {
					t.Errorf("%s gives %s away, %s: …%q…", name, secret, form, b[max(0, at-60):min(len(b), at+60)])
				}
			}
		}
	}
}

// forms are in which a secret might be kept by who means no harm: whoever has a
// list of addresses can try them all. Of hashes the first half is enough.
func forms(secret string) map[string]string {
	out := map[string]string{"as it is": secret, "as hex": hex.EncodeToString([]byte(secret)), "backwards": backwards(secret)}
	for shift := range 3 { // wherever it stands in what was encoded
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(".", shift) + secret))
		out[fmt.Sprint("in base64, ", shift)] = text[4 : len(text)-4]
	}
	domain := "trap.example"
	switch secret {
	case "olga-2009-xyzzy":
		domain = "left.example"
	case "plugh-secret-4":
		domain = "elsewhere.example"
	}
	address := secret + "@" + domain
	told := []string{secret, address, "<" + address + ">", "pills for " + address, "recipient\x00" + address, "recipient\x00" + address + "\x00", "subject\x00pills for " + address, "subject\x00pills for " + address + "\x00"}
	for _, id := range []string{"s0", "s1", "r0", "r1", "e"} {
		name := id + "." + address
		told = append(told, name, "<"+name+">", "message-id\x00"+name, "message-id\x00<"+name+">", "message-id\x00"+name+"\x00", "message-id\x00<"+name+">\x00")
	}
	for _, text := range told {
		unkeyed := hmac.New(sha256.New, make([]byte, 32))
		unkeyed.Write([]byte(text))
		sha, sha1, md5 := sha256.Sum256([]byte(text)), sha1.Sum([]byte(text)), md5.Sum([]byte(text))
		for kind, sum := range map[string][]byte{"SHA-256": sha[:], "SHA-1": sha1[:], "MD5": md5[:], "HMAC without a key": unkeyed.Sum(nil)} {
			folded := make([]byte, 8) // as the store folds identities
			for i := range folded {
				folded[i] = sum[i] ^ sum[i+8]
			}
			out[fmt.Sprintf("%s of %q", kind, text)] = string(sum[:8])
			out[fmt.Sprintf("%s of %q, as hex", kind, text)] = hex.EncodeToString(sum[:8])
			out[fmt.Sprintf("%s of %q, folded", kind, text)] = string(folded)
			out[fmt.Sprintf("%s of %q, folded, as hex", kind, text)] = hex.EncodeToString(folded)
		}
	}
	return out
}

func backwards(text string) string {
	b := []byte(text)
	slices.Reverse(b)
	return string(b)
}

// A new key is used at once, the former stays behind it, and a reload does not
// bring it back.
func TestRotateKey(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, "")
	name := daemon.KeyFile(f.state)
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	client := f.client(t)
	empty, source, seen := "", "192.0.2.66", make(map[listing.ID]bool)
	report := func(id string) listing.ID {
		t.Helper()
		rcpt := "one@trap.example"
		if _, err := client.Report(t.Context(), control.ReportRequest{Client: addrOf(t, source), MailFrom: &empty, Recipients: []string{rcpt}}, []byte(bounce(rcpt, id))); err != nil {
			t.Fatal(err)
		}
		x, err := client.Show(t.Context(), source, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range x.Events {
			if !seen[e.ID] {
				seen[e.ID] = true
				return e.Recipient
			}
		}
		t.Fatal("the report left no event")
		return listing.ID{}
	}
	first := report("a")
	// This one will come again.
	report("twice")
	if err := client.RotateKey(t.Context(), control.Order{}); err == nil {
		t.Error("rotated without a reason")
	}
	if err := client.RotateKey(t.Context(), control.Order{Reason: "test", DryRun: true}); err != nil {
		t.Error(err)
	}
	if again := report("b"); again != first {
		t.Error("a dry run changed the key")
	}
	if err := client.RotateKey(t.Context(), control.Order{Reason: "a lost backup"}); err != nil {
		t.Fatal(err)
	}
	if third := report("c"); third != first {
		t.Error("a recipient that was seen before counts as another")
	}
	for range 2 {
		if finding, err := client.Report(t.Context(), control.ReportRequest{Client: addrOf(t, "192.0.2.66"), MailFrom: &empty, Recipients: []string{"one@trap.example"}}, []byte(bounce("one@trap.example", "twice"))); err != nil || finding.Reason != evidence.ReasonDuplicate {
			t.Errorf("once more, and not a duplicate: %+v %v", finding, err)
		}
	}
	if x, err := client.Show(t.Context(), "192.0.2.66", false); err != nil || x.Observations != 4 {
		t.Errorf("what was reported before the rotation and after it counts twice: %d observations, %v", x.Observations, err)
	}
	source = "192.0.2.67" // of which nothing was seen before
	second := report("e")
	if second == first {
		t.Error("the new key is not used")
	}
	after, err := os.ReadFile(name)
	lines := strings.Split(string(after), "\n")
	if err != nil || len(lines) != 3 || !strings.HasPrefix(lines[1], strings.TrimSpace(string(before))+" 2") || strings.HasPrefix(lines[0], lines[1][:64]) {
		t.Errorf("%q, was %q, %v", after, before, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	f.edit("ttl: 300s", "ttl: 60s")
	if _, err := f.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if third := report("d"); third != second {
		t.Error("a reload brought another key")
	}
	audit, err := client.Audit(t.Context(), control.AuditRequest{})
	if err != nil || !strings.Contains(fmt.Sprint(audit), "a lost backup") {
		t.Errorf("%v %v", audit, err)
	}
}
