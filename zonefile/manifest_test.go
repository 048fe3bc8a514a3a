package zonefile_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"backscatter/listing"
	"backscatter/zonefile"

	"aead.dev/minisign"
)

// newKey returns a key without a passphrase, and its public half.
func newKey(t *testing.T) (*zonefile.SigningKey, minisign.PublicKey) {
	t.Helper()
	secret, public, err := zonefile.NewKey("")
	if err != nil {
		t.Fatal(err)
	}
	var pub minisign.PublicKey
	if err := pub.UnmarshalText(public); err != nil {
		t.Fatal(err)
	}
	return must(zonefile.ReadKey(secret, ""))(t), pub
}

// signedDesk publishes all formats, signed.
func signedDesk(t *testing.T) (*desk, minisign.PublicKey) {
	t.Helper()
	d := newDesk(t, sample(), zonefile.Formats...)
	var public minisign.PublicKey
	d.options.Key, public = newKey(t)
	d.Publisher = must(zonefile.NewPublisher(d.options))(t)
	return d, public
}

func TestManifest(t *testing.T) {
	t.Parallel()
	d, public := signedDesk(t)
	must(d.Publish(made))(t)
	m := must(zonefile.OpenManifest(d.dir, public))(t)
	if m.Zone != "bl.example" || m.Serial != sequence || !m.Created.Equal(made) || !m.Expires.Equal(made.Add(48*time.Hour)) || len(m.Files) != len(zonefile.Formats) {
		t.Errorf("%+v", m)
	}
	if err := m.Verify(d.dir); err != nil {
		t.Error(err)
	}
	if f := m.Files[0]; f.Name != "bl.example.ip4set" || f.Entries != 13 || f.Size != int64(len(d.files(t)[f.Name])) {
		t.Errorf("%+v", f)
	}

	// For a day nothing is touched; then all that expires is renewed.
	if must(d.Publish(made.Add(24*time.Hour - 1)))(t).Changed() {
		t.Error("unchanged data, and changed files")
	}
	must(d.Publish(made.Add(24 * time.Hour)))(t)
	if renewed := must(zonefile.OpenManifest(d.dir, public))(t); !renewed.Expires.Equal(made.Add(72*time.Hour)) || renewed.Serial != sequence {
		t.Errorf("%+v", renewed)
	}
}

func TestManifestRefuses(t *testing.T) {
	t.Parallel()
	d, public := signedDesk(t)
	must(d.Publish(made))(t)
	_, stranger := newKey(t)
	if _, err := zonefile.OpenManifest(d.dir, stranger); err == nil || !strings.Contains(err.Error(), "signature") {
		t.Errorf("with another key: %v", err)
	}
	m := must(zonefile.OpenManifest(d.dir, public))(t)
	for _, name := range []string{"bl.example.ip4set", "bl.example.zone", zonefile.ManifestName, zonefile.SignatureName} {
		path := filepath.Join(d.dir, name)
		good := must(os.ReadFile(path))(t)
		damaged := slices.Clone(good)
		damaged[len(damaged)/2] ^= 1
		for what, bad := range map[string][]byte{"cut off": good[:len(good)/2], "longer": append(slices.Clone(good), good...), "a bit flipped": damaged} {
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := zonefile.OpenManifest(d.dir, public); err == nil && m.Verify(d.dir) == nil {
				t.Errorf("%s passes, %s", name, what)
			}
		}
		if err := errors.Join(os.Remove(path)); err != nil {
			t.Fatal(err)
		}
		if _, err := zonefile.OpenManifest(d.dir, public); err == nil && m.Verify(d.dir) == nil {
			t.Errorf("%s is missing, and that passes", name)
		}
		if err := os.WriteFile(path, good, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{`{"files":[{"name":"../x"}]}`, `{"files":[{"name":".."}]}`, `{"files":[{"name":"a","size":-1}]}`, `[]`, ``, strings.Repeat(" ", 1<<20+1)} {
		if err := os.WriteFile(filepath.Join(d.dir, zonefile.ManifestName), []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if m, err := zonefile.ReadManifest(d.dir); err == nil {
			t.Errorf("%.40q is read as %+v", bad, m)
		}
	}
}

// TestPublishStopped stops a publication before each of its steps. Whoever takes
// what is signed and whole never gets a mixture, and the next publication, by a
// process that knows nothing of it, completes it.
func TestPublishStopped(t *testing.T) {
	t.Parallel()
	stopped := errors.New("stopped")
	steps := []string{}
	for at := 0; ; at++ {
		d, public := signedDesk(t)
		must(d.Publish(made))(t)
		before := map[string]time.Time{}
		for name := range d.files(t) {
			before[name] = d.mtime(t, name)
		}
		d.next(listing.Next{Time: made, Removed: sampleHosts()})
		reached := 0
		d.StopBefore(func(step string) error {
			if reached++; reached <= at {
				return nil
			}
			steps = append(steps, step)
			return stopped
		})
		_, err := d.Publish(made)
		m, unsigned := zonefile.OpenManifest(d.dir, public)
		if unsigned == nil && m.Verify(d.dir) == nil {
			if whole := m.Serial == sequence+1; whole && reached < len(zonefile.Formats)+10 || m.Serial != sequence && !whole {
				t.Errorf("step %d: serial %d is in force", at, m.Serial)
			}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, stopped) {
			t.Fatal(err)
		}

		next := must(zonefile.NewPublisher(d.options))(t)
		must(next.Publish(made))(t)
		m = must(zonefile.OpenManifest(d.dir, public))(t)
		if err := m.Verify(d.dir); err != nil || m.Serial != sequence+1 {
			t.Errorf("step %d is not mended: serial %d, %v", at, m.Serial, err)
		}
		for name, was := range before {
			now := d.mtime(t, name)
			if !now.After(was) || now.Nanosecond() != 0 || now.Sub(was) > 2*time.Second {
				t.Errorf("step %d: %s was of %s, is of %s", at, name, was, now)
			}
		}
		if len(d.files(t)) != len(before) {
			t.Errorf("step %d: %d files, want %d", at, len(d.files(t)), len(before))
		}
	}
	// All files read back, then in their places, a sync, then manifest and signature
	// with a sync each.
	steps = slices.DeleteFunc(steps, func(s string) bool { return strings.HasPrefix(s, "read back ") })
	want := len(zonefile.Formats) + 1 + 2 + 2
	if len(steps) != want || !slices.Equal(steps[want-4:], []string{
		"rename MANIFEST", "sync after MANIFEST", "rename MANIFEST.minisig", "sync after MANIFEST.minisig",
	}) || slices.ContainsFunc(steps[:want-5], func(s string) bool { return !strings.HasPrefix(s, "rename bl.example.") }) {
		t.Errorf("steps: %q", steps)
	}
}

// TestKeyRemoved takes the key away: the signature goes with it, also when a crash
// came in between.
func TestKeyRemoved(t *testing.T) {
	t.Parallel()
	d, _ := signedDesk(t)
	must(d.Publish(made))(t)
	d.options.Key = nil
	unsigned := must(zonefile.NewPublisher(d.options))(t)
	stopped := errors.New("stopped")
	unsigned.StopBefore(func(step string) error {
		if step == "remove "+zonefile.SignatureName {
			return stopped
		}
		return nil
	})
	if _, err := unsigned.Publish(made); !errors.Is(err, stopped) {
		t.Fatalf("not stopped: %v", err)
	}
	must(must(zonefile.NewPublisher(d.options))(t).Publish(made))(t)
	if _, err := os.Stat(filepath.Join(d.dir, zonefile.SignatureName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the signature is there still: %v", err)
	}
	if err := must(zonefile.ReadManifest(d.dir))(t).Verify(d.dir); err != nil {
		t.Error(err)
	}
}

// TestMinisign lets the original program verify what we sign, and lets us sign
// with a key that it made.
func TestMinisign(t *testing.T) {
	t.Parallel()
	program := peer(t, "minisign")
	d, public := signedDesk(t)
	must(d.Publish(made))(t)
	verify := func(key string) string {
		t.Helper()
		out, err := exec.Command(program, "-V", "-P", key, "-m", filepath.Join(d.dir, zonefile.ManifestName)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	if said := verify(public.String()); !strings.Contains(said, "zone=bl.example serial=1795325400 expires=2026-11-24T05:30:00Z") {
		t.Errorf("minisign says %q", said)
	}
	dir := t.TempDir()
	secret, pub := filepath.Join(dir, "secret"), filepath.Join(dir, "public")
	if out, err := exec.Command(program, "-G", "-W", "-s", secret, "-p", pub).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d.options.Key = must(zonefile.ReadKey(must(os.ReadFile(secret))(t), ""))(t)
	must(must(zonefile.NewPublisher(d.options))(t).Publish(made))(t)
	lines := strings.Split(string(must(os.ReadFile(pub))(t)), "\n")
	verify(lines[1])
}

func TestReadKeyRefuses(t *testing.T) {
	t.Parallel()
	secret, public, err := zonefile.NewKey("")
	if err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string][]byte{"nothing": nil, "the public half": public, "half of it": secret[:len(secret)/2]} {
		if _, err := zonefile.ReadKey(bad, ""); err == nil {
			t.Errorf("%s is taken for a secret key", what)
		}
	}
}

// A passphrase needs a gigabyte, by minisign's design.
func TestPassphrase(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a gigabyte")
	}
	secret, _, err := zonefile.NewKey("open sesame")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zonefile.ReadKey(secret, ""); err == nil || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("without it: %v", err)
	}
	if _, err := zonefile.ReadKey(secret, "open sesame"); err != nil {
		t.Error(err)
	}
}
